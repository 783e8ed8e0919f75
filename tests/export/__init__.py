"""Exported files against the engine: the same flow, the same input, the same answer."""
