"""The log: event types, appends, reading, following, consumers.

The system is what lies here; tables, streams, webhooks and bills are readings of it.
"""
