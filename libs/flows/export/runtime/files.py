"""Files of the input: given as a path, an address or their content, read before the first node."""

import base64
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from libs.flows.export.runtime.calls import Request, fetch
from libs.flows.export.runtime.fields import Field, InvalidInput
from libs.flows.export.runtime.requests import HTTP_SECONDS, raise_if_passing
from libs.flows.nodes.fields import file_value
from libs.flows.responses import decoded, media_type
from libs.flows.urls import checked_url
from libs.flows.weight import MAX_BYTES
from libs.runtime.failures import Terminal

_TEXTUAL = ("application/json", "application/xml", "application/yaml", "application/javascript")


def read_files(fields: Sequence[Field], given: dict[str, Any]) -> dict[str, Any]:
    """The input with each file as `{"name", "content_type", "size", "text", "base64"}`.

    Raises `InvalidInput` for what names no file here, `Failure` for one that can't be fetched.
    """
    contents = dict(given)
    for field in fields:
        if field["type"] == "file" and given.get(field["name"]) is not None:
            contents[field["name"]] = _file(field, file_value(given[field["name"]]))
    return contents


def _file(field: Field, value: dict[str, Any]) -> dict[str, Any]:
    if isinstance(value.get("base64"), str):
        return value
    if isinstance(value.get("url"), str):
        body, content_type = _fetched(value["url"])
        name = urlsplit(value["url"]).path.rpartition("/")[2]
    elif isinstance(value.get("file_id"), str):
        path = Path(value["file_id"])
        try:
            body = path.read_bytes()
        except (OSError, ValueError):
            raise InvalidInput([(field["name"], "is not the path of a file that can be read")]) from None
        content_type, name = mimetypes.guess_type(path.name)[0] or "application/octet-stream", path.name
    else:
        raise InvalidInput([(field["name"], "must be a path, an address, or an object with `base64`")])
    if len(body) > field.get("max_length", MAX_BYTES):
        raise InvalidInput([(field["name"], f"must not be longer than {field.get('max_length', MAX_BYTES)}")])
    if len(body) < field.get("min_length", 0):
        raise InvalidInput([(field["name"], f"must not be shorter than {field['min_length']}")])
    return {
        "name": value.get("name") or name,
        "content_type": value.get("content_type") or content_type,
        "size": len(body),
        "text": decoded(body, content_type) if _is_text(media_type(content_type)) else None,
        "base64": base64.b64encode(body).decode(),
    }


def _fetched(url: str) -> tuple[bytes, str]:
    request = Request(method="GET", url=checked_url(url), headers={})
    answer = fetch(request, deadline=time.monotonic() + HTTP_SECONDS, max_body_bytes=MAX_BYTES)
    raise_if_passing(answer)
    if not 200 <= answer.status < 300:
        raise Terminal("node_failed", f"the file's address answered {answer.status}")
    return answer.body, answer.headers.get("content-type", "application/octet-stream")


def _is_text(media: str) -> bool:
    return media.startswith("text/") or media in _TEXTUAL or media.endswith(("+json", "+xml"))
