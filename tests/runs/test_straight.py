"""The straight path stores what the long way stores, byte for byte but for the times; it leaves what is not its own."""

import random
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.egress import Egress, Policy
from libs.events.log import EventLog
from libs.events.run import begin
from libs.events.run_events import Append, ReplayOf, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey
from libs.flows import CompiledFlow, Frontier, InvalidInput, compile_flow, finished, load
from libs.runtime.ids import new_id
from libs.runtime.postgres import Database
from libs.storage.collections import Collections
from libs.storage.files import FileStore
from services.executor.effects import Performer
from services.executor.execution import Execution
from services.executor.files import Files
from services.executor.journal import Journal, utc_now
from services.executor.masking import Mask
from services.executor.memory import Memory
from services.executor.models import Models
from services.executor.resources import Resources
from services.executor.resting import Guard
from services.executor.search import Search
from services.executor.standing import facts_of
from services.executor.straight import carry
from tests.export.flows import PURE
from tests.flows.documents import chain, document, edge, node

_TIMES = re.compile(rb'"(at|started_at)":"[^"]*"|"duration_seconds":[0-9.e-]+')
EXECUTOR = "executor-1"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Case = tuple[dict[str, Any], Any]


def shapes() -> list[Case]:
    """Every flow of the export's tests with every input that it takes."""
    return [(flow, given) for flow, inputs in PURE.values() for given in inputs]


def graph(seed: int) -> Case:
    """Some flow of pure nodes: any edges from earlier to later ones, none to three outputs."""
    chance = random.Random(seed)
    names = [f"n{at}" for at in range(chance.randint(2, 12))]
    nodes = [node("in", "api_input", {"fields": [{"name": "x", "type": "integer", "default": seed}]})]
    edges = []
    for at, name in enumerate(names):
        before = chance.sample(["in", *names[:at]], chance.randint(1, min(3, at + 1)))
        reads = {each: f"{{{{ {each} }}}}" for each in before}
        kind = chance.choice(["template", "template", "transform", "api_output"])
        config = {"expression": f"{{a: {before[0]}}}"} if kind == "transform" else {"value": reads}
        nodes.append(node(name, kind, config))
        edges += [edge(each, name) for each in before]
    chance.shuffle(nodes)
    return document(nodes, edges), {"x": chance.choice([None, 3, 7])}


@pytest.fixture
async def performer() -> AsyncIterator[Performer]:
    async with Egress(Policy.parse("")) as egress:
        yield Performer(egress, Models({}), Search(Collections(Database())))


async def at_length(log: EventLog, performer: Performer, flow: CompiledFlow, asked: RunRequested, run: RunKey) -> bytes:
    """What the long way stores of the run, whatever becomes of it: the append with its end."""
    sequence = await log.append(run, Kind.REQUESTED, Append(by="key_1", events=[asked]), after=0)
    state = begin(asked)
    journal = Journal(log, run, state, sequence, EXECUTOR, TRACE, Mask())
    files = Files(FileStore(Database()), performer._egress, max_bytes=1, types=())
    resources = Resources(run, facts_of(state), {}, files)
    memory = Memory(log.broker, run, flow, state)
    await Execution(flow, journal, performer, EXECUTOR, resources, memory, {}, Guard(log.broker, run, 10.0)).run()
    end = await log.end(run)
    assert end is not None
    return end.payload


def request(run: RunKey, flow: CompiledFlow, given: Any, **more: Any) -> RunRequested:
    data = RequestedData(flow_id="flow_1", deployment_id="dep_1", version=1, input=flow.read_input(given), **more)
    return RunRequested(seq=1, run_id=run.run_id, at=utc_now(), data=data)


def timeless(payload: bytes) -> bytes:
    return _TIMES.sub(rb"time", payload)


async def check(log: EventLog, performer: Performer, case: Case, **more: Any) -> bool:
    """Whether the run went straight; what it stored is then what the long way stores."""
    flow = compile_flow(load(case[0]))
    run = RunKey(new_id("ws"), new_id("run"))
    asked = request(run, flow, case[1], **more)
    carried = carry(flow, begin(asked), EXECUTOR, TRACE, utc_now)
    stored = await at_length(log, performer, flow, asked, run)
    if carried is not None and log.fits(carried.payload):
        assert timeless(carried.payload) == timeless(stored)
    else:
        assert carried is not None or b'"node.failed"' in stored or not flow.straight
    return carried is not None


async def test_flows_of_every_shape_store_the_same(log: EventLog, performer: Performer) -> None:
    went = []
    for flow, given in shapes():
        try:
            went.append(await check(log, performer, (flow, given)))
        except InvalidInput:  # which the export refuses too
            continue
    assert went.count(True) > 10
    assert went.count(False) > 5


async def test_flows_of_any_graph_store_the_same(log: EventLog, performer: Performer) -> None:
    assert all([await check(log, performer, graph(seed), callback_url="https://example.org/x") for seed in range(40)])


def test_the_order_is_the_schedulers() -> None:
    for seed in range(200):
        flow = compile_flow(load(graph(seed)[0]))
        frontier = Frontier(flow)
        ready, order = list(frontier.ready().start), []
        while ready:
            order.append(ready.pop(0))
            ready += frontier.settle(order[-1].id, finished(order[-1], None)).start
        assert flow.straight == tuple(order)


GREETING = chain(
    node("in", "api_input", {"fields": [{"name": "name", "type": "string"}]}),
    node("hi", "template", {"text": "Hello, {{ in.name }}!"}),
    node("out", "api_output", {"value": "{{ hi.text }}"}),
)


@pytest.mark.parametrize(
    "more", [{"session_id": "s"}, {"replay": ReplayOf(run_id="run_1", from_node="hi")}], ids=["session", "replay"]
)
def test_a_run_with_a_past_is_left_to_the_long_way(run: RunKey, more: dict[str, Any]) -> None:
    flow = compile_flow(load(GREETING))
    assert carry(flow, begin(request(run, flow, {"name": "Ada"})), EXECUTOR, None, utc_now) is not None
    assert carry(flow, begin(request(run, flow, {"name": "Ada"}, **more)), EXECUTOR, None, utc_now) is None


@pytest.mark.parametrize(
    "middle",
    [
        node("hi", "prompt", {"model": "echo/x", "prompt": "{{ in.name }}"}),
        node("hi", "template", {"text": "{{ secret.token }}"}),
        node("hi", "template", {"text": "{{ session.id }}"}),
        node("hi", "delay", {"seconds": 0}),
        node("hi", "condition", {"cases": [{"port": "a", "when": "in.name"}]}),
        node("hi", "api_output", {"value": "x", "callback_url": "https://example.org/{{ in.name }}"}),
    ],
    ids=lambda each: str(each["type"]),
)
def test_a_flow_that_reaches_further_is_left_to_the_long_way(middle: dict[str, Any]) -> None:
    reader = node("in", "api_input", {"fields": [{"name": "name", "type": "string"}]})
    port = "a" if middle["type"] == "condition" else None
    flow = document(
        [reader, middle, node("end", "template", {"text": "x"})], [edge("in", "hi"), edge("hi", "end", port)]
    )
    assert compile_flow(load(flow)).straight == ()


def test_a_file_is_left_to_the_long_way() -> None:
    fields = [{"name": "name", "type": "string"}, {"name": "paper", "type": "file"}]
    flow = chain(node("in", "api_input", {"fields": fields}), node("hi", "template", {"text": "x"}))
    assert compile_flow(load(flow)).straight == ()
