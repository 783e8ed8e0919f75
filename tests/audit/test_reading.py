"""What is read of the log for the audit: everything of one workspace, in order, from any place, in little memory."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest

from libs.events.appends import append_message
from libs.events.log import EventLog
from libs.events.managed import Change, FlowHead, Key, KeySecret, Limits, Workspace, record, subject_of
from libs.events.run_events import Append
from libs.events.subjects import MANAGEMENT, Kind, RunKey, managed_subject
from libs.runtime.ids import new_id
from services.gateway.audit.entries import Wanted
from services.gateway.audit.positions import NotAPosition
from services.gateway.audit.reading import Reading, read_entries, sources_of
from tests.audit.reader import audit, seal_of, shown
from tests.events.runs import AT, completed, requested, run_in, said, write_run

Told = list[tuple[str, str | None, int | None, str | None]]


async def write_change(log: EventLog, state: FlowHead | Key | Workspace, kind: str, by: str = "key_1") -> None:
    workspace = state.id if isinstance(state, Workspace) else state.workspace
    change = Change(type=kind, at=datetime.now(UTC), by=by, address="192.0.2.9", state=state)
    await record(log.broker, subject_of(workspace, state), change, after=0)


def flow_head(workspace: str) -> FlowHead:
    return FlowHead(
        id=new_id("flow"),
        workspace=workspace,
        slug="s",
        name="n",
        description="",
        version=1,
        created_at=AT,
        updated_at=AT,
    )


async def write_story(log: EventLog, workspace: str) -> Told:
    """Runs in every stream and changes between them, one after the other; what the audit must tell."""
    told: Told = []
    for shard in (3, 0, 1, 2, 0, 3):
        flow = flow_head(workspace)
        await write_change(log, flow, "flow.created")
        told.append(("flow.created", None, None, flow.id))
        run = run_in(workspace, shard, log.shards)
        after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
        after = await log.append(run, Kind.PROGRESS, said(run, 2, 3, 4), after=after)
        await log.append(run, Kind.ENDED, completed(run, 5), after=after)
        types = ["run.requested", *["node.delta"] * 3, "run.completed"]
        told += [(kind, run.run_id, seq, None) for seq, kind in enumerate(types, 1)]
    return told


async def test_everything_is_told_in_the_order_it_was_stored_over_all_streams(log: EventLog, workspace: str) -> None:
    told = await write_story(log, workspace)
    entries = await audit(log, workspace)
    assert list(map(shown, entries)) == told
    assert all(earlier.stored_at <= later.stored_at for earlier, later in pairwise(entries))


async def test_an_entry_says_who_when_and_from_where_and_holds_what_was_stored(
    log: EventLog, workspace: str, run: RunKey
) -> None:
    append = msgspec.structs.replace(requested(run), address="192.0.2.7")
    await log.append(run, Kind.REQUESTED, append, after=0)
    flow = flow_head(workspace)
    await write_change(log, flow, "flow.created")
    of_run, of_flow = await audit(log, workspace)
    assert (of_run.by, of_run.address, of_run.at, of_run.workspace) == ("key_1", "192.0.2.7", AT, workspace)
    assert msgspec.json.decode(msgspec.json.encode(of_run))["data"]["input"] == {"name": "Ada"}
    assert (of_flow.by, of_flow.address, of_flow.entity_id) == ("key_1", "192.0.2.9", flow.id)
    assert msgspec.convert(of_flow.state, FlowHead) == flow


async def test_another_workspace_sees_nothing_of_it(log: EventLog, workspace: str) -> None:
    told = await write_story(log, workspace)
    other = new_id("ws")
    assert await audit(log, other) == []
    assert await audit(log, other, run_id=told[1][1]) == []
    (position,) = {entry.position for entry in await audit(log, workspace, run_id=told[1][1], type="run.completed")}
    with pytest.raises(NotAPosition):
        await audit(log, other, after=position)


async def test_from_every_position_exactly_the_rest_is_told(log: EventLog, workspace: str) -> None:
    told = await write_story(log, workspace)
    entries = await audit(log, workspace)
    told += await write_story(log, workspace)
    for number, entry in enumerate(entries, 1):
        rest = await audit(log, workspace, after=entry.position)
        assert list(map(shown, rest)) == told[number:]


async def test_entries_are_chosen_by_type_run_and_key(log: EventLog, workspace: str) -> None:
    told = await write_story(log, workspace)
    key = Key(id=new_id("key"), workspace=workspace, name="k", masked="sk-", permissions=(), created_at=AT, secrets=())
    await write_change(log, key, "key.created", by="key_2")
    run_id = told[1][1]
    assert list(map(shown, await audit(log, workspace, run_id=run_id))) == told[1:6]
    assert {entry.type for entry in await audit(log, workspace, type="node")} == {"node.delta"}
    assert len(await audit(log, workspace, type="flow")) == len(await audit(log, workspace, type="flow.created")) == 6
    assert await audit(log, workspace, type="flow.create") == []
    assert [entry.entity_id for entry in await audit(log, workspace, by="key_2")] == [key.id]


async def test_since_and_until_are_about_when_it_happened(log: EventLog, workspace: str) -> None:
    first, second = flow_head(workspace), flow_head(workspace)
    await write_change(log, first, "flow.created")
    (entry,) = await audit(log, workspace)
    await write_change(log, second, "flow.created")
    between = entry.at + timedelta(microseconds=1)
    assert [each.entity_id for each in await audit(log, workspace, since=entry.at)] == [first.id, second.id]
    assert [each.entity_id for each in await audit(log, workspace, until=entry.at)] == []
    assert [each.entity_id for each in await audit(log, workspace, until=between)] == [first.id]
    assert [each.entity_id for each in await audit(log, workspace, since=between)] == [second.id]
    distant = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    assert len(await audit(log, workspace, since=distant[0], until=distant[1])) == 2
    assert await audit(log, workspace, since=distant[1]) == []


async def test_what_is_stored_late_still_counts_when_it_happened(log: EventLog, workspace: str, run: RunKey) -> None:
    """An executor says a node's end with its next append: in a span that is over when the log takes it."""
    now = datetime.now(UTC)
    late = msgspec.structs.replace(requested(run).events[0], at=now - timedelta(seconds=90))
    await log.append(run, Kind.REQUESTED, Append(by="key_1", events=[late]), after=0)
    assert len(await audit(log, workspace, until=now - timedelta(seconds=80))) == 1


