"""Event streams over real sockets: readers of every speed, and what they cost the process that serves them."""
