"""Backfills: a wish that a webhook be told what happened before. Names and fields are stored while one runs."""

from datetime import datetime

import msgspec

KIND = "backfill"
"""The kind of timers by which a backfill comes due, page after page."""


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a backfill is to do, and how far it has come."""

    id: str
    workspace: str
    webhook_id: str
    since: datetime
    until: datetime
    shard: int = 0
    sequence: int = 0
    """Of the shard's stream: where to go on; 0: at `since`."""
