"""Hooks: what external services post, signed in their ways, begins runs and never the same one twice."""