async def test_what_was_stored_before_since_is_not_even_read(log: EventLog, workspace: str) -> None:
    """The log is entered by time: a reader that began at its first message would fail at these."""
    await append_message(
        log.broker,
        MANAGEMENT,
        managed_subject(workspace, "dream", "broken"),
        b"not JSON",
        after=0,
        patience_seconds=5,
    )
    assert await audit(log, workspace, since=datetime.now(UTC) + timedelta(minutes=2)) == []
    with pytest.raises(msgspec.DecodeError):
        await audit(log, workspace)


async def test_a_run_that_waited_for_a_slot_was_asked_for_once(log: EventLog, workspace: str, run: RunKey) -> None:
    held = await log.append(run, Kind.HELD, requested(run), after=0)
    again = await log.append(run, Kind.REQUESTED, requested(run), after=held)
    await log.append(run, Kind.ENDED, completed(run, 2), after=again)
    assert [entry.type for entry in await audit(log, workspace)] == ["run.requested", "run.completed"]


async def test_a_key_is_told_without_its_hashes(log: EventLog, workspace: str) -> None:
    secret = KeySecret(hash="5ec7e7" * 8)
    key = Key(
        id=new_id("key"),
        workspace=workspace,
        name="k",
        masked="sk-abcde********vwxyz",
        permissions=("read",),
        created_at=AT,
        secrets=(secret,),
    )
    await write_change(log, key, "key.created")
    (entry,) = await audit(log, workspace)
    text = msgspec.json.encode(entry).decode()
    assert secret.hash not in text
    assert "secrets" not in text
    assert key.masked in text


async def test_types_and_things_of_a_newer_replica_are_told_too(log: EventLog, workspace: str, run: RunKey) -> None:
    first = msgspec.json.encode(requested(run)).replace(b"run.requested", b"run.dreamt_of")
    await append_message(
        log.broker, log.stream(run), log.subject(run, Kind.REQUESTED), first, after=0, patience_seconds=5
    )
    change = (
        b'{"type":"dream.had","at":"2026-01-02T03:04:05Z","by":"key_1","state":{"entity":"dream","hash":1,"secret":2}}'
    )
    await append_message(
        log.broker, MANAGEMENT, managed_subject(workspace, "dream", "d1"), change, after=0, patience_seconds=5
    )
    entries = await audit(log, workspace)
    assert [(entry.type, entry.run_id or entry.entity_id) for entry in entries] == [
        ("run.dreamt_of", run.run_id),
        ("dream.had", "d1"),
    ]
    assert "secret" not in msgspec.json.encode(entries[1]).decode()


async def test_limits_of_the_workspace_are_told_to_it(log: EventLog, workspace: str) -> None:
    state = Workspace(id=workspace, name="w", plan="free", limits=Limits(concurrent_runs=4), created_at=AT)
    await write_change(log, state, "workspace.changed", by="key_root")
    (entry,) = await audit(log, workspace)
    assert (entry.type, entry.by) == ("workspace.changed", "key_root")


async def test_the_log_is_read_in_little_memory_however_large(log: EventLog, workspace: str) -> None:
    size, count = 1024 * 1024, 64
    for _ in range(count // 4):
        for shard in range(4):
            run = run_in(workspace, shard, log.shards)
            big: Append = said(run, 1, text="x" * size)
            await log.append(run, Kind.REQUESTED, big, after=0)
    seal = seal_of(log, workspace)
    reading = Reading(
        sources=sources_of(log, workspace, None, None), wanted=Wanted(), position=seal.open(None), seal=seal
    )
    tracemalloc.start()
    try:
        told = 0
        async for entry in read_entries(log.broker, reading):
            told += len(msgspec.json.encode(entry)) > size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == count
    assert peak < 24 * size


async def test_reading_ends_where_the_log_ended_when_it_began(log: EventLog, workspace: str) -> None:
    run = run_in(workspace, 0, log.shards)
    words = await write_run(log, run, 3)
    seal = seal_of(log, workspace)
    sources = sources_of(log, workspace, None, None)
    reading = Reading(sources=sources, wanted=Wanted(), position=seal.open(None), seal=seal)
    told = []
    async for entry in read_entries(log.broker, reading):
        told.append(entry)
        await write_run(log, run_in(workspace, 0, log.shards), 0)
    assert len(told) == words


async def test_nobody_reads_on_when_nobody_waits(log: EventLog, workspace: str) -> None:
    await write_story(log, workspace)
    seal = seal_of(log, workspace)
    sources = sources_of(log, workspace, None, None)
    reading = Reading(sources=sources, wanted=Wanted(), position=seal.open(None), seal=seal, left=lambda: True)
    assert [entry async for entry in read_entries(log.broker, reading)] == []


async def test_what_is_no_position_is_refused(log: EventLog, workspace: str) -> None:
    await write_story(log, workspace)
    good = (await audit(log, workspace))[0].position
    for text in ("", "x", "!", "ü", good[:-4], good + "AAAA", good.swapcase(), "A" * 5000):
        with pytest.raises(NotAPosition):
            await audit(log, workspace, after=text)
