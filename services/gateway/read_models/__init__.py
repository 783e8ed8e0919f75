"""Readings of the log in PostgreSQL, for questions that the log cannot answer by itself. All of it can be rebuilt."""
