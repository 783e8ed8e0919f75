"""FlowAI: `POST /v1/api/workflow/run/{id}`, one answer or a stream of the seed's own frames.

The frames are printed as the seed prints them: `event:msg`, no space after the colon, one `data:` line.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

import msgspec
from aiohttp import web

from libs.edge.routes import Call, Reply, Route
from libs.edge.streams import HEARTBEAT_SECONDS, EventStream
from libs.events.follow import follow
from libs.events.run_events import (
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunRequested,
    decode_event,
)
from libs.flows import CompiledFlow
from libs.flows.nodes.api_input import ApiInput
from services.gateway.acceptance import IDEMPOTENCY, Accepted, Asked, accept, callable_deployment
from services.gateway.answers import finished, flow_of, headers_of
from services.gateway.dialects.envelope import code_of, envelope, must_have_completed
from services.gateway.state import Gateway

_WORDS = {"api_input": "in", "prompt": "llm", "api_output": "out"}


class WorkflowBody(msgspec.Struct, frozen=True, kw_only=True):
    """The input's fields, and whether to stream."""

    input: Any = {}
    stream: bool = False


class WorkflowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result, and how long it took in seconds."""

    output: Any
    total_time: float


class WorkflowUnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, status 202, where the run takes longer than a call may wait. The run goes on."""

    status: Literal["running"] = "running"
    run_id: str


class WorkflowError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    error: str
    code: str


class StreamedError(WorkflowError, frozen=True, kw_only=True, rename={"node": "Node"}):
    """The data of `event:error`: the same, with the node where one is to blame."""

    node: str | None


async def run_workflow(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Run a workflow. One that takes longer than a call may wait goes on: 202 with `status` and `run_id`."""
    caller, deployment = callable_deployment(call, call.path("workflow_id"))
    body: WorkflowBody = call.body
    mode: Any = "stream" if body.stream else "sync"
    if body.stream:
        call.needs_connection()
    asked = Asked(input=body.input, body=body, mode=mode)
    accepted = await accept(call, caller, deployment, asked, waits=not body.stream)
    if body.stream:
        return await _stream(call, accepted, await flow_of(call.app, accepted))
    run = await finished(call.app, accepted)
    if run is None:
        return Reply(status=202, body=WorkflowUnderWay(run_id=accepted.run.run_id), headers=headers_of(accepted))
    must_have_completed(run, headers_of(accepted))
    answer = WorkflowAnswer(output=run.output, total_time=run.duration_seconds or 0.0)
    return Reply(body=answer, headers=headers_of(accepted))


async def _stream(call: Call[Gateway], accepted: Accepted, flow: CompiledFlow) -> web.StreamResponse:
    stream = EventStream(call.request, call.app.streams, headers_of(accepted), retry=False)
    events = follow(call.app.log, accepted.run, 0, HEARTBEAT_SECONDS, stream.ping, accepted.first)
    async with aclosing(events):
        return await stream.write_all(_frames(flow, (decode_event(event.body) async for event in events)))


async def _frames(flow: CompiledFlow, events: AsyncIterator[RunEvent | None]) -> AsyncIterator[bytes]:
    started: set[str] = set()
    async for event in events:
        if isinstance(event, NodeStarted):
            # Once a node: it is started again when it is retried, and after a crash.
            if event.node in started:
                continue
            started.add(event.node)
        if event is not None and (frame := _frame(flow, event)) is not None:
            yield frame


def _frame(flow: CompiledFlow, event: RunEvent) -> bytes | None:
    match event:
        case RunRequested():
            entry = next((node.id for node in flow.nodes.values() if isinstance(node, ApiInput)), "")
            return _print("msg", {"Node": entry, "Msg": "start", "Type": "start", "Data": event.data.input})
        case NodeStarted():
            return _node(flow, event.node, "Start", "start_node", None)
        case NodeFinished():
            return _node(flow, event.node, "Finish", "finish_node", {"time_spend": event.data.duration_seconds})
        case NodeFailed() if event.data.continued:
            spent = {"time_spend": event.data.duration_seconds, "error": event.data.error.message}
            return _node(flow, event.node, "Finish", "finish_node", spent)
        case NodeDelta():
            data = {"Content": event.data.text, "Node": event.node, "Reasoning": event.data.reasoning or None}
            return _print("stream", data)
        case RunCompleted():
            return _print("output", {"output": event.data.output, "total_time": event.data.duration_seconds})
        case RunFailed():
            error = event.data.error
            return _print("error", StreamedError(error=error.message, code=error.code, node=error.node))
        case RunCancelled():
            return _print("error", StreamedError(error="The run was cancelled.", code="cancelled", node=None))
        case _:
            return None


def _node(flow: CompiledFlow, node_id: str, verb: str, kind: str, data: Any) -> bytes:
    node = flow.nodes[node_id]
    tag = str(type(node).__struct_config__.tag)
    text = f"{verb} node {node.name or node_id}, type {_WORDS.get(tag, tag)}"
    return _print("msg", {"Node": node_id, "Msg": text, "Type": kind, "Data": data})


def _print(event: str, data: Any) -> bytes:
    return b"event:%b\ndata:%b\n\n" % (event.encode(), msgspec.json.encode(data))


ROUTES = (
    Route(
        method="POST",
        path="/v1/api/workflow/run/{workflow_id}",
        handler=run_workflow,
        summary="FlowAI: run a workflow, streamed with `stream: true`",
        tag="dialects",
        permission="execute",
        plain=True,
        anonymous=True,
        body=WorkflowBody,
        answer=WorkflowAnswer,
        content_types=("application/json", "text/event-stream"),
        headers=IDEMPOTENCY,
        error=WorkflowError,
        errors=envelope(lambda problem, _: WorkflowError(error=problem.detail, code=code_of(problem))),
    ),
)
