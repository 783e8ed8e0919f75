"""Faults from outside: what tests put between the code and the world to hurt it."""
