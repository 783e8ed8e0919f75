"""A node of a cluster that is cut off: what it lacks, it does not deny."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from chaos.cluster import SIZE, Cluster, cluster
from libs.events.broker import Broker, Unavailable, connect
from libs.events.groups import entry_of
from libs.events.log import EventLog, events_of
from libs.events.reads import Stored, counts, only_message
from libs.events.subjects import Kind, RunKey
from libs.events.topology import converge
from libs.events.wire import Heard
from libs.runtime.ids import new_id
from tests.events.grouped import ask_together, end_together, members
from tests.events.runs import completed, extend_run, requested, said
from tests.events.waiting import until

STREAMS = 1
_COMES_BACK_SECONDS = 4.0


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


class Parted:
    """A cluster, and the log as the node that leads it has it (`log`) and as another has it (`other`)."""

    def __init__(self, nodes: Cluster, leader: int, here: Broker, log: EventLog, other: EventLog) -> None:
        self._nodes = nodes
        self._leader = leader
        self.here = here
        self.log = log
        self.other = other

    async def part(self) -> None:
        """Cut the leader off from the others."""
        await self._nodes.cut_off(self._leader)

    async def join(self) -> None:
        """Let it come back, as what the others say it is."""
        await self._nodes.join(self._leader)


@pytest.fixture
async def parted(tmp_path: Path) -> AsyncIterator[Parted]:
    """All nodes are there yet, and what one has stored the leader finds."""
    async with cluster(tmp_path) as nodes:
        leader = await _leader(nodes)
        ours, others = nodes.nodes[leader], nodes.nodes[(leader + 1) % SIZE]
        async with connect(ours.url, "cut-off", _lost) as here, connect(others.url, "other", _lost) as there:
            yield Parted(nodes, leader, here, await _log(here), await _log(there))


async def test_who_asks_a_node_that_is_cut_off_is_never_told_that_there_is_no_such_run(parted: Parted) -> None:
    log, other = parted.log, parted.other
    before = await _appended(other)
    await until(lambda: _finds(log, before))
    unknown = RunKey("ws_parted", new_id("run"))
    assert await log.first(unknown) is None
    await parted.part()
    after = await _appended(other)
    with pytest.raises(Unavailable):
        await log.first(after)
    with pytest.raises(Unavailable):
        await only_message(parted.here, log.stream(after), log.subject(after, Kind.REQUESTED))
    assert await log.first(before) is not None
    await parted.join()
    await until(lambda: _finds(log, after))
    # A replica that has the beginning may lack the rest; the run is read as the leader has it.
    (first,) = await _whole(other, after)
    await other.append(after, Kind.ENDED, completed(after, 2), after=first.sequence, patience_seconds=30)
    await until(lambda: _is_whole(log, after))


async def test_while_a_node_comes_back_a_run_is_read_whole_or_not_at_all(parted: Parted) -> None:
    """A node that led goes on answering for a second after it came back, with what it has, though others lead."""
    log, other = parted.log, parted.other
    before = await _appended(other)
    await until(lambda: _finds(log, before))
    await parted.part()
    written = await _written(other, await _appended(other))
    with pytest.raises(Unavailable):
        await log.end(next(iter(written)))
    await parted.join()
    readers = [_reads_whole(each, run, size) for each in (log, other) for run, size in written.items()]
    await asyncio.gather(*readers)


FOLLOWED = b'{"name":"a","active":1000000}'
GONE = b'{"name":"b","active":4700000000}'
NAMED = b'{"name":"c","active":20000000}'
HOLDS = b',"state":{"subjects":{"evt.0.ws.run.requested":1}}}'
ANSWERS = {
    "a leader that nobody follows any more": b'{"cluster":{"leader":"c","replicas":[' + GONE + b"," + GONE + b"]}",
    "a follower that led until now": b'{"cluster":{"leader":"c","replicas":[' + FOLLOWED + b"," + NAMED + b"]}",
    "a node that knows of no leader": b'{"cluster":{"replicas":[' + FOLLOWED + b"," + NAMED + b"]}",
    "a server that cannot say": b'{"error":{"code":503,"err_code":10008,"description":"unavailable"}',
}


class Says:
    """A broker that has one answer, as nodes gave it around a partition."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float) -> Heard:
        del payload, timeout
        return Heard(subject, "", self._answer)


@pytest.mark.parametrize("who", list(ANSWERS))
async def test_who_does_not_lead_is_not_believed(who: str) -> None:
    with pytest.raises(Unavailable):
        await counts(cast(Broker, Says(ANSWERS[who] + HOLDS)), "EVENTS_0", "evt.0.ws.run.*")


async def test_who_leads_with_a_majority_is_believed() -> None:
    leads = b'{"cluster":{"leader":"c","replicas":[' + FOLLOWED + b"," + GONE + b"]}"
    found = await counts(cast(Broker, Says(leads + HOLDS)), "EVENTS_0", "evt.0.ws.run.*")
    assert found == {"evt.0.ws.run.requested": 1}


async def _written(log: EventLog, run: RunKey) -> dict[RunKey, int]:
    """Runs that have ended, with how many events each has.

    One by itself, one that waited for a slot, two of a group, and one that left it.
    """
    await extend_run(log, run, (await _whole(log, run))[-1].sequence, 2)
    waited, (apart, *together) = RunKey("ws_parted", new_id("run")), members("ws_parted", 3)
    held = await log.append(waited, Kind.HELD, requested(waited), after=0)
    await extend_run(log, waited, await log.append(waited, Kind.REQUESTED, requested(waited), after=held), 1)
    asked = await ask_together(log, [apart, *together])
    left = await log.append(apart, Kind.PROGRESS, said(apart, 2), after=asked)
    await log.append(apart, Kind.ENDED, completed(apart, 3), after=left)
    last = await log.last(entry_of(apart))
    assert last is not None
    await end_together(log, together, last.sequence)
    return {run: 4, waited: 3, apart: 3, **dict.fromkeys(together, 2)}


async def _reads_whole(log: EventLog, run: RunKey, size: int) -> None:
    """Read again and again while a node comes back, and until that can be done."""
    loop = asyncio.get_running_loop()
    over, read = loop.time() + _COMES_BACK_SECONDS, False
    async with asyncio.timeout(30):
        while not read or loop.time() < over:
            with suppress(Unavailable):
                assert {event.seq for event in events_of(await log.read(run))} == set(range(1, size + 1))
                assert await log.end(run) is not None
                read = True
            await asyncio.sleep(0.02)


async def _whole(log: EventLog, run: RunKey) -> list[Stored]:
    """Read as soon as the nodes agree on who leads them, which takes them a while."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                return await log.read(run)
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
