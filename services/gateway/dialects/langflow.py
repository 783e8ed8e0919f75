"""Langflow: the seed's form, and that of the real server for its own clients; streams asked for in either's way.

The real server's stream is no SSE: one JSON object a frame, a blank line after it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from libs.edge.routes import Call, Reply, Route
from libs.edge.streams import HEARTBEAT_SECONDS, EventStream
from libs.events.follow import follow
from libs.events.run import Run
from libs.events.run_events import (
    NodeDelta,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunRequested,
    decode_event,
)
from libs.flows.filters import text_of
from libs.runtime.ids import new_id
from services.gateway.acceptance import (
    IDEMPOTENCY,
    Accepted,
    Asked,
    accept,
    callable_deployment,
    deployed_flow,
)
from services.gateway.answers import ended, finished, headers_of
from services.gateway.dialects.envelope import code_of, envelope, must_have_completed
from services.gateway.dialects.fields import text_field, translate_tweaks
from services.gateway.state import Gateway

_Session = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.:-]{0,128}$")]
"""Its own clients send an empty one for a new session."""


class ChatBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is said, to which session, with which changes of nodes' settings."""

    input_value: Any = None
    tweaks: dict[str, Any] | None = None
    session_id: _Session | None = None
    stream: bool = False
    input_type: str | None = None
    output_type: str | None = None
    output_component: str | None = None


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The other way to ask for the stream."""

    stream: bool = False


class ChatResult(msgspec.Struct, frozen=True, kw_only=True):
    """The flow's output."""

    output: Any


class ChatMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took in seconds, and the models' tokens, in and out together."""

    duration: float
    tokens_used: int


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The seed's answer."""

    result: ChatResult
    session_id: str
    metadata: ChatMetadata


class ChatUnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, status 202, where the run takes longer than a call may wait. The run goes on."""

    status: Literal["running"] = "running"
    run_id: str
    session_id: str


class ChatError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, where the real server's clients look for it."""

    detail: str
    code: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of a webhook."""

    message: str
    status: str
    run_id: str


async def run_flow(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Run a flow, as the seed writes it. One that takes longer than a call may wait goes on: 202 with `run_id`."""
    return await _run(call, seed_answer)


