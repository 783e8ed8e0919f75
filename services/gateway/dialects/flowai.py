"""FlowAI: `POST /v1/api/workflow/run/{id}`, one answer or a stream of the seed's own frames.

The frames are printed as the seed prints them: `event:msg`, no space after the colon, one `data:` line.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

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
from services.gateway.acceptance import IDEMPOTENCY, Accepted, Asked, accept, callable_deployment, deployed_flow
from services.gateway.answers import finished, headers_of
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


async def run_workflow(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Run a workflow."""
    caller, deployment = callable_deployment(call, call.path("workflow_id"))
    body: WorkflowBody = call.body
    mode: Any = "stream" if body.stream else "sync"
    asked = Asked(input=body.input, body=body, mode=mode)
    accepted = await accept(call, caller, deployment, asked, waits=not body.stream)
    if body.stream:
        return await _stream(call, accepted, await deployed_flow(call.app, deployment))
    run = await finished(call.app, accepted)
    if run is None:
        return Reply(
            status=202, body={"run_id": accepted.run.run_id, "status": "running"}, headers=headers_of(accepted)
        )
    must_have_completed(run)
    answer = WorkflowAnswer(output=run.output, total_time=run.duration_seconds or 0.0)
    return Reply(body=answer, headers=headers_of(accepted))


async def _stream(call: Call[Gateway], accepted: Accepted, flow: CompiledFlow) -> web.StreamResponse:
    stream = EventStream(call.request, call.app.streams, headers_of(accepted), retry=False)
    events = follow(call.app.log, accepted.run, 0, HEARTBEAT_SECONDS, stream.ping)
    async with aclosing(events):
        return await stream.write_all(_frames(flow, (decode_event(event.body) async for event in events)))


async def _frames(flow: CompiledFlow, events: AsyncIterator[RunEvent | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is not None and (frame := _frame(flow, event)) is not None:
            yield frame


def _frame(flow: CompiledFlow, event: RunEvent) -> bytes | None:
    match event:
        case RunRequested():
            entry = next((node.id for node in flow.nodes.values() if isinstance(node, ApiInput)), "")
            return _print("msg", {"Node": entry, "Msg": "start", "Type": "start", "Data": event.data.input})
        case NodeStarted() if event.data.attempt == 1:
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
            return _print("error", {"error": error.message, "code": error.code, "Node": error.node})
        case RunCancelled():
            return _print("error", {"error": "the run was cancelled", "code": "cancelled", "Node": None})
        case _:
            return None


def _node(flow: CompiledFlow, node_id: str, verb: str, kind: str, data: Any) -> bytes:
    node = flow.nodes[node_id]
    tag = str(type(node).__struct_config__.tag)
    text = f"{verb} node {node.name or node_id}, type {_WORDS.get(tag, tag)}"
    return _print("msg", {"Node": node_id, "Msg": text, "Type": kind, "Data": data})


def _print(event: str, data: Any) -> bytes:
    return b"event:%b\ndata:%b\n\n" % (event.encode(), msgspec.json.encode(data))


ERRORS = envelope(lambda problem, _: {"error": problem.detail, "code": code_of(problem)})

ROUTES = (
    Route(
        method="POST",
        path="/v1/api/workflow/run/{workflow_id}",
        handler=run_workflow,
        summary="FlowAI: run a workflow, streamed with `stream: true`",
        tag="dialects",
        permission=None,
        anonymous=True,
        body=WorkflowBody,
        answer=WorkflowAnswer,
        content_types=("application/json", "text/event-stream"),
        headers=IDEMPOTENCY,
        errors=ERRORS,
    ),
)
