"""A run's events from its first to its last, whatever happens to the connection in between."""

from __future__ import annotations

import json
from collections import deque

from headgate_client.address import segment
from headgate_client.caller import RUN_HEADER, Caller, Request
from headgate_client.effects import Steps
from headgate_client.errors import ConnectionFailed, HeadgateError
from headgate_client.http1 import Reply
from headgate_client.results import Event, read_event
from headgate_client.sse import Frame, FrameReader

SILENCE_SECONDS = 45.0
"""The server sends a comment after 15 seconds of silence at the latest, so three times that is a dead connection."""


class EventStream:
    """Ask `next` until it answers None.

    `first` opens the stream, and may start the run: it carries an idempotency key, so that it starts one however
    often it is sent. Once the run is known, a stream that breaks is resumed after the last event seen. `after` is
    the number of an event (0: from the first); none up to it is given out.
    """

    def __init__(self, caller: Caller, first: Request, after: int = 0) -> None:
        self._caller = caller
        self._request = first
        self._after = after
        self._last_id = str(after)
        self._run_id = ""
        self._reply: Reply | None = None
        self._frames = FrameReader()
        self._waiting: deque[Frame] = deque()
        self._ended = False
        self._failures = 0
        self._failing_since = self._opened_at = caller.clock()

    def next(self) -> Steps[Event | None]:
        """The next event; None after the last. Errors are those of a call, and of a stream that stays broken."""
        while not self._ended:
            while self._waiting:
                event = self._take(self._waiting.popleft())
                if event is not None:
                    return event
            yield from self._receive()
        return None

    def _receive(self) -> Steps[None]:
        """Frames, or a new connection to get them from, or a pause before that."""
        if self._reply is None:
            self._reply = yield from self._caller.open(self._request)
            self._run_id = self._run_id or self._reply.headers.get(RUN_HEADER, "")
            self._frames, self._opened_at = FrameReader(), self._caller.clock()
            self._ended = self._reply.status == 204  # nothing is left after the last event seen
            self._must_be_stream(self._reply)
        try:
            piece = yield from self._reply.piece()
            lost = ConnectionFailed(f"the events of {self._run_id or 'the run'} stopped before its end")
        except ConnectionFailed as error:
            piece, lost = b"", error
        if piece:
            self._waiting.extend(self._frames.feed(piece))
        elif not self._ended:
            yield from self._lose(lost)

    def _lose(self, error: ConnectionFailed) -> Steps[None]:
        self._reply = None
        now = self._caller.clock()
        if now - self._opened_at > self._caller.retry.cap_seconds:
            self._failures = 0  # it has held for a while: a proxy that cuts what is long is no failure that adds up
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        yield from self._caller.pause(self._failures, self._failing_since, error, self._run_id or "The run")
        if self._run_id:
            self._request = events_of(self._run_id, self._last_id)

    def _take(self, frame: Frame) -> Event | None:
        try:
            event = read_event(json.loads(frame.data))
        except (ValueError, RecursionError):
            raise HeadgateError(200, "unexpected_answer", "an event of the stream is not JSON") from None
        if event.seq <= self._after:
            return None
        self._run_id, self._after, self._last_id = event.run_id, event.seq, frame.id or str(event.seq)
        self._failures = 0
        self._ended = event.ends_run
        return event

    def _must_be_stream(self, reply: Reply) -> None:
        kind = reply.headers.get("content-type", "")
        if not self._ended and not kind.startswith("text/event-stream"):
            raise HeadgateError(reply.status, "unexpected_answer", "the server did not answer with a stream")


def events_of(run_id: str, last_id: str) -> Request:
    """The request that opens the stream of a run there is."""
    headers = {"Accept": "text/event-stream"}
    if last_id != "0":
        headers["Last-Event-ID"] = last_id
    return Request("GET", f"/v1/runs/{segment(run_id)}/events", headers=headers, silence=SILENCE_SECONDS)
