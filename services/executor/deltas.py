"""What a model says while it speaks, put on the log: the first words at once, then what gathered, many times a second.

Each delta is an event that a stream can be resumed after, so it is stored; an append for every token would cost more
than the run.
"""

import asyncio

from libs.events.run_events import DeltaData, NodeDelta
from services.executor.journal import Journal

_PAUSE_SECONDS = 0.03


class Deltas:
    """The deltas of one attempt at one node. `close` before the node's end is said."""

    def __init__(self, journal: Journal, node_id: str) -> None:
        self._journal = journal
        self._node_id = node_id
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._pumping: asyncio.Task[None] | None = None

    async def say(self, text: str, reasoning: str) -> None:
        """Take more text and more reasoning. Raises what the last append raised."""
        self._text.append(text)
        self._reasoning.append(reasoning)
        if self._pumping is None or self._pumping.done():
            if self._pumping is not None:
                self._pumping.result()
            self._pumping = asyncio.create_task(self._pump())

    async def close(self) -> None:
        """Say what is left; it goes out with what follows."""
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.gather(self._pumping, return_exceptions=True)
        self._say_gathered(last=True)

    async def _pump(self) -> None:
        while self._say_gathered():
            await self._journal.flush()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _say_gathered(self, *, last: bool = False) -> bool:
        data = DeltaData(text=self._taken(self._text, last), reasoning=self._taken(self._reasoning, last))
        if not data.text and not data.reasoning:
            return False
        self._journal.add(
            lambda seq, run_id, at: NodeDelta(seq=seq, run_id=run_id, at=at, node=self._node_id, data=data)
        )
        return True

    def _taken(self, gathered: list[str], last: bool) -> str:
        """What may be said of what was gathered; the beginning of a secret stays until more has come."""
        text = "".join(gathered)
        said, rest = (text, "") if last else self._journal.mask.split(text)
        gathered[:] = [rest] if rest else []
        return said
