"""`GET /v1/runs/{id}/events`: a run's events as a list, or as a stream that may be resumed anywhere at any time."""

from contextlib import aclosing
from typing import Protocol

import msgspec
from aiohttp import web

from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.edge.streams import HEARTBEAT_SECONDS, EventStream, Streams
from libs.events.follow import follow
from libs.events.log import EventLog
from libs.events.reads import Stored
from libs.events.run_events import Append, decode_append, serve_append
from libs.events.subjects import RunKey

RUN_HEADER = "Headgate-Run-Id"


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """All events of the run so far."""

    data: list[msgspec.Raw]


class ReadsRuns(Protocol):
    """What serving run events needs of a process."""

    @property
    def log(self) -> EventLog:
        """Where the runs are."""

    @property
    def streams(self) -> Streams:
        """The streams open now."""


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """A process that does nothing else."""

    log: EventLog
    streams: Streams


async def run_events(call: Call[ReadsRuns]) -> Reply | web.StreamResponse:
    """The events. 204 when a stream is resumed after the run's last event."""
    run = RunKey(call.caller.workspace, call.path("run_id"))
    first = await _first_readable(call, call.app.log, run)
    if "text/event-stream" not in call.request.headers.get("Accept", ""):
        # By number: a run that waited for a slot was requested twice with the same words.
        served = {e.seq: msgspec.Raw(e.body) for m in await call.app.log.read(run) for e in serve_append(m.payload)}
        return Reply(body=EventList(data=list(served.values())), headers={RUN_HEADER: run.run_id})
    after = _last_event_id(call.request)
    end = await call.app.log.end(run) if after else None
    if end is not None and serve_append(end.payload)[-1].seq <= after:
        return Reply(status=204, headers={RUN_HEADER: run.run_id})
    return await stream_run(call.request, call.app, run, after, first)


async def stream_run(
    request: web.Request, app: ReadsRuns, run: RunKey, after: int, first: Stored | None = None
) -> web.StreamResponse:
    """The run's events after number `after`, as Server-Sent Events until its last; `first` as `follow` takes it."""
    stream = EventStream(request, app.streams, {RUN_HEADER: run.run_id})
    events = follow(app.log, run, after, HEARTBEAT_SECONDS, stream.ping, first)
    async with aclosing(events):
        return await stream.send_all(events)


async def readable_run(call: Call[ReadsRuns], log: EventLog, run: RunKey) -> Append:
    """The append that asked for the run, if the caller may see it. A key bound to deployments sees theirs only."""
    return decode_append((await _first_readable(call, log, run)).payload)


async def _first_readable(call: Call[ReadsRuns], log: EventLog, run: RunKey) -> Stored:
    rights = {"read", "execute", "admin"}.intersection(call.caller.permissions)
    if not rights:
        raise Problem("forbidden", "This key has neither the right `read` nor the right `execute`.")
    first = await log.first(run)
    if first is None:
        raise not_found("run")
    bound = call.caller.deployment_ids
    if bound and decode_append(first.payload).events[0].data.deployment_id not in bound:  # type: ignore[union-attr]  # run.requested
        raise Problem("forbidden", "This key is for another deployment.")
    return first


def _last_event_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID") or request.query.get("last_event_id") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        detail = "must be the id of an event of this run, a number"
        raise Problem("invalid_input", f"Last-Event-ID {detail}.", [Detail(pointer="/Last-Event-ID", detail=detail)])
    return int(text)


def events_route() -> Route:
    """The route, the same on gateways and notifiers."""
    return Route(
        method="GET",
        path="/v1/runs/{run_id}/events",
        handler=run_events,
        summary="The run's events; with `Accept: text/event-stream` as they happen",
        tag="runs",
        permission=None,
        answer=EventList,
        also={204: "The stream was resumed after the run's last event; nothing is left."},
        content_types=("application/json", "text/event-stream"),
        headers={"Last-Event-ID": "The id of the last event seen: the stream goes on after it."},
    )
