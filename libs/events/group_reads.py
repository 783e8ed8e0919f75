"""What was read lately of groups of runs: a group's first and last message never change, and have many readers.

Whoever pages through runs, or asks for one again and again, asks for the same messages each time; those who do so at
the same moment share one answer.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from libs.events.groups import parts_of
from libs.events.reads import Stored
from libs.events.subjects import RunKey

_KEPT_BYTES = 8 * 1024 * 1024


class GroupReads:
    """`read` gets a message by its subject."""

    def __init__(self, read: Callable[[str], Awaitable[Stored | None]]) -> None:
        self._read = read
        self._kept: OrderedDict[str, dict[RunKey, Stored]] = OrderedDict()
        self._bytes = 0
        self._reading: dict[str, asyncio.Task[dict[RunKey, Stored] | None]] = {}

    async def part(self, subject: str, run: RunKey) -> Stored | None:
        """The run's part of the message; None where there is no such message yet, or no part of it in one."""
        parts = self._kept.get(subject)
        if parts is None:
            parts = await self._open(subject)
        else:
            self._kept.move_to_end(subject)
        return None if parts is None else parts.get(run)

    async def _open(self, subject: str) -> dict[RunKey, Stored] | None:
        reading = self._reading.get(subject)
        if reading is None:
            reading = self._reading[subject] = asyncio.create_task(self._fetch(subject))
            reading.add_done_callback(lambda task: self._fetched(subject, task))
        return await asyncio.shield(reading)

    def _fetched(self, subject: str, task: "asyncio.Task[dict[RunKey, Stored] | None]") -> None:
        del self._reading[subject]
        if not task.cancelled():
            task.exception()  # seen here, for those who waited may all have gone

    async def _fetch(self, subject: str) -> dict[RunKey, Stored] | None:
        message = await self._read(subject)
        if message is None:
            return None
        found = {
            part.run: Stored(sequence=message.sequence, subject=part.subject, payload=part.payload)
            for part in parts_of(message.subject, message.payload)
        }
        self._kept[subject] = found
        self._bytes += _size(found)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return found


def _size(parts: Mapping[RunKey, Stored]) -> int:
    return sum(len(part.payload) for part in parts.values())
