"""Verification: a hash, a look-up in memory, an answer. Nothing here waits for anything."""

from datetime import UTC, datetime

from libs.events.auth_calls import Principal, Verify, is_key_shaped
from libs.runtime.secrets import keyed_hash
from services.auth.directory import Directory
from services.auth.key_text import is_intact
from services.auth.metrics import VERIFICATIONS
from services.auth.refusals import unauthorized


def verify(directory: Directory, pepper: bytes, asked: Verify) -> Principal:
    """On whose behalf the holder of the key acts. Refusal, the same whatever the reason."""
    if not is_key_shaped(asked.key):
        VERIFICATIONS.labels("malformed").inc()
        raise unauthorized()
    outcome, principal = directory.identify(keyed_hash(pepper, asked.key), datetime.now(UTC))
    if outcome == "unknown" and not is_intact(asked.key):
        VERIFICATIONS.labels("malformed").inc()
    else:
        VERIFICATIONS.labels(outcome).inc()
    if principal is None:
        raise unauthorized()
    return principal
