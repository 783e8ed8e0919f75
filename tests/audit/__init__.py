"""The audit: it tells what was done, all of it, to those whose it is."""
