"""One trace from the caller's `traceparent` to the last call outward, as a real collector receives it."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator

import pytest

from libs.runtime.tracing import begin, span, trace_id, tracing
from tests.api.wire import head
from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, output, prompt, template
from tests.e2e.model import model
from tests.e2e.target import target
from tests.observability.conftest import PLANTED
from tests.observability.otlp import Collector, Seen
from tests.stack import Stack

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
ROUTE = "POST /v1/deployments/{deployment_id}/runs"
PROMPT = "a-canary-in-the-prompt"
ANSWER = "a-canary-in-the-answer"


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


class Theirs:
    """A span of the caller's, which records (or not) and is the parent of the call."""

    def __init__(self, flags: str = "01") -> None:
        self.trace = secrets.token_hex(16)
        self.id = secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace}-{self.id}-{flags}"}


async def start(caller: Caller, deployment: str, theirs: Theirs) -> str:
    body = {"input": {"text": PROMPT}, "mode": "sync"}
    answer = await caller.call("POST", f"/v1/deployments/{deployment}/runs", body, headers=theirs.headers)
    assert answer.status == 200, answer.body
    return answer.run_id


async def whole(collector: Collector, trace: str, names: set[str]) -> dict[str, Seen]:
    """The spans of a trace by name, once these are there; a name that comes twice is numbered."""

    async def there() -> bool:
        return names <= {each.name for each in collector.of(trace)}

    await until(there)
    return {each.name: each for each in collector.of(trace)}


async def connected(collector: Collector, theirs: Theirs) -> None:
    """Every span is below another one of the trace, or below the caller's, once all of them were exported."""

    async def whole_tree() -> bool:
        spans = collector.of(theirs.trace)
        return {each.parent for each in spans} <= {each.id for each in spans} | {theirs.id}

    await until(whole_tree)


async def test_a_run_with_a_model_is_one_tree_below_the_callers_span(
    stack: Stack, caller: Caller, collector: Collector, model_port: int
) -> None:
    flow = chain(template("hi", "x {{ in.text }}"), prompt("llm", "openai/gpt-4o-mini"), output("{{ llm.text }}"))
    deployment = await caller.deploy(flow)
    theirs = Theirs()
    async with model(model_port, [ANSWER]):
        run_id = await start(caller, deployment, theirs)

    nodes = {"node api_input", "node template", "node prompt", "node api_output"}
    found = await whole(collector, theirs.trace, {ROUTE, "run", "append", "chat gpt-4o-mini", *nodes})
    await connected(collector, theirs)
    assert {each.service for each in collector.of(theirs.trace)} == {"headgate-gateway", "headgate-executor"}

    gateway, run, chat = found[ROUTE], found["run"], found["chat gpt-4o-mini"]
    assert (gateway.kind, gateway.parent) == (SERVER, theirs.id)
    assert gateway.attributes["http.response.status_code"] == 200
    assert (run.kind, run.parent) == (CONSUMER, gateway.id)
    assert {found[name].parent for name in nodes} == {run.id}
    assert (chat.kind, chat.parent) == (CLIENT, found["node prompt"].id)
    told = {name: value for name, value in chat.attributes.items() if name.startswith("gen_ai.")}
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 1,
    }
    appends = [each for each in collector.of(theirs.trace) if each.name == "append"]
    assert {(each.service, each.kind) for each in appends} == {
        ("headgate-gateway", PRODUCER),
        ("headgate-executor", PRODUCER),
    }
    named = {each.attributes.get("headgate.run.id") for each in collector.of(theirs.trace) if each is not chat}
    assert named == {run_id}


async def test_a_stream_that_was_asked_for_in_one_piece_is_one_span_of_the_gateway(
    stack: Stack, caller: Caller, collector: Collector
) -> None:
    deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
    theirs, body = Theirs(), b'{"input": {"text": "Ada"}, "mode": "stream"}'
    headers = {**stack.headers, **theirs.headers, "Content-Length": str(len(body))}
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(head("POST", f"/v1/deployments/{deployment}/runs", headers) + body)
    async with asyncio.timeout(10):
        await reader.readuntil(b"run.completed")

    await whole(collector, theirs.trace, {ROUTE, "run"})
    await connected(collector, theirs)
    writer.close()
    spans = [(each.name, each.failed) for each in collector.of(theirs.trace) if each.kind == SERVER]
    assert spans == [(ROUTE, False)]


