"""Request bodies: bounded, read as JSON whatever the Content-Type says, decoded into a type or refused.

msgspec raises three unrelated exceptions for bad bytes (not UTF-8, nested too deep, not JSON); here they become one
answer. Numbers that JSON does not have (NaN, Infinity) are refused by it too.
"""

import re
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from libs.edge.problems import Detail, Problem

T = TypeVar("T")

_PATH = re.compile(r" - at `(\$|key)(?P<path>[^`]*)`$")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Problem `payload_too_large` past `limit` bytes, before they are read where it is announced."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def decode(body: bytes, expected: type[T] | Any) -> T:
    """The body as `expected`. An empty body is an empty object. Problem `invalid_input` names the place."""
    try:
        decoded: T = msgspec.json.decode(body or b"{}", type=expected)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except msgspec.DecodeError as error:
        raise Problem("invalid_input", f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError as error:
        raise Problem("invalid_input", f"The body is not UTF-8 (byte {error.start}).") from None
    except RecursionError:
        raise Problem("invalid_input", "The body is nested too deep.") from None
    return decoded


def misfit(error: msgspec.ValidationError, prefix: str = "") -> Problem:
    """A problem from msgspec's message, whose path becomes a JSON Pointer."""
    text = str(error)
    found = _PATH.search(text)
    path = found["path"] if found else ""
    pointer = prefix + "".join(f"/{part}" for part in re.findall(r"[^.\[\]]+", path))
    detail = _PATH.sub("", text)
    return Problem("invalid_input", f"{pointer or 'The input'}: {detail}.", [Detail(pointer=pointer, detail=detail)])


def _too_large(limit: int) -> Problem:
    return Problem("payload_too_large", f"The body is larger than {limit} bytes, the limit of this server.")
