"""Stores facts about deliveries, many at a time: one append of a workspace is under way, the others gather."""

import asyncio

from libs.events.broker import Broker
from libs.events.deliveries import Fact, store_facts

_AT_ONCE = 200
"""Facts in a message: with the answers of receivers that is a few hundred kilobytes."""


class Recorder:
    """`record` returns when the fact is on disk, or raises Unavailable."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._gathered: dict[str, list[tuple[Fact, asyncio.Future[None]]]] = {}
        self._storing: set[asyncio.Task[None]] = set()

    async def record(self, workspace: str, fact: Fact) -> None:
        """Store one fact together with what else there is to store."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gathered = self._gathered.get(workspace)
        if gathered is not None:
            gathered.append((fact, stored))
        else:
            self._gathered[workspace] = [(fact, stored)]
            task = asyncio.create_task(self._store(workspace))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        await stored

    async def _store(self, workspace: str) -> None:
        """Until nothing has gathered; what fails is told to who waits for it."""
        while gathered := self._gathered[workspace]:
            now, self._gathered[workspace] = gathered[:_AT_ONCE], gathered[_AT_ONCE:]
            try:
                await store_facts(self._broker, workspace, [fact for fact, _ in now])
            except Exception as error:  # noqa: BLE001  # whoever recorded a fact has to hear of it, whatever it is
                for _, stored in now:
                    if not stored.done():
                        stored.set_exception(error)
            else:
                for _, stored in now:
                    if not stored.done():
                        stored.set_result(None)
        del self._gathered[workspace]
