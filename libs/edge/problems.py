"""Errors as callers see them: RFC 9457 `application/problem+json`, with a stable `code` for programs.

The codes are a closed list, part of the contract. A detail says what to do; it never holds a key, a stack trace
or another workspace's anything.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

import msgspec
from aiohttp import web

from libs.runtime.ids import new_id

Code = Literal[
    "invalid_input",
    "unauthorized",
    "forbidden",
    "not_found",
    "deployment_inactive",
    "conflict",
    "idempotency_conflict",
    "payload_too_large",
    "concurrency_limit",
    "rate_limit",
    "quota_exceeded",
    "egress_refused",
    "unavailable",
]

STATUS: dict[Code, int] = {
    "invalid_input": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "deployment_inactive": 404,
    "conflict": 409,
    "idempotency_conflict": 422,
    "payload_too_large": 413,
    "concurrency_limit": 429,
    "rate_limit": 429,
    "quota_exceeded": 429,
    "egress_refused": 400,
    "unavailable": 503,
}

RETRY_AFTER_SECONDS = 1


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a bad input: where (JSON Pointer, RFC 6901) and what."""

    pointer: str
    detail: str


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every native error."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    request_id: str
    errors: list[Detail] = []


class Problem(Exception):
    """Ends a request with an error answer."""

    def __init__(
        self,
        code: Code,
        detail: str,
        errors: Sequence[Detail] = (),
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.status = status or STATUS[code]
        self.headers = headers or {}
        if code == "unavailable":
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        if code == "unauthorized":
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="headgate"')

    @property
    def reason(self) -> str:
        """What it is counted as: its code, or `run_failed` where a dialect has an error for a run that failed."""
        return self.code


def not_found(what: str) -> Problem:
    """The same answer for what does not exist and for what is another workspace's."""
    return Problem("not_found", f"There is no such {what}.")


def render(problem: Problem, request_id: str) -> web.Response:
    """The answer for a problem."""
    body = ProblemBody(
        type=f"/docs/errors#{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id,
        errors=problem.errors,
    )
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers=problem.headers,
    )


def malformed(status: int) -> web.Response:
    """What bytes that are no HTTP request, or too much of one, are answered."""
    detail = "This is no HTTP request that can be read: its head is broken, or larger than 8 KiB a line."
    problem = Problem("unavailable" if status >= 500 else "invalid_input", detail, status=status)
    request_id = new_id("req")
    response = render(problem, request_id)
    response.headers["X-Request-Id"] = request_id
    return response
