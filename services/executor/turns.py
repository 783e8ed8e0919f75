"""Who is next: an executor works on so many runs at a time, and workspaces take turns at having theirs begun.

The log hands runs out in the order in which they were asked for, so ten thousand of one workspace would lie before the
ten of another. An executor therefore takes in more runs than it works on; those that wait do so by workspace, and each
time there is room for one more it is the next workspace's. What a workspace is assured of begins at once even when
there is no room, so nobody waits for the end of another's long runs.

Runs that wait are not begun: nothing of them is on the log, and when the process stops or dies others take them. When
another executor comes, what one has more than it needs is handed back, and all that are there share it.
"""

import asyncio
from collections import Counter, OrderedDict, deque

import msgspec
from prometheus_client import Gauge

MAX_WAITING_BYTES = 128 * 1024 * 1024
_ASSURED_SHARE = 16
_SHARED_ATTEMPTS = 2
"""A run that was handed out more often stays where it is: deliveries are what crashes are counted by."""

_waiting = Gauge("headgate_runs_waiting", "Runs that this executor has taken in and not yet begun.")


_oldest = Gauge("headgate_runs_oldest_waiting_seconds", "How long ago it took in the oldest of them.")


class _Waiter(msgspec.Struct, frozen=True, gc=False):
    turn: asyncio.Future[None]
    attempt: int
    since: float


class Turns:
    """`room` runs at a time, and a sixteenth of it assured to each workspace."""

    def __init__(self, room: int) -> None:
        self.most = 2 * room
        """So many runs at the same time, with those that are assured; a call of each has to find a connection."""
        self._room = room
        self._assured = max(1, room // _ASSURED_SHARE)
        self._active: Counter[str] = Counter()
        self._total = 0
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._bytes = 0
        self._closed = False
        _oldest.set_function(self._oldest_seconds)

    @property
    def full(self) -> bool:
        """Whether those that wait are as large as they may be, all together."""
        return self._bytes >= MAX_WAITING_BYTES

    def take(self, workspace: str) -> bool:
        """Begin a run of the workspace now, if it may."""
        if workspace in self._waiting or not self._may_begin(workspace):
            return False
        self._begin(workspace)
        return True

    async def wait(self, workspace: str, size: int, attempt: int) -> None:
        """Wait for a turn, with `size` bytes in hand; then it is taken. Cancelled when the run is handed back."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), attempt, loop.time())
        if self._closed:
            waiter.turn.cancel()
        self._waiting.setdefault(workspace, deque()).append(waiter)
        self._bytes += size
        _waiting.inc()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.leave(workspace)
            else:
                waiter.turn.cancel()
            raise
        finally:
            self._bytes -= size
            _waiting.dec()

    def leave(self, workspace: str) -> None:
        """A run has ended, or was handed back: whose turn is it?"""
        self._total -= 1
        self._active[workspace] -= 1
        if not self._active[workspace]:
            del self._active[workspace]
        while self._total < self._room and self._waiting:
            following = next(iter(self._waiting))
            self._waiting.move_to_end(following)
            self._call(following)
        if workspace in self._waiting and self._may_begin(workspace):
            self._call(workspace)

    def close(self) -> None:
        """Hand back everything that waits, and what still comes."""
        self._closed = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.turn.cancel()
        self._waiting.clear()

    def share(self) -> None:
        """Hand back what is more than a roomful, the newest of each workspace, to be handed out among all."""
        kept = max(1, self._room // max(1, len(self._waiting)))
        for workspace, waiters in self._waiting.items():
            stay: deque[_Waiter] = deque()
            for waiter in waiters:
                if len(stay) < kept or waiter.attempt > _SHARED_ATTEMPTS:
                    stay.append(waiter)
                else:
                    waiter.turn.cancel()
            self._waiting[workspace] = stay

    def _oldest_seconds(self) -> float:
        firsts = [waiters[0].since for waiters in list(self._waiting.values()) if waiters]
        return asyncio.get_running_loop().time() - min(firsts) if firsts else 0.0

    def _may_begin(self, workspace: str) -> bool:
        if self._total < self._room:
            return True
        return self._active[workspace] < self._assured and self._total < self.most

    def _begin(self, workspace: str) -> None:
        self._total += 1
        self._active[workspace] += 1

    def _call(self, workspace: str) -> None:
        """Let the first of the workspace that still waits have its turn."""
        waiters = self._waiting[workspace]
        while waiters:
            waiter = waiters.popleft()
            if not waiter.turn.done():
                self._begin(workspace)
                waiter.turn.set_result(None)
                break
        if not waiters:
            del self._waiting[workspace]
