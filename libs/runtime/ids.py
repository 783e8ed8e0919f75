"""Identifiers: made here, readable in a log, safe as a NATS token, a path segment and a file name.

`<prefix>_` and 26 characters of Crockford base32: 48 bits of milliseconds since the epoch and 80 random bits
(the ULID layout), so that ids sort by the time they were made. A derived id has the same form, from a hash.
"""

import hashlib
import os
import re
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
"""Two characters at a time: an id is made for every request."""

_random: list[bytes] = []
"""Not yet given out. Our processes are started afresh and never forked, so no two have the same."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def new_id(prefix: str) -> str:
    """A fresh id such as `run_01k9…`; two never collide, later ones sort after earlier ones."""
    return f"{prefix}_{_base32(time.time_ns() // 1_000_000 << 80 | int.from_bytes(_random_bytes()))}"


def pair(number: int) -> str:
    """The two characters of a number below 1,024, in the same alphabet."""
    return _PAIRS[number]


def _random_bytes() -> bytes:
    """Ten bytes from the system's generator, which is asked for 400 of them at a time: a call costs more than both."""
    while True:
        try:
            return _random.pop()
        except IndexError:
            fresh = os.urandom(10 * 400)
            _random.extend([fresh[at : at + 10] for at in range(0, len(fresh), 10)])


def derived_id(prefix: str, *parts: str) -> str:
    """The id that belongs to `parts`, the same every time: SHA-256 cut to 130 bits."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return f"{prefix}_{_base32(int.from_bytes(digest[:17], 'big') >> 6)}"


def is_token(text: str) -> bool:
    """Whether `text` may stand in a subject or a path: 1 to 64 of `A-Z a-z 0-9 _ -`."""
    return _TOKEN.fullmatch(text) is not None


def _base32(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -10, -10)])
