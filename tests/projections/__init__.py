"""Rebuilding what PostgreSQL holds of the log."""
