"""Group commit at the edge: requests that come at the same moment, of one workspace, are appended as one message.

Nobody waits for company. While few appends of a workspace are under way, what one turn of the event loop has read goes
out at its end; while several are, what comes is gathered until one of them is stored, the group is full, or a few
milliseconds have passed. So one caller alone is served as before, and the more there are the fewer appends each costs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
from prometheus_client import Counter as Total

from libs.events.groups import encode_group
from libs.events.log import EventLog
from libs.events.subjects import Kind, RunKey, member_id, new_group_id
from libs.runtime.ids import pair

MAX_RUNS = 64
MAX_NODES = 256
"""Of all its runs: one executor works on them, one after the other, while others may have nothing to do."""

MAX_BYTES = 256 * 1024
"""About what a group's requests hold together: a server may take a megabyte and no more."""

MAX_RUN_BYTES = 16 * 1024
"""A request that is larger goes by itself."""

_UNDER_WAY = 4
_LONGEST_SECONDS = 0.02
_PATIENCE_SECONDS = 4.0

_groups = Total("headgate_groups_total", "Appends that asked for runs of one moment together.")
_grouped = Total("headgate_grouped_runs_total", "Runs that were asked for by them.")


class _Group(msgspec.Struct):
    key: RunKey
    appends: dict[str, bytes]
    waiting: list[asyncio.Future[None]]
    nodes: int = 0
    size: int = 0


class Gathering:
    """The groups of this gateway that are open, one a workspace, and how many of each are under way."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._open: dict[str, _Group] = {}
        self._under_way: Counter[str] = Counter()
        self._appending: set[asyncio.Task[None]] = set()

    def join(
        self, workspace: str, nodes: int, encode: Callable[[str], bytes]
    ) -> tuple[RunKey, asyncio.Future[None]] | None:
        """A new run of so many nodes, and what is done when its request is stored, or fails as appends do.

        `encode` makes the request for a run's id. None: it is too large for company.
        """
        group = self._open.get(workspace) or self._begin(workspace)
        run_id = member_id(group.key.run_id, pair(len(group.appends)))
        append = encode(run_id)
        if len(append) > MAX_RUN_BYTES:
            return None
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        group.appends[run_id] = append
        group.waiting.append(stored)
        group.nodes += nodes
        group.size += len(append)
        if len(group.appends) == MAX_RUNS or group.nodes >= MAX_NODES or group.size >= MAX_BYTES:
            self._close(group)
        return RunKey(workspace, run_id), stored

    def _begin(self, workspace: str) -> _Group:
        loop = asyncio.get_running_loop()
        group = self._open[workspace] = _Group(RunKey(workspace, new_group_id()), {}, [])
        if self._under_way[workspace] < _UNDER_WAY:
            loop.call_soon(self._close, group)
        else:
            loop.call_later(_LONGEST_SECONDS, self._close, group)
        return group

    def _close(self, group: _Group) -> None:
        workspace = group.key.workspace
        if self._open.get(workspace) is not group:
            return
        del self._open[workspace]
        if group.appends:
            self._under_way[workspace] += 1
            task = asyncio.create_task(self._append(group))
            self._appending.add(task)
            task.add_done_callback(self._appending.discard)

    def _appended(self, workspace: str) -> None:
        self._under_way[workspace] -= 1
        if not self._under_way[workspace]:
            del self._under_way[workspace]
        if (following := self._open.get(workspace)) is not None:
            self._close(following)

    async def _append(self, group: _Group) -> None:
        _groups.inc()
        _grouped.inc(len(group.appends))
        payload = encode_group(group.appends)
        try:
            await self._log.append_group(
                group.key, Kind.REQUESTED, payload, after=0, patience_seconds=_PATIENCE_SECONDS
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told
            for waiting in group.waiting:
                if not waiting.done():
                    waiting.set_exception(error)
                    waiting.exception()  # asked for here: whoever waited may have been cut off
        else:
            for waiting in group.waiting:
                if not waiting.done():
                    waiting.set_result(None)
        finally:
            self._appended(group.key.workspace)
