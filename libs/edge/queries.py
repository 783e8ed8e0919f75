"""Query parameters, decoded into a type or refused: text that is anything, from anybody."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from libs.edge.bodies import invalid, misfit
from libs.edge.problems import Detail

_UNREADABLE = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL and UTF-8 do not take: NUL, and the halves that bytes which are not UTF-8 come in as."""


def read_query(request: web.Request, expected: Any) -> Any:
    """The query parameters as `expected`, numbers and booleans read from their text; others are passed over."""
    given = {name: request.query[name] for name in expected.__struct_encode_fields__ if name in request.query}
    bad = [name for name, text in given.items() if _UNREADABLE.search(text)]
    if bad:
        raise invalid(*[Detail(pointer=f"/{name}", detail="holds characters that no text has") for name in bad])
    try:
        query = msgspec.convert(given, expected, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    for name, value in msgspec.structs.asdict(query).items():
        if isinstance(value, datetime) and not _exists(value):
            raise invalid(Detail(pointer=f"/{name}", detail="is no time that there is in UTC"))
    return query


def _exists(time: datetime) -> bool:
    try:
        time.astimezone(UTC)
    except OverflowError:
        return False
    return True
