"""The filters of templates: `{{ in.name | trim | upper }}`. A few, all total: no input makes one fail."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec


def text_of(value: Any) -> str:
    """How a value reads inside a text: null as nothing, a string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return msgspec.json.encode(value).decode()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _upper(value: Any) -> str:
    return text_of(value).upper()


def _lower(value: Any) -> str:
    return text_of(value).lower()


def _trim(value: Any) -> str:
    return text_of(value).strip()


def _urlencode(value: Any) -> str:
    return quote(text_of(value), safe="")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else len(text_of(value))


FILTERS: dict[str, Callable[[Any], Any]] = {
    "json": _json,
    "upper": _upper,
    "lower": _lower,
    "trim": _trim,
    "urlencode": _urlencode,
    "length": _length,
}


def default_filter(fallback: Any) -> Callable[[Any], Any]:
    """`default:"x"`: the fallback stands in for null and for the empty string."""
    return lambda value: fallback if value is None or value == "" else value
