"""`headgate up`: NATS, PostgreSQL and the four services as processes of one machine, started, watched and
stopped.

`plan` says what is to run, `installation` prepares the data directory, `child` is one process that comes
back, `supervisor` tends them all, `screen` and `tail` show what they log, `examples` loads flows, `session`
is the whole.
"""
