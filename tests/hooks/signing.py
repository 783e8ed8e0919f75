"""Deliveries as senders sign them, each by its own words and not by ours."""

import base64
import hashlib
import hmac
import time

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WORD = "It's a Secret to Everybody"


def standard(
    body: bytes, *, delivery: str = "msg_1", at: float | None = None, secrets: tuple[str, ...] = (SECRET,)
) -> dict[str, str]:
    """Headers by Standard Webhooks; with several secrets, as while they are rotated."""
    timestamp = str(int(time.time() if at is None else at))
    signed = delivery.encode() + b"." + timestamp.encode() + b"." + body
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": delivery,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def with_body(body: bytes, secret: str = WORD, algorithm: str = "sha256") -> str:
    """The signature of a sender that signs the body alone, in hex."""
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def with_time(body: bytes, secret: str = WORD, *, at: float | None = None) -> str:
    """A header with time and signature in it, and a signature by an old secret before the right one."""
    timestamp = str(int(time.time() if at is None else at))
    new, old = (hmac.new(s.encode(), timestamp.encode() + b"." + body, "sha256") for s in (secret, "old"))
    return f"t={timestamp},v1={old.hexdigest()},v1={new.hexdigest()},v0=ffff"
