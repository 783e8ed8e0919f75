"""The executor: turns run-requested events into node events and an outcome on the log."""
