"""The audit: the log itself, read for one workspace. Nothing is kept for it and nothing can be missing from it."""