async def run_real(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Run a flow, as the real server's clients ask for it and read it."""
    return await _run(call, real_answer)


async def webhook(call: Call[Gateway]) -> Reply:
    """Run a flow with any JSON object as its input."""
    caller, deployment = callable_deployment(call, call.path("flow_id"))
    asked = Asked(input=call.body, body=call.body, mode="async", pointer="")
    accepted = await accept(call, caller, deployment, asked)
    receipt = Started(message="Task started in the background", status="in progress", run_id=accepted.run.run_id)
    return Reply(status=202, body=receipt, headers=headers_of(accepted))


async def _run(call: Call[Gateway], answer: Callable[[Run], Any]) -> Reply | web.StreamResponse:
    caller, deployment = callable_deployment(call, call.path("flow_id"))
    flow = await deployed_flow(call.app, deployment)
    body: ChatBody = call.body
    query: StreamQuery = call.query
    streams = body.stream or query.stream
    session_id = body.session_id or new_id("ses")
    given = {} if body.input_value is None else {text_field(flow): body.input_value}
    asked = Asked(
        input=given,
        body=body,
        mode="stream" if streams else "sync",
        session_id=session_id,
        tweaks=translate_tweaks(flow, body.tweaks or {}),
        pointer="",
    )
    accepted = await accept(call, caller, deployment, asked, waits=not streams)
    if streams:
        return await _stream(call, accepted)
    run = await finished(call.app, accepted)
    headers = headers_of(accepted)
    if run is None:
        session_id = accepted.requested.data.session_id or session_id
        return Reply(status=202, body=ChatUnderWay(run_id=accepted.run.run_id, session_id=session_id), headers=headers)
    return Reply(body=answer(must_have_completed(run, headers)), headers=headers)


def seed_answer(run: Run) -> ChatAnswer:
    """The run in the seed's shape."""
    tokens = run.usage.input_tokens + run.usage.output_tokens
    return ChatAnswer(
        result=ChatResult(output=run.output),
        session_id=run.session_id or "",
        metadata=ChatMetadata(duration=run.duration_seconds or 0.0, tokens_used=tokens),
    )


def real_answer(run: Run) -> dict[str, Any]:
    """The run in the real server's shape: clients read the text in one of two places."""
    text = text_of(run.output)
    message = {"text": text, "sender": "Machine", "sender_name": "AI", "session_id": run.session_id}
    output = {
        "results": {"message": {"text": text, "data": message}},
        "outputs": {"message": {"message": text, "type": "text"}},
        "artifacts": {"message": text},
        "messages": [{"message": text, "sender": "Machine", "sender_name": "AI", "type": "text"}],
    }
    said = next((value for value in run.input.values() if isinstance(value, str)), "")
    return {"session_id": run.session_id, "outputs": [{"inputs": {"input_value": said}, "outputs": [output]}]}


async def _stream(call: Call[Gateway], accepted: Accepted) -> web.StreamResponse:
    stream = EventStream(call.request, call.app.streams, headers_of(accepted), retry=False)

    async def ping() -> None:
        # A line break between two objects: every reader of these frames passes over it.
        await stream.write(b"\n")

    events = follow(call.app.log, accepted.run, 0, HEARTBEAT_SECONDS, ping)
    async with aclosing(events):
        return await stream.write_all(_frames(accepted, (decode_event(event.body) async for event in events)))


async def _frames(accepted: Accepted, events: AsyncIterator[RunEvent | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is not None and (frame := _frame(accepted, event)) is not None:
            yield frame


def _frame(accepted: Accepted, event: RunEvent) -> bytes | None:
    match event:
        case RunRequested():
            said = next((value for value in event.data.input.values() if isinstance(value, str)), "")
            return _print("add_message", _message(said, "User", event.data.session_id))
        case NodeDelta() if event.data.text:
            return _print("token", {"chunk": event.data.text, "id": event.run_id})
        case RunCompleted():
            run = ended(accepted, event)
            message = _print("add_message", _message(text_of(run.output), "Machine", run.session_id))
            return message + _print("end", {"result": real_answer(run)})
        case RunFailed():
            return _print("error", {"error": event.data.error.message, "code": event.data.error.code})
        case RunCancelled():
            return _print("error", {"error": "The run was cancelled.", "code": "cancelled"})
        case _:
            return None


def _message(text: str, sender: str, session_id: str | None) -> dict[str, Any]:
    return {"text": text, "message": {"text": text}, "sender": sender, "session_id": session_id}


def _print(event: str, data: Any) -> bytes:
    return msgspec.json.encode({"event": event, "data": data}) + b"\n\n"


def _route(path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        summary=f"Langflow: {summary}",
        tag="dialects",
        permission="execute",
        anonymous=True,
        headers=IDEMPOTENCY,
        error=ChatError,
        errors=envelope(lambda problem, _: ChatError(detail=problem.detail, code=code_of(problem))),
        **more,
    )


_STREAMS = ("application/json", "text/event-stream")

ROUTES = (
    _route(
        "/langflow/api/v1/flows/{flow_id}/run",
        run_flow,
        "run a flow (the documented form)",
        body=ChatBody,
        query=StreamQuery,
        answer=ChatAnswer,
        content_types=_STREAMS,
    ),
    _route(
        "/api/v1/run/{flow_id}",
        run_real,
        "run a flow (the server's form)",
        body=ChatBody,
        query=StreamQuery,
        answer=dict[str, Any],
        content_types=_STREAMS,
    ),
    _route("/api/v1/webhook/{flow_id}", webhook, "run a flow on an event", body=Any, answer=Started, status=202),
)
