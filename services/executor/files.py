"""Files of a run's input: an upload, an address or bytes that came along, read into what nodes see of them.

A file that is fetched is stored before it is read, once a run and field: a run that is taken up again, or replayed,
reads the same bytes, whatever the address answers by then.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import UNSET

from libs.egress import Egress, Request, Streamed
from libs.events.subjects import RunKey
from libs.flows import AnyNode, Field
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.fields import file_fault, file_value
from libs.flows.responses import decoded, is_binary, media_type, retry_after
from libs.runtime.failures import Retryable, Terminal
from libs.runtime.ids import is_token
from libs.runtime.media_types import matches
from libs.storage import Away
from libs.storage.files import FileGone, FileStore, FileTooLarge, StoredFile
from libs.storage.naming import content_type_of, file_name

_FETCH_SECONDS = 60.0
_IDLE_SECONDS = 20.0
_CONTENTS = ("text", "base64")


class Files:
    """Reads the files of runs' inputs. `types`: those that files may have, empty: any."""

    def __init__(self, store: FileStore, egress: Egress, *, max_bytes: int, types: tuple[str, ...]) -> None:
        self._store = store
        self._egress = egress
        self._max_bytes = max_bytes
        self._types = types

    async def read(self, run: RunKey, field: Field, given: Any) -> dict[str, Any]:
        """A field's file: `{"name", "content_type", "size", "text", "base64"}`, and `file_id` where it is stored.

        Raises Away; Terminal and Retryable, which name the field.
        """
        try:
            return await self._read(run, field, given)
        except Away:
            raise
        except Retryable as failure:
            raise Retryable(failure.code, _named(field, failure.message), failure.after) from None
        except Terminal as failure:
            raise Terminal(failure.code, _named(field, failure.message)) from None

    async def _read(self, run: RunKey, field: Field, given: Any) -> dict[str, Any]:
        value = file_value(given)
        if "file_id" in value:
            file_id = value["file_id"]
            stored = await self._store.find(run.workspace, file_id) if is_token(file_id) else None
            if stored is None:
                raise Terminal("node_failed", "there is no such file")
            return await self._contents(field, stored)
        if "url" in value:
            return await self._contents(field, await self._fetched(run, field, value["url"]))
        body = _unpacked(value["base64"])
        name = file_name(value.get("name", ""))
        content_type = content_type_of(value.get("content_type", ""), name)
        self._check_type(content_type)
        _check_field(field, len(body), content_type)
        return await asyncio.to_thread(_read, name, content_type, body)

    async def _contents(self, field: Field, stored: StoredFile) -> dict[str, Any]:
        _check_field(field, stored.size, stored.content_type)
        try:
            body = b"".join([piece async for piece in self._store.read(stored)])
        except FileGone:
            raise Terminal("node_failed", "there is no such file") from None
        return {"file_id": stored.id, **await asyncio.to_thread(_read, stored.name, stored.content_type, body)}

    async def _fetched(self, run: RunKey, field: Field, url: str) -> StoredFile:
        origin = f"{run.workspace}/{run.run_id}/{field.name}"
        stored = await self._store.find_origin(run.workspace, origin)
        if stored is not None:
            return stored
        max_bytes = self._max_bytes if field.max_length is UNSET else min(self._max_bytes, field.max_length)
        request = Request(
            method="GET",
            url=url,
            headers={"Accept": "*/*"},
            timeout_seconds=_FETCH_SECONDS,
            idle_timeout_seconds=_IDLE_SECONDS,
            max_body_bytes=max_bytes,
        )
        async with self._egress.stream(request) as answer:
            _check_status(answer)
            name = file_name(unquote(urlsplit(answer.url).path))
            content_type = content_type_of(answer.headers.get("content-type", ""), name)
            self._check_type(content_type)
            try:
                return await self._store.write(
                    run.workspace, name, content_type, answer.chunks, max_bytes=max_bytes, origin=origin
                )
            except FileTooLarge:
                raise Terminal("node_failed", f"the file is larger than {max_bytes} bytes") from None

    def _check_type(self, content_type: str) -> None:
        if not matches(content_type, self._types):
            raise Terminal("node_failed", f"the file is {content_type}, which is not taken here")


def input_files(node: AnyNode, given: Mapping[str, Any]) -> dict[str, Field]:
    """The `file` fields that a node takes in and that were sent, by name."""
    if not isinstance(node, ApiInput):
        return {}
    fields = node.config.fields
    return {field.name: field for field in fields if field.type == "file" and given.get(field.name) is not None}


def references(output: dict[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The output of a node that takes files in, as it is stored: without what the files hold."""
    return {
        name: {key: part for key, part in value.items() if key not in _CONTENTS} if name in fields else value
        for name, value in output.items()
    }


def _named(field: Field, message: str) -> str:
    return f"the file field {field.name!r}: {message}"


def _check_field(field: Field, size: int, content_type: str) -> None:
    fault = file_fault(field, size, content_type)
    if fault is not None:
        raise Terminal("node_failed", f"the file {fault}")


def _check_status(answer: Streamed) -> None:
    if 200 <= answer.status < 300:
        return
    message = f"the address answered {answer.status}"
    if answer.status >= 500 or answer.status in (408, 425, 429):
        after = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
        raise Retryable("node_failed", message, after)
    raise Terminal("node_failed", message)


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Terminal("node_failed", "`base64` is not base64") from None


def _read(name: str, content_type: str, body: bytes) -> dict[str, Any]:
    return {
        "name": name,
        "content_type": content_type,
        "size": len(body),
        "text": None if is_binary(media_type(content_type), body) else decoded(body, content_type),
        "base64": base64.b64encode(body).decode(),
    }