async def test_a_failed_node_is_a_failed_span_and_so_is_its_run(
    caller: Caller, collector: Collector, model_port: int
) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o-mini"), output("{{ llm.text }}")))
    theirs = Theirs()
    await start(caller, deployment, theirs)  # nobody serves the model
    found = await whole(collector, theirs.trace, {ROUTE, "run", "node prompt", "chat gpt-4o-mini"})
    await connected(collector, theirs)
    for name in ("run", "node prompt"):
        assert found[name].failed
        assert found[name].attributes["error.type"] == "node_failed"


async def test_a_webhook_is_told_in_the_trace_of_its_run(caller: Caller, collector: Collector) -> None:
    deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
    async with target() as receiver:
        wanted = {"url": receiver.url("/hook"), "events": ["flow_completed"], "deployment_id": deployment}
        made = await caller.call("POST", "/v1/webhooks", wanted)
        assert made.status == 201, made.body
        theirs = Theirs()

        async def told() -> bool:
            await start(caller, deployment, theirs)
            return bool(receiver.to("/hook"))

        await until(told)  # the notifier hears of a new webhook within a moment
        found = await whole(collector, theirs.trace, {ROUTE, "run", "deliver webhook"})
        await caller.call("DELETE", f"/v1/webhooks/{made.body['id']}")
    await connected(collector, theirs)
    deliver = found["deliver webhook"]
    assert (deliver.service, deliver.kind, deliver.failed) == ("headgate-notifier", CLIENT, False)
    assert deliver.parent in {each.id for each in collector.of(theirs.trace) if each.name == "run"}


async def test_what_its_caller_does_not_record_is_not_recorded(
    stack: Stack, caller: Caller, collector: Collector
) -> None:
    deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
    unrecorded, recorded = Theirs("00"), Theirs("01")
    run_id = await start(caller, deployment, unrecorded)
    await start(caller, deployment, recorded)
    await whole(collector, recorded.trace, {"run"})  # exported after it, if it were
    assert collector.of(unrecorded.trace) == []

    async def told() -> bool:
        return any(run_id in line and unrecorded.trace in line for line in stack.log("executor").splitlines())

    await until(told)  # its logs have the trace all the same: whoever records elsewhere finds them by it


async def test_spans_hold_no_key_no_prompt_and_no_answer(collector: Collector, stack: Stack) -> None:
    sent = b"".join(collector.payloads)
    assert b"gen_ai.request.model" in sent
    for secret in (PLANTED, stack.admin_key, PROMPT, ANSWER):
        assert secret.encode() not in sent


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"ff-{'1' * 32}-{'1' * 16}-01",
        f"00-{'A' * 32}-{'1' * 16}-01",
    ],
)
def test_what_is_no_traceparent_belongs_to_no_trace(given: str | None) -> None:
    assert trace_id(given) is None


def test_a_collector_that_does_not_answer_keeps_no_process_from_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{mute.getsockname()[1]}"}
        monkeypatch.setenv(*next(iter(environment.items())))
        with tracing("gateway", "gateway-0", environment):
            traced = begin("anything", f"00-{'1' * 32}-{'1' * 16}-01")
            assert traced is not None
            assert traced.recorded
            traced.end()
            left_at = time.monotonic()
        assert time.monotonic() - left_at < 5


def test_a_variable_that_does_not_fit_keeps_no_process_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_MAX_QUEUE_SIZE": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with tracing("gateway", "gateway-0", environment):
        assert begin("anything", None) is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_traces_are_off_where_the_environment_says_so(environment: dict[str, str]) -> None:
    with tracing("gateway", "gateway-0", environment):
        assert begin("anything", None) is None


def test_without_an_endpoint_there_are_no_spans() -> None:
    assert begin("anything", None) is None
    with span("anything", None) as nothing:
        assert nothing is None
