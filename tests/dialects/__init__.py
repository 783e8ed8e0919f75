"""Five products' clients against a whole Headgate: over real sockets, and the seeds' own samples in real processes."""
