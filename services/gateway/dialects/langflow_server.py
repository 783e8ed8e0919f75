"""The words of the real Langflow server, as its own clients read them: its answer, and its stream.

The stream is no SSE: one JSON object a frame, a blank line after it, no `data:` before it.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from libs.edge.routes import Call
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
from services.gateway.acceptance import Accepted
from services.gateway.answers import ended, headers_of
from services.gateway.state import Gateway


def server_answer(run: Run) -> dict[str, Any]:
    """The run in the real server's shape: clients read the text in one of two places."""
    text = text_of(run.output)
    message = {"text": text, "sender": "Machine", "sender_name": "AI", "session_id": run.session_id}
    output = {
        "results": {"message": {"text": text, "data": message}},
        "outputs": {"message": {"message": text, "type": "text"}},
        "artifacts": {"message": text},
        "messages": [{"message": text, "sender": "Machine", "sender_name": "AI", "type": "text"}],
    }
    said = {"input_value": _said(run.input)}
    return {"session_id": run.session_id, "outputs": [{"inputs": said, "outputs": [output]}]}


async def stream(call: Call[Gateway], accepted: Accepted) -> web.StreamResponse:
    """The run as a stream: what is said, the tokens as they come, and its end or its error."""
    response = EventStream(call.request, call.app.streams, headers_of(accepted), retry=False)

    async def ping() -> None:
        # A line break between two objects: every reader of these frames passes over it.
        await response.write(b"\n")

    events = follow(call.app.log, accepted.run, 0, HEARTBEAT_SECONDS, ping, accepted.first)
    async with aclosing(events):
        return await response.write_all(_frames(accepted, (decode_event(event.body) async for event in events)))


async def _frames(accepted: Accepted, events: AsyncIterator[RunEvent | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is not None and (frame := _frame(accepted, event)) is not None:
            yield frame


def _frame(accepted: Accepted, event: RunEvent) -> bytes | None:
    match event:
        case RunRequested():
            return _print("add_message", _message(_said(event.data.input), "User", event.data.session_id))
        case NodeDelta() if event.data.text:
            return _print("token", {"chunk": event.data.text, "id": event.run_id})
        case RunCompleted():
            run = ended(accepted, event)
            message = _print("add_message", _message(text_of(run.output), "Machine", run.session_id))
            return message + _print("end", {"result": server_answer(run)})
        case RunFailed():
            return _print("error", {"error": event.data.error.message, "code": event.data.error.code})
        case RunCancelled():
            return _print("error", {"error": "The run was cancelled.", "code": "cancelled"})
        case _:
            return None


def _said(given: dict[str, Any]) -> str:
    """The text that a run was given: callers send one, before any default."""
    return next((value for value in given.values() if isinstance(value, str)), "")


def _message(text: str, sender: str, session_id: str | None) -> dict[str, Any]:
    return {"text": text, "message": {"text": text}, "sender": sender, "session_id": session_id}


def _print(event: str, data: Any) -> bytes:
    return msgspec.json.encode({"event": event, "data": data}) + b"\n\n"
