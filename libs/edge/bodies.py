"""Request bodies: bounded, read as JSON whatever the Content-Type says, decoded into a type or refused.

msgspec raises four unrelated exceptions for bad bytes (not UTF-8, nested too deep, not JSON, a number out of range);
here they become one answer. What is JSON but does not fit is held against the type's own schema, so that a caller
hears of every fault at once. Numbers that JSON does not have (NaN, Infinity) and half a surrogate pair are refused.
"""

import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from jsonschema_rs import Draft202012Validator

from libs.edge.problems import Detail, Problem
from libs.edge.whole import WholeRequest
from libs.flows.faults import limited
from libs.flows.schemas import schema_faults, validator

T = TypeVar("T")

MAX_DEPTH = 256
"""Deeper than anything a flow takes; far from where decoders and encoders give up, each at a place of its own."""

_PATH = re.compile(r" - at `(\$|key)(?P<path>[^`]*)`$")


async def read_body(request: web.Request | WholeRequest, limit: int) -> bytes:
    """The whole body. Problem `payload_too_large` past `limit` bytes, before they are read where it is announced."""
    if isinstance(request, WholeRequest):
        return request.body
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    await _ask_for(request)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.content.iter_any():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except (HttpProcessingError, web.RequestPayloadError):
        raise Problem("invalid_input", "The body is not what its Content-Encoding or its chunks say.") from None
    return b"".join(parts)


def decode(body: bytes, expected: type[T] | Any) -> T:
    """The body as `expected`. An empty body is an empty object. Problem `invalid_input` names every place."""
    body = body or b"{}"
    try:
        _check_depth(body)
        decoded: T = msgspec.json.decode(body, type=expected)
    except msgspec.ValidationError as error:
        raise (misfit(error) if expected is Any else _misfits(decode(body, Any), expected, error)) from None
    except msgspec.DecodeError as error:
        raise Problem("invalid_input", f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError:
        raise Problem("invalid_input", "The body is not UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    return decoded


def misfit(error: msgspec.ValidationError) -> Problem:
    """A problem from msgspec's message, whose path becomes a JSON Pointer."""
    text = str(error)
    found = _PATH.search(text)
    path = found["path"] if found else ""
    pointer = "".join(f"/{part}" for part in re.findall(r"[^.\[\]]+", path))
    return invalid(Detail(pointer=pointer, detail=_PATH.sub("", text)))


def invalid(*details: Detail) -> Problem:
    """Problem `invalid_input`: the first fault in a sentence, all of them in `errors`."""
    first = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return Problem("invalid_input", f"{first.pointer or 'The body'}: {first.detail}{more}.", details)


def _misfits(value: Any, expected: Any, error: msgspec.ValidationError) -> Problem:
    """Every fault by the type's schema; what only msgspec minds, by its message."""
    found = schema_faults(_checker(expected), value, "")
    details = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in limited(found)]
    return invalid(*details) if details else misfit(error)


@cache
def _checker(expected: Any) -> Draft202012Validator:
    return validator(msgspec.json.schema(expected))


def _check_depth(body: bytes) -> None:
    """Problem for more than `MAX_DEPTH` levels; a body with fewer brackets, nearly every one, costs two counts."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    level: list[Any] = [[msgspec.json.decode(body)]]
    for _ in range(MAX_DEPTH + 1):
        values = (value for each in level for value in (each.values() if isinstance(each, dict) else each))
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise _too_deep()


async def _ask_for(request: web.Request) -> None:
    """Tell a client that waits to be asked for its body (`Expect: 100-continue`, RFC 9110 section 10.1.1) to send it.

    Only here, so that a body which would be refused is never sent. Other expectations may be ignored, and are.
    """
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # what counts is the answer, which has not begun


def _too_deep() -> Problem:
    return Problem("invalid_input", f"The body is nested more than {MAX_DEPTH} levels deep.")


def _too_large(limit: int) -> Problem:
    return Problem("payload_too_large", f"The body is larger than {limit} bytes, the limit of this server.")
