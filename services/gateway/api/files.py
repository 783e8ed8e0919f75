"""Files: uploaded and sent back in pieces, so that a large one costs the gateway no more than a small one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.managed import Permission
from libs.runtime.media_types import matches
from libs.storage.files import FileGone, FileTooLarge, StoredFile
from libs.storage.naming import content_type_of, file_name
from services.gateway.state import Gateway

_PART = "file"
_MAX_PARTS = 16
_MAX_OTHER_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_IDLE_SECONDS = 30.0
_BROKEN = (ValueError, AssertionError, LookupError, HttpProcessingError, web.RequestPayloadError)
"""What the multipart reader raises for bytes that are none, a part's broken headers included."""

_MULTIPART = "must be multipart/form-data with a part named `file`"


async def upload_file(call: Call[Gateway]) -> Reply:
    """Store the part `file` of a multipart body."""
    limit = call.app.settings.max_file_bytes
    if (call.request.content_length or 0) > limit + 2 * _MAX_OTHER_BYTES:
        raise _too_large(limit)
    part = await _file_part(call.request)
    name = file_name(part.filename or "")
    content_type = content_type_of(part.headers.get("Content-Type", ""), name)
    if not matches(content_type, filter(None, call.app.settings.file_types.split(","))):
        raise invalid(Detail(pointer="/file", detail=f"is {content_type}, which is not taken here"))
    try:
        stored = await call.app.files.write(call.caller.workspace, name, content_type, _chunks(part), max_bytes=limit)
    except FileTooLarge:
        raise _too_large(limit) from None
    return Reply(status=201, body=stored, headers={"Location": f"/v1/files/{stored.id}"})


async def get_file(call: Call[Gateway]) -> web.StreamResponse:
    """The file's bytes, as an attachment: what was uploaded is never shown as a page of ours."""
    caller = call.caller
    if not {"read", "admin"}.intersection(caller.permissions) and (
        "execute" not in caller.permissions or caller.deployment_ids
    ):
        raise Problem("forbidden", "This key has neither the right `read` nor, for all deployments, `execute`.")
    found = await call.app.files.find(caller.workspace, call.path("file_id"))
    if found is None:
        raise not_found("file")
    response = web.StreamResponse(
        headers={
            "Content-Type": found.content_type,
            "Content-Length": str(found.size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Request-Id": call.request_id,
        }
    )
    pieces = call.app.files.read(found)
    first = await anext(pieces, b"")
    await response.prepare(call.request)
    await response.write(first)
    try:
        async for piece in pieces:
            await response.write(piece)
    except FileGone:
        # The status is sent: a body that ends early is all that can still be said.
        if call.request.transport is not None:
            call.request.transport.abort()
    await response.write_eof()
    return response


async def delete_file(call: Call[Gateway]) -> Reply:
    """Delete a file. Runs that are to read it fail."""
    if not await call.app.files.delete(call.caller.workspace, call.path("file_id")):
        raise not_found("file")
    return Reply(status=204)


async def _file_part(request: web.Request) -> BodyPartReader:
    """The part `file`; small parts before it are read over."""
    if not request.content_type.startswith("multipart/"):
        raise _malformed(_MULTIPART)
    try:
        reader = await request.multipart()
        for _ in range(_MAX_PARTS):
            async with asyncio.timeout(_IDLE_SECONDS):
                part = await reader.next()
            if part is None or isinstance(part, MultipartReader):
                break
            if part.name == _PART:
                return part
            await _read_over(part)
    except TimeoutError:
        raise Problem("invalid_input", "The upload stopped.", status=408) from None
    except (*_BROKEN, web.HTTPException):
        raise _malformed("is malformed multipart") from None
    raise _malformed(_MULTIPART)


async def _read_over(part: BodyPartReader) -> None:
    size = 0
    async for chunk in _chunks(part):
        size += len(chunk)
        if size > _MAX_OTHER_BYTES:
            raise _malformed("has a part before `file` that is too large")


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    """The bytes of a part as they arrive. Problem `invalid_input` where the sender stops or breaks the format."""
    while not part.at_eof():
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                chunk = await part.read_chunk(_READ_BYTES)
        except TimeoutError:
            raise Problem("invalid_input", "The upload stopped.", status=408) from None
        except _BROKEN:
            raise _malformed("is malformed multipart") from None
        yield chunk


def _too_large(limit: int) -> Problem:
    return Problem("payload_too_large", f"The file is larger than {limit} bytes, the limit of this server.")


def _malformed(detail: str) -> Problem:
    return invalid(Detail(pointer="", detail=detail))


def _route(method: str, path: str, handler: Any, summary: str, permission: Permission | None, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, summary=summary, tag="files", permission=permission, **more)


ROUTES = (
    _route("POST", "/v1/files", upload_file, "Upload a file", "write", file_part=_PART, answer=StoredFile, status=201),
    _route(
        "GET",
        "/v1/files/{file_id}",
        get_file,
        "The bytes of a file",
        None,
        answer=bytes,
        content_types=("application/octet-stream",),
    ),
    _route("DELETE", "/v1/files/{file_id}", delete_file, "Delete a file", "write", status=204),
)
