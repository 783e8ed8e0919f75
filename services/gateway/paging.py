"""Lists: `{"data": [...], "next_cursor"}`, 1 to 100 a page, newest first, by an opaque cursor.

A cursor holds the sort key of the last item of the page, so a page costs the same at any depth and nothing
is passed over or repeated when items are added meanwhile.
"""

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, Problem
from libs.runtime.ids import is_token

Item = TypeVar("Item")
Place = tuple[Annotated[datetime, msgspec.Meta(tz=True)], str]
"""When an item was made, and its id: the order of every list."""

_decoder = msgspec.json.Decoder(Place)


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Items a page.")] = 20
    cursor: Annotated[str | None, msgspec.Meta(description="`next_cursor` of the page before.")] = None

    @property
    def after(self) -> Place | None:
        """The place after which the page begins."""
        if not self.cursor:
            return None
        try:
            at, item = _decoder.decode(base64.urlsafe_b64decode(self.cursor))
            at = at.astimezone(UTC)
        except (ValueError, OverflowError, msgspec.MsgspecError):
            raise no_cursor() from None
        if not is_token(item):
            raise no_cursor()
        return at, item


def no_cursor() -> Problem:
    """The answer to a cursor that this list did not give."""
    return invalid(Detail(pointer="/cursor", detail="is not a cursor of this list"))


def cursor_of(place: Place) -> str:
    """The cursor that begins after an item."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def page(
    items: Sequence[Item], query: PageQuery, place: Callable[[Item], Place], show: Callable[[Item], Any]
) -> dict[str, Any]:
    """A page of a list that is in memory, newest first."""
    after = query.after
    rest = [item for item in items if after is None or place(item) < after]
    return cut(rest[: query.limit + 1], query.limit, place, show)


def cut(
    items: Sequence[Item], limit: int, place: Callable[[Item], Place], show: Callable[[Item], Any]
) -> dict[str, Any]:
    """A page from `limit` + 1 items: the last one only tells that there are more."""
    shown = items[:limit]
    more = len(items) > limit
    return {"data": [show(item) for item in shown], "next_cursor": cursor_of(place(shown[-1])) if more else None}
