"""Outbound HTTP, against real servers on loopback."""
