"""One call: sent until it is answered for good."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headgate_client.address import Address
from headgate_client.effects import Pause, Steps, T
from headgate_client.errors import ConnectionFailed, HeadgateError, WaitTimeout
from headgate_client.http1 import Reply, encode_request, open_reply
from headgate_client.retries import RetryPolicy, read_retry_after

RUN_HEADER = "headgate-run-id"
_LARGEST_ANSWER_BYTES = 256 * 1024 * 1024
_AGENT = "headgate-client-python/0.1.0"


def read_key(api_key: str) -> str:
    """The key without the white space around it. ValueError when it is none; no message shows what it is."""
    key = api_key.strip()
    if not re.fullmatch("[!-~]+", key):
        raise ValueError("api_key is not a key")
    return key


@dataclass(frozen=True)
class Request:
    """A call of the API. `silence`: seconds without a byte after which it has failed; None: the caller's."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    silence: float | None = None


@dataclass(frozen=True)
class Answer:
    """A 2xx. `body` is its JSON, None if it has none."""

    status: int
    run_id: str
    body: Any


@dataclass(frozen=True)
class Caller:
    """Who calls where, and how patiently. `deadline` is a reading of `clock` at which waiting ends."""

    address: Address
    api_key: str = field(repr=False)
    silence: float
    retry: RetryPolicy
    deadline: float = math.inf
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if self.silence <= 0:
            raise ValueError("timeout is a positive number of seconds")

    def until(self, timeout: float | None) -> Caller:
        """The same caller, that waits for `timeout` seconds from now at most; None: for as long as it takes."""
        return self if timeout is None else replace(self, deadline=self.clock() + timeout)

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.clock() >= self.deadline

    def call(self, request: Request) -> Steps[Answer]:
        """Send the request until it is answered. HeadgateError for what trying again cannot or did not change."""
        return self._retrying(lambda: self._read(request))

    def open(self, request: Request) -> Steps[Reply]:
        """As `call`, but the body of the answer is still to be read."""
        return self._retrying(lambda: self._open(request))

    def pause(self, failures: int, since: float, error: HeadgateError, waits_for: str) -> Steps[None]:
        """Wait before trying again. Raises the error when the policy says to give up, WaitTimeout past the deadline."""
        if self.is_late:
            raise WaitTimeout(waits_for) from error
        seconds = self.retry.pause(failures, self.clock() - since, self.chance(), error.retry_after)
        if not error.retryable or seconds is None:
            raise error
        yield Pause(min(seconds, max(0.0, self.deadline - self.clock())))

    def _retrying(self, once: Callable[[], Steps[T]]) -> Steps[T]:
        since, failures = self.clock(), 0
        while True:
            try:
                return (yield from once())
            except HeadgateError as error:
                failed = error
            failures += 1
            yield from self.pause(failures, since, failed, "The call")

    def _read(self, request: Request) -> Steps[Answer]:
        reply = yield from self._open(request)
        body = yield from _whole(reply)
        return Answer(reply.status, reply.headers.get(RUN_HEADER, ""), _decode(reply.status, body) if body else None)

    def _open(self, request: Request) -> Steps[Reply]:
        silence = self.silence if request.silence is None else request.silence
        headers = {"User-Agent": _AGENT, "Accept": "application/json", **request.headers}
        headers["Authorization"] = f"Bearer {self.api_key}"
        body = None if request.body is None else _encode(request.body)
        encoded = encode_request(self.address, request.method, request.path, headers, body)
        connect_timeout = self._patience(self.silence)
        reply = yield from open_reply(self.address, encoded, connect_timeout, lambda: self._patience(silence))
        if not 200 <= reply.status < 300:
            raise _refusal(reply, (yield from _whole(reply)), self.wall_clock())
        return reply

    def _patience(self, silence: float) -> float:
        left = self.deadline - self.clock()
        if left <= 0:
            raise ConnectionFailed("the server did not answer in time")
        return min(silence, left)


def _whole(reply: Reply) -> Steps[bytes]:
    pieces, size = [], 0
    while piece := (yield from reply.piece()):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_ANSWER_BYTES:
            raise HeadgateError(reply.status, "unexpected_answer", "the answer is larger than any should be")
    return b"".join(pieces)


def _encode(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _decode(status: int, body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HeadgateError(status, "unexpected_answer", "the answer is not JSON: is this a Headgate server?") from None


def _refusal(reply: Reply, body: bytes, now: float) -> HeadgateError:
    """The error that an answer tells of, in problem+json or a dialect's envelope."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    error = told.get("error")
    inner = error if isinstance(error, dict) else {}
    texts = [told.get("detail"), told.get("message"), inner.get("message"), error, told.get("title")]
    codes = [told.get("code"), inner.get("code")]
    errors = told.get("errors")
    return HeadgateError(
        reply.status,
        next((str(code) for code in codes if code), ""),
        next((text for text in texts if text and isinstance(text, str)), f"HTTP {reply.status}"),
        errors if isinstance(errors, list) else (),
        told.get("request_id") or reply.headers.get("x-request-id", ""),
        run_id=reply.headers.get(RUN_HEADER, ""),
        retry_after=read_retry_after(reply.headers.get("retry-after"), now),
    )
