"""What is managed: recorded, recalled, never replaced by a writer who has not seen it, and held by registries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.events.appends import Conflict
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.managed import (
    Change,
    FlowVersion,
    SlugClaim,
    decode_change,
    read_version,
    recall,
    record,
    slug_subject,
    subject_of,
    version_subject,
)
from libs.events.registry import Registry
from libs.events.subjects import managed_subject
from tests.events.managed import flow_changed
from tests.events.runs import AT
from tests.events.waiting import until_true


@asynccontextmanager
async def kept_up(registry: Registry) -> AsyncIterator[None]:
    """The registry, caught up and reading on."""
    task = asyncio.create_task(registry.tail.run())
    try:
        async with asyncio.timeout(5):
            await registry.tail.caught_up.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Flows:
    """A registry of flows that keeps each change it is told of a workspace."""

    def __init__(self, broker: Broker, workspace: str) -> None:
        self._workspace = workspace
        self.heard: list[tuple[str, int]] = []
        self.registry = Registry(broker, ["flow"], self._on_change)

    def _on_change(self, workspace: str, thing: str, change: Change) -> None:
        if workspace == self._workspace:
            self.heard.append((thing, change.state.version))  # type: ignore[union-attr]


async def save(broker: Broker, workspace: str, flow: str, version: int, after: int) -> int:
    return await record(
        broker, managed_subject(workspace, "flow", flow), flow_changed(workspace, flow, version), after=after
    )


async def test_what_is_recorded_is_recalled(log: EventLog, workspace: str) -> None:
    subject = managed_subject(workspace, "flow", "flow_1")
    assert await recall(log.broker, subject) is None
    first = await save(log.broker, workspace, "flow_1", 1, after=0)
    second = await save(log.broker, workspace, "flow_1", 2, after=first)

    recorded = await recall(log.broker, subject)

    assert recorded is not None
    assert recorded.sequence == second > first
    assert recorded.change == flow_changed(workspace, "flow_1", 2)


async def test_of_two_changes_of_the_same_state_one_is_refused(log: EventLog, workspace: str) -> None:
    first = await save(log.broker, workspace, "flow_1", 1, after=0)
    await save(log.broker, workspace, "flow_1", 2, after=first)

    with pytest.raises(Conflict) as conflict:
        await save(log.broker, workspace, "flow_1", 3, after=first)

    assert decode_change(conflict.value.last.payload) == flow_changed(workspace, "flow_1", 2)


async def test_a_slug_belongs_to_who_claims_it_first(log: EventLog, workspace: str) -> None:
    def claim(flow: str) -> Change:
        return Change(type="slug.claimed", at=AT, by="key_1", state=SlugClaim(flow_id=flow))

    subject = slug_subject(workspace, "greeter")
    results = await asyncio.gather(
        *(record(log.broker, subject, claim(f"flow_{n}"), after=0) for n in range(10)), return_exceptions=True
    )

    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 9


async def test_a_version_is_read_from_its_own_subject_and_cannot_be_replaced(log: EventLog, workspace: str) -> None:
    def version(name: str) -> Change:
        state = FlowVersion(flow_id="flow_1", version=2, created_at=AT, document={"name": name})
        return Change(type="flow.saved", at=AT, by="key_1", state=state)

    subject = version_subject(workspace, "flow_1", 2)
    assert subject_of(workspace, version("Greeter").state) == subject
    await record(log.broker, subject, version("Greeter"), after=0)
    with pytest.raises(Conflict):
        await record(log.broker, subject, version("Other"), after=0)

    found = await read_version(log.broker, workspace, "flow_1", 2)

    assert found is not None
    assert found.document == {"name": "Greeter"}
    assert await read_version(log.broker, workspace, "flow_1", 3) is None
    assert await read_version(log.broker, f"{workspace}x", "flow_1", 2) is None


async def test_a_registry_begins_with_the_last_state_of_everything(log: EventLog, workspace: str) -> None:
    first = await save(log.broker, workspace, "flow_1", 1, after=0)
    await save(log.broker, workspace, "flow_1", 2, after=first)
    await save(log.broker, workspace, "flow_2", 1, after=0)
    flows = Flows(log.broker, workspace)

    async with kept_up(flows.registry):
        assert flows.heard == [("flow_1", 2), ("flow_2", 1)]


async def test_a_registry_hears_of_each_change_and_of_no_other_kind(log: EventLog, workspace: str) -> None:
    flows = Flows(log.broker, workspace)
    async with kept_up(flows.registry):
        claim = Change(type="slug.claimed", at=AT, by="key_1", state=SlugClaim(flow_id="flow_1"))
        await record(log.broker, slug_subject(workspace, "greeter"), claim, after=0)
        first = await save(log.broker, workspace, "flow_1", 1, after=0)
        await save(log.broker, workspace, "flow_1", 2, after=first)
        await until_true(lambda: len(flows.heard) == 2)

    assert flows.heard == [("flow_1", 1), ("flow_1", 2)]


async def test_a_writer_reads_its_own_change_at_once_and_hears_of_it_once(log: EventLog, workspace: str) -> None:
    flows = Flows(log.broker, workspace)
    subject, change = managed_subject(workspace, "flow", "flow_1"), flow_changed(workspace, "flow_1", 1)
    async with kept_up(flows.registry):
        sequence = await record(log.broker, subject, change, after=0)
        flows.registry.apply(subject, sequence, change)
        assert flows.heard == [("flow_1", 1)]

        await save(log.broker, workspace, "flow_2", 1, after=0)
        await until_true(lambda: ("flow_2", 1) in flows.heard)

    assert flows.heard == [("flow_1", 1), ("flow_2", 1)]


async def test_an_older_state_does_not_replace_a_newer_one(log: EventLog, workspace: str) -> None:
    flows = Flows(log.broker, workspace)
    subject = managed_subject(workspace, "flow", "flow_1")
    flows.registry.apply(subject, 9, flow_changed(workspace, "flow_1", 3))
    flows.registry.apply(subject, 8, flow_changed(workspace, "flow_1", 2))
    flows.registry.apply(subject, 9, flow_changed(workspace, "flow_1", 3))

    assert flows.heard == [("flow_1", 3)]
