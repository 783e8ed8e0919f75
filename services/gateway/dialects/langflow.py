"""Langflow: the seed's form, and that of the real server for its own clients; streams asked for in either's way."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from libs.edge.routes import Call, Reply, Route
from libs.events.run import Run
from libs.runtime.ids import new_id
from services.gateway.acceptance import (
    IDEMPOTENCY,
    Asked,
    accept,
    callable_deployment,
    deployed_flow,
)
from services.gateway.answers import finished, headers_of
from services.gateway.dialects.envelope import code_of, envelope, must_have_completed
from services.gateway.dialects.fields import text_field, translate_tweaks
from services.gateway.dialects.langflow_server import server_answer, stream
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
    return await _run(call, server_answer)


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
    if streams:
        call.needs_connection()
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
        return await stream(call, accepted)
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


def _route(path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        summary=f"Langflow: {summary}",
        tag="dialects",
        permission="execute",
        plain=True,
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
