"""One signed POST, as webhooks and callbacks make it: Standard Webhooks 1.0, through egress, no redirect followed.

webhook-id          the delivery's id, the same for every attempt
webhook-timestamp   unix seconds of this attempt
webhook-signature   `v1,<base64>` of HMAC-SHA256 over `{id}.{timestamp}.{body}`, one for each secret, spaces between
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from libs.egress import Answer, Egress, Request
from libs.events.deliveries import MAX_ANSWER_BYTES
from libs.runtime.failures import Failure
from services.notifier.channels import Outcome

_MAX_BODY_BYTES = 64 * 1024
_MAX_WAIT_DIGITS = 9


def signatures(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The header's value for `whsec_…` secrets."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


async def post(
    egress: Egress, url: str, message_id: str, body: bytes, secrets: Sequence[str], timeout_seconds: float
) -> Outcome:
    """One attempt: 2xx is a success, everything else is not."""
    timestamp = int(datetime.now(UTC).timestamp())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures(secrets, message_id, timestamp, body),
    }
    request = Request(
        method="POST",
        url=url,
        headers=headers,
        body=body,
        timeout_seconds=timeout_seconds,
        max_body_bytes=_MAX_BODY_BYTES,
        follow_redirects=False,
    )
    try:
        answer = await egress.fetch(request)
    except Failure as failure:
        return Outcome(delivered=False, error=f"{failure.code}: {failure.message}")
    return outcome_of(answer, datetime.now(UTC))


def outcome_of(answer: Answer, now: datetime) -> Outcome:
    """What an HTTP answer means."""
    text = answer.body[:MAX_ANSWER_BYTES].decode("utf-8", "replace").replace("\x00", "�")
    delivered = 200 <= answer.status < 300
    return Outcome(
        delivered=delivered,
        status=answer.status,
        answer=text,
        error=None if delivered else _reason(answer.status),
        gone=answer.status == 410,
        retry_after_seconds=None if delivered else _retry_after(answer.headers.get("retry-after", ""), now),
    )


def _reason(status: int) -> str:
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed"
    if status == 410:
        return "it answered 410: it wants no more"
    return f"it answered {status}"


def _retry_after(header: str, now: datetime) -> float | None:
    """Seconds, or an HTTP date (RFC 9110, 10.2.3); None for what is neither."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) <= _MAX_WAIT_DIGITS:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    except (ValueError, OverflowError):
        return None
