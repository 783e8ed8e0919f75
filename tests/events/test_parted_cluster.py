"""A node of a cluster that is cut off: what it lacks, it does not deny."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.cluster import SIZE, Cluster, cluster
from libs.events.broker import Broker, Unavailable, connect
from libs.events.log import EventLog
from libs.events.reads import only_message
from libs.events.subjects import Kind, RunKey
from libs.events.topology import converge
from libs.runtime.ids import new_id
from tests.events.runs import completed, requested
from tests.events.waiting import until

STREAMS = 1


def _lost() -> None:
    raise AssertionError("the client gave up its connection")


async def _appended(log: EventLog) -> RunKey:
    """A run that is accepted, however long the choice of another leader takes."""
    run = RunKey("ws_parted", new_id("run"))
    await log.append(run, Kind.REQUESTED, requested(run), after=0, patience_seconds=30)
    return run


async def _log(broker: Broker) -> EventLog:
    return EventLog(broker, await converge(broker, STREAMS, replicas=SIZE))


async def _finds(log: EventLog, run: RunKey) -> bool:
    try:
        return await log.first(run) is not None
    except Unavailable:
        return False


async def _is_whole(log: EventLog, run: RunKey) -> bool:
    """Whether it can be read; then it has both its messages."""
    try:
        messages = await log.read(run)
    except Unavailable:
        return False
    assert len(messages) == 2
    return True


async def test_who_asks_a_node_that_is_cut_off_is_never_told_that_there_is_no_such_run(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        leader = await _leader(nodes)
        ours, others = nodes.nodes[leader], nodes.nodes[(leader + 1) % SIZE]
        async with connect(ours.url, "cut-off", _lost) as here, connect(others.url, "other", _lost) as there:
            log, other = await _log(here), await _log(there)
            before = await _appended(other)
            await until(lambda: _finds(log, before))
            unknown = RunKey("ws_parted", new_id("run"))
            assert await log.first(unknown) is None
            await nodes.cut_off(leader)
            after = await _appended(other)
            with pytest.raises(Unavailable):
                await log.first(after)
            with pytest.raises(Unavailable):
                await only_message(here, log.stream(after), log.subject(after, Kind.REQUESTED))
            assert await log.first(before) is not None
            await nodes.join(leader)
            await until(lambda: _finds(log, after))
            # A replica that has the beginning may lack the rest; the run is read as the leader has it.
            sequence = await _last_sequence(other, after)
            await other.append(after, Kind.ENDED, completed(after, 2), after=sequence, patience_seconds=30)
            await until(lambda: _is_whole(log, after))


async def _last_sequence(log: EventLog, run: RunKey) -> int:
    """Read as soon as the nodes agree on who leads them, which takes them a while after one has come back."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                return (await log.read(run))[-1].sequence
            await asyncio.sleep(0.1)


async def _leader(nodes: Cluster) -> int:
    """Which node leads the stream of events."""
    async with connect(nodes.url, "maker", _lost) as broker:
        await _log(broker)
    found: list[int] = []

    async def is_led() -> bool:
        leader = await asyncio.to_thread(nodes.leader, "EVENTS_0")
        found[:] = [] if leader is None else [leader]
        return bool(found)

    await until(is_led)
    return found[0]
