"""Pages of a list: newest first, each with a cursor that names the last one shown, so that none is shown twice."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from libs.events.auth_calls import KeyPage
from libs.events.managed import Key
from services.auth.keys import view
from services.auth.refusals import invalid

MAX_LIMIT = 100

_CURSOR = re.compile(r"([0-9]{1,20})-([A-Za-z0-9_-]{1,64})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place(key: Key) -> tuple[int, str]:
    """What keys are ordered by: when they were made, in microseconds, and their id."""
    return (key.created_at - _EPOCH) // timedelta(microseconds=1), key.id


def page(keys: Sequence[Key], limit: int, cursor: str | None) -> KeyPage:
    """The `limit` keys after `cursor`, newest first. Refusal for a bad limit or cursor."""
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid("/limit", f"must be from 1 to {MAX_LIMIT}")
    last = None if cursor is None else _read_cursor(cursor)
    rest = sorted((key for key in keys if last is None or place(key) < last), key=place, reverse=True)
    shown = rest[:limit]
    return KeyPage(data=tuple(map(view, shown)), next_cursor=_cursor(shown[-1]) if len(rest) > limit else None)


def _cursor(key: Key) -> str:
    at, key_id = place(key)
    return f"{at}-{key_id}"


def _read_cursor(text: str) -> tuple[int, str]:
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise invalid("/cursor", "is not a cursor of this list")
    return int(found[1]), found[2]
