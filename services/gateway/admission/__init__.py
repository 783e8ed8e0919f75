"""Admission: whether a run may be accepted now, by the plan of its workspace and the limits of its deployment."""
