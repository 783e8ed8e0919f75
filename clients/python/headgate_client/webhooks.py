"""Is this request really from the server? Standard Webhooks: HMAC-SHA256 over `{id}.{timestamp}.{body}`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from headgate_client.errors import InvalidWebhook

TOLERANCE_SECONDS = 300.0
_PREFIX = "whsec_"


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Any:
    """The body, parsed, if it was signed with `secret` (`whsec_…`) at most `tolerance` seconds ago or ahead.

    `body` is what was received, byte for byte: parsed and encoded again it is another one. `headers` are the
    request's, in any case. While a secret is rotated there are several signatures, and one that fits is enough.
    The header `webhook-id` is the same for every attempt at one delivery: remember it to act once.
    Raises InvalidWebhook.
    """
    raw = body.encode() if isinstance(body, str) else body
    signing_key = _signing_key(secret)
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
    except KeyError as error:
        raise InvalidWebhook(f"the header {error.args[0]} is missing") from None
    if not re.fullmatch("[0-9]{1,12}", timestamp):
        raise InvalidWebhook("webhook-timestamp is not a time")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise InvalidWebhook("webhook-timestamp is too far from now: a replay, or a clock that is wrong")
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "replace") + raw
    expected = b"v1," + base64.b64encode(hmac.new(signing_key, signed, hashlib.sha256).digest())
    fits = [hmac.compare_digest(expected, each.encode("utf-8", "replace")) for each in signatures]
    if not any(fits):
        raise InvalidWebhook("no signature fits the secret")
    try:
        return json.loads(raw)
    except ValueError:
        raise InvalidWebhook("the body is not JSON") from None


def _signing_key(secret: str) -> bytes:
    text = secret[len(_PREFIX) :] if secret.startswith(_PREFIX) else secret
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("the secret is not one: it is whsec_ and base64")
    return key
