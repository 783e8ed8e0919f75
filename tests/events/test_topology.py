"""Bringing a server to have the log's streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, Unavailable, connect
from libs.events.log import EventLog, events_of
from libs.events.subjects import DEAD_LETTERS, Kind, RunKey, shard_of
from libs.events.topology import TopologyError, api, converge, dead_letter_stream, event_stream
from libs.runtime.ids import new_id
from tests.events.runs import requested, run_in, said, seqs
from tests.events.waiting import start_again


def ignore() -> None:
    """These servers are meant to be lost."""


@pytest.fixture
async def bare(fresh_nats: NatsServer) -> AsyncIterator[Broker]:
    """A connection to a server that has no stream."""
    async with connect(fresh_nats.url, "test", ignore) as broker:
        yield broker


async def streams(broker: Broker) -> dict[str, dict[str, Any]]:
    """The configuration of each stream there is."""
    listed = await api(broker, "STREAM.LIST", {}, dict)
    return {stream["config"]["name"]: stream["config"] for stream in listed["streams"]}


OTHERS = {"MANAGEMENT", "DELIVERIES", "DEAD_LETTERS", "LEDGERS", "SESSIONS", "ENDPOINTS", "CACHE", "TIMERS"}


async def test_a_new_log_has_the_streams_that_were_asked_for(bare: Broker) -> None:
    assert await converge(bare, 3, replicas=1) == 3

    assert set(await streams(bare)) == {"EVENTS_0", "EVENTS_1", "EVENTS_2"} | OTHERS


async def test_converging_again_changes_nothing(bare: Broker) -> None:
    await converge(bare, 2, replicas=1)
    before = await streams(bare)

    assert await converge(bare, 2, replicas=1) == 2

    assert await streams(bare) == before


async def test_a_log_keeps_its_number_of_streams(bare: Broker, fresh_nats: NatsServer) -> None:
    await converge(bare, 2, replicas=1)
    before = set(await streams(bare))
    assert await converge(bare, 5, replicas=1) == 2
    assert await converge(bare, 1, replicas=1) == 2
    await asyncio.to_thread(fresh_nats.stop)
    await start_again(fresh_nats)

    assert await converge(bare, 3, replicas=1) == 2
    assert set(await streams(bare)) == before


async def test_five_processes_that_converge_at_once_agree(fresh_nats: NatsServer, bare: Broker) -> None:
    async with AsyncExitStack() as stack:
        brokers = [await stack.enter_async_context(connect(fresh_nats.url, f"p{n}", ignore)) for n in range(5)]

        answers = await asyncio.gather(*(converge(broker, n + 1, replicas=1) for n, broker in enumerate(brokers)))

    assert len(set(answers)) == 1
    assert set(await streams(bare)) == {f"EVENTS_{n}" for n in range(answers[0])} | OTHERS


async def test_a_start_that_ended_halfway_is_completed_as_it_was_meant(bare: Broker) -> None:
    await api(bare, "STREAM.CREATE.EVENTS_0", event_stream(0, replicas=1, count=3), dict)

    assert await converge(bare, 2, replicas=1) == 3

    assert set(await streams(bare)) == {"EVENTS_0", "EVENTS_1", "EVENTS_2"} | OTHERS


async def test_a_configuration_that_has_changed_is_brought_up_to_date(bare: Broker, run: RunKey) -> None:
    log = EventLog(bare, await converge(bare, 1, replicas=1))
    mute = event_stream(0, replicas=1, count=1)
    del mute["republish"]
    assert "error" not in await api(bare, "STREAM.UPDATE.EVENTS_0", mute, dict)
    short = dead_letter_stream(replicas=1) | {"max_age": 3_600_000_000_000}
    assert "error" not in await api(bare, f"STREAM.UPDATE.{DEAD_LETTERS}", short, dict)
    await log.append(run, Kind.REQUESTED, requested(run), after=0)

    await converge(bare, 1, replicas=1)

    found = await streams(bare)
    assert found["EVENTS_0"]["republish"] == event_stream(0, replicas=1, count=1)["republish"]
    assert found[DEAD_LETTERS]["max_age"] == dead_letter_stream(replicas=1)["max_age"]
    assert seqs(events_of(await log.read(run))) == [1]


async def test_a_stream_that_the_server_refuses_is_named(bare: Broker) -> None:
    taken = event_stream(7, replicas=1, count=1) | {"name": "SQUATTER", "subjects": ["mgt.>"]}
    del taken["republish"]
    await api(bare, "STREAM.CREATE.SQUATTER", taken, dict)

    with pytest.raises(TopologyError, match=r"MANAGEMENT.*overlap"):
        await converge(bare, 1, replicas=1)


async def test_a_server_that_does_not_come_is_waited_for_and_then_reported(
    bare: Broker, fresh_nats: NatsServer
) -> None:
    fresh_nats.kill()
    with pytest.raises(Unavailable):
        await converge(bare, 1, replicas=1, patience_seconds=0.2)

    converging = asyncio.create_task(converge(bare, 1, replicas=1))
    await start_again(fresh_nats)

    assert await converging == 1


@pytest.mark.parametrize("stream", ["EVENTS_0", "EVENTS_3", "MANAGEMENT"])
async def test_history_cannot_be_deleted(log: EventLog, workspace: str, stream: str) -> None:
    for shard in (0, 3):
        run = run_in(workspace, shard, log.shards)
        await log.append(run, Kind.REQUESTED, requested(run), after=0)
    before = (await api(log.broker, f"STREAM.INFO.{stream}", {}, dict))["state"]["messages"]

    purged = await api(log.broker, f"STREAM.PURGE.{stream}", {}, dict)
    deleted = await api(log.broker, f"STREAM.MSG.DELETE.{stream}", {"seq": 1}, dict)

    assert "not permitted" in purged["error"]["description"]
    assert "not permitted" in deleted["error"]["description"]
    assert (await api(log.broker, f"STREAM.INFO.{stream}", {}, dict))["state"]["messages"] >= before


async def test_runs_are_spread_over_the_streams_and_each_is_found_in_its_own(log: EventLog, workspace: str) -> None:
    runs = [RunKey(workspace, new_id("run")) for _ in range(40)]
    for run in runs:
        first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
        await log.append(run, Kind.PROGRESS, said(run, 2), after=first)

    assert {shard_of(run.run_id, log.shards) for run in runs} == set(range(log.shards))
    for run in runs:
        assert seqs(events_of(await log.read(run))) == [1, 2]
