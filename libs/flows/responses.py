"""What an HTTP answer means to a node: which failures may pass, when to come back, and what the body says."""

import base64
import codecs
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from libs.flows.effects import HttpAnswer
from libs.flows.weight import Unfit, weigh
from libs.runtime.failures import Retryable

_PASSING = frozenset({408, 425, 429})
_MAX_RETRY_AFTER_SECONDS = 86_400.0
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_BINARY_FAMILIES = ("image/", "audio/", "video/", "font/")
_NOT_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def header(answer: HttpAnswer, name: str) -> str:
    """The value of a header, its name in lower case; "" if there is none."""
    return next((value for key, value in answer.headers.items() if key.lower() == name), "")


def raise_if_passing(answer: HttpAnswer, now: datetime) -> None:
    """Raises `Retryable` for 408, 425, 429 and any 5xx, after the wait that `Retry-After` asks for."""
    if answer.status in _PASSING or answer.status >= 500:
        after = retry_after(header(answer, "retry-after"), now)
        raise Retryable("node_failed", f"the other side answered {answer.status}", after)


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110 section 10.2.3), at most a day; None if it says none."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(float(value), _MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _MAX_RETRY_AFTER_SECONDS)


def media_type(content_type: str) -> str:
    """`text/html; charset=x` → `text/html`."""
    return content_type.partition(";")[0].strip().lower()


def body_of(answer: HttpAnswer) -> Any:
    """JSON as its value, text as a string, anything binary as base64."""
    content_type = header(answer, "content-type")
    media = media_type(content_type)
    if media == "application/json" or media.endswith("+json"):
        try:
            value = msgspec.json.decode(answer.body)
            weigh(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unfit):
            return decoded(answer.body, content_type)
        return value
    if is_binary(media, answer.body):
        return base64.b64encode(answer.body).decode()
    return decoded(answer.body, content_type)


def is_binary(media: str, body: bytes) -> bool:
    """By family; outside the text types a body that holds NUL or isn't UTF-8 is binary as well."""
    if media.startswith("text/") or media.endswith(("+xml", "/xml")):
        return False
    if media.startswith(_BINARY_FAMILIES) or b"\0" in body:
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return False


def decoded(body: bytes, content_type: str, declared: str = "") -> str:
    """The body as text: by byte-order mark, else the header's charset, else `declared`, else UTF-8.

    What can't be decoded reads as U+FFFD. Labels of codecs that aren't character sets are ignored.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    named = _CHARSET.search(content_type)
    return body.decode(_codec(named[1] if named else declared), "replace")


def _codec(label: str) -> str:
    """A codec for the label, as browsers read it: Latin-1 and ASCII mean windows-1252 (WHATWG Encoding)."""
    try:
        name = codecs.lookup(label).name
        "".encode(name)
    except (LookupError, UnicodeError, ValueError):
        return "utf-8"
    if name in _NOT_CHARSETS:
        return "utf-8"
    return "cp1252" if name in ("iso8859-1", "ascii") else name
