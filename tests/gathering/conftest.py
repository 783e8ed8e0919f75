"""An executor's parts on the real log, for runs of a flow that fails for one input."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from libs.egress import Egress, Policy
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.run import RunState
from libs.events.run_events import RunEnd, decode_event, decode_events
from libs.events.subjects import ANY, RunKey, answer_subject, is_group
from libs.events.wire import Heard
from libs.flows import CompiledFlow
from libs.runtime.failures import Terminal
from libs.runtime.ids import new_id
from libs.storage.secret_values import Secrets
from services.executor.effects import Performer
from services.executor.endings import Endings
from services.executor.files import Files
from services.executor.models import Models
from services.executor.runs import Runs
from services.executor.together import Together
from services.executor.turns import Turns
from tests.flows.documents import chain, compiled, node

EXECUTOR = "executor-1"

FLOW = compiled(
    chain(
        node("in", "api_input", {"fields": [{"name": "n", "type": "integer"}, {"name": "text", "type": "string"}]}),
        node("odd", "transform", {"expression": "abs(in.n == `2` && 'even' || in.n)"}),
        node("say", "template", {"text": "{{ odd }} {{ in.text }}" + " {{ in.text }}" * 19}),
        node("out", "api_output", {"value": "{{ odd }}"}),
    )
)
"""Fails where `n` is 2, and says the text twenty times over."""


class Told:
    """What a gateway hears of ends: `together` has the messages about groups, `alone` those about one run."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.together: list[tuple[str, list[RunEnd]]] = []
        self.alone: list[RunEnd] = []

    def on_answer(self, message: Heard) -> None:
        about = message.subject.rpartition(".")[2]
        if is_group(about):
            self.together.append((about, cast(list[RunEnd], decode_events(message.data))))
        else:
            self.alone.append(cast(RunEnd, decode_event(message.data)))

    @property
    def ends(self) -> list[RunEnd]:
        """All of them."""
        return [*(end for _, ends in self.together for end in ends), *self.alone]


@pytest.fixture
async def told(broker: Broker) -> AsyncIterator[Told]:
    """A gateway that runs are asked for by."""
    found = Told(new_id("gateway"))
    subscription = await broker.hear(answer_subject(found.gateway, ANY), found.on_answer)
    yield found
    await broker.unsubscribe(subscription)


class Flows:
    """Gives every run its flow, after whatever a test wants to happen first; each run is of a flow named like it."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.missing: set[str] = set()

    async def of(self, run: RunKey, state: RunState) -> CompiledFlow:
        """For `Together`."""
        return await self.get(run.workspace, run.run_id, 1)

    async def get(self, workspace: str, flow_id: str, version: int) -> CompiledFlow:
        """For `Runs`, in the place of `Versions`."""
        if flow_id in self.missing:
            raise Terminal("node_failed", "the flow version does not exist")
        if (happens := self.before.pop(flow_id, None)) is not None:
            await happens
        return FLOW


@pytest.fixture
def flows() -> Flows:
    return Flows()


@pytest.fixture
def together(log: EventLog, flows: Flows) -> Together:
    return Together(log, Endings(log.broker, log, EXECUTOR), flows.of, EXECUTOR)


@pytest.fixture
async def executor(log: EventLog, flows: Flows) -> AsyncIterator[Runs]:
    """Everything but what needs PostgreSQL, which flows of pure nodes do not ask for."""
    secrets = Secrets(cast(Any, None))
    files = Files(cast(Any, None), cast(Any, None), max_bytes=0, types=())
    async with Egress(Policy.parse("")) as egress:
        performer = Performer(egress, Models({}), cast(Any, None))
        versions = cast(Any, flows)
        yield Runs(log.broker, log, versions, performer, secrets, files, Turns(64), EXECUTOR, lease_seconds=10.0)
