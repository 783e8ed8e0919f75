"""Whether a delivery that came in was sent by who holds the secret, and which one it is: from its bytes alone.

Standard Webhooks (standard-webhooks.com), symmetric and ed25519, or an HMAC in whatever header the sender puts it. What
tells deliveries apart is always part of what was signed: whoever sends an old one again names the same delivery.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from libs.events.managed import Incoming

_MAX_SIGNATURES = 16
_ID = re.compile(r"[!-\-/-~]{1,255}")
"""Printable and without a dot: with one, the same signed bytes could be read as another id, time and body."""

_MIN_KEY_BYTES = 16
_SECRET = "whsec_"  # noqa: S105  # how such a secret begins
_PUBLIC_KEY = "whpk_"


class NotGenuine(Exception):
    """Nothing says that the sender holds the secret; the text says what is wrong, and nothing of the secret."""


def is_signed(incoming: Incoming, headers: Mapping[str, str]) -> bool:
    """Whether there is a signature to check. `headers` ignore case, as aiohttp's do."""
    return incoming.verify != "none" and _signature_header(incoming) in headers


def delivery_of(incoming: Incoming, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str:
    """What tells a genuine delivery from others; NotGenuine. `now` is in seconds since 1970."""
    return (_standard if incoming.verify == "standard" else _hmac)(incoming, headers, body, secret, now)


def is_usable(incoming: Incoming, secret: str) -> bool:
    """Whether any delivery can be verified with a secret like this."""
    return incoming.verify != "standard" or _key(secret) is not None


def _signature_header(incoming: Incoming) -> str:
    return "webhook-signature" if incoming.verify == "standard" else incoming.header


def _standard(incoming: Incoming, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str:
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if _ID.fullmatch(delivery) is None:
        raise NotGenuine("the webhook-id is missing, or is none")
    _check_time(timestamp, incoming.tolerance_seconds, now)
    message = f"{delivery}.{timestamp}.".encode() + body
    given = [part.partition(",") for part in headers["webhook-signature"].split()[:_MAX_SIGNATURES]]
    wanted = "v1a" if secret.startswith(_PUBLIC_KEY) else "v1"
    signatures = [_decode(text, "base64") for version, _, text in given if version == wanted]
    if not any(signature and _fits(secret, message, signature) for signature in signatures):
        raise NotGenuine("the signature does not match")
    return f"id:{delivery}"


def _fits(secret: str, message: bytes, signature: bytes) -> bool:
    key = _key(secret)
    if key is None:
        return False
    if not secret.startswith(_PUBLIC_KEY):
        return hmac.compare_digest(hmac.digest(key, message, "sha256"), signature)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _key(secret: str) -> bytes | None:
    """The key in `whsec_…` or `whpk_…`; None where there is none in it."""
    key = _decode(secret.removeprefix(_SECRET).removeprefix(_PUBLIC_KEY), "base64")
    return key if key is not None and len(key) >= _MIN_KEY_BYTES else None


def _hmac(incoming: Incoming, headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str:
    parts = [part.strip() for part in headers[incoming.header].split(",")[:_MAX_SIGNATURES]]
    timestamp = ""
    if "{timestamp}" in incoming.signed:
        timestamp = _timestamp(incoming, headers, parts)
        _check_time(timestamp, incoming.tolerance_seconds, now)
    before, _, after = incoming.signed.replace("{timestamp}", timestamp).partition("{body}")
    message = before.encode() + body + after.encode()
    digest = hmac.digest(secret.encode(), message, incoming.algorithm)
    for part in parts:
        given = _decode(part.removeprefix(incoming.prefix), incoming.encoding)
        if part.startswith(incoming.prefix) and given is not None and hmac.compare_digest(digest, given):
            return _member(incoming, body) or f"signature:{digest.hex()}"
    raise NotGenuine("the signature does not match")


def _timestamp(incoming: Incoming, headers: Mapping[str, str], parts: list[str]) -> str:
    if incoming.timestamp_header is not None:
        return headers.get(incoming.timestamp_header, "").strip()
    return next((part[2:] for part in parts if part.startswith("t=")), "")


def _check_time(timestamp: str, tolerance_seconds: int, now: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise NotGenuine("the signed time is missing, or is no number of seconds")
    if abs(now - int(timestamp)) > tolerance_seconds:
        raise NotGenuine(f"the signed time is more than {tolerance_seconds} seconds from ours")


def _member(incoming: Incoming, body: bytes) -> str | None:
    """The member of a genuine body that names the delivery; None where it has none that could."""
    if incoming.id_member is None:
        return None
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    value = found.get(incoming.id_member) if isinstance(found, dict) else None
    return f"member:{value}" if isinstance(value, str | int) and not isinstance(value, bool) else None


def _decode(text: str, encoding: str) -> bytes | None:
    try:
        return bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
