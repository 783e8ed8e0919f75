"""How the whole installation does, for those who run it: read from log, database, disk and processes."""
