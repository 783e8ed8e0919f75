"""AES-256-GCM (NIST SP 800-38D): what is sealed at one place opens at that place only.

A sealed text is a random nonce of 12 bytes and the ciphertext with its tag. The place (whose, which, which version) is
authenticated along with it, so a ciphertext that somebody moves in the database is refused.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12

Place = tuple[str, ...]


class BrokenSeal(Exception):
    """The ciphertext was changed or moved, or another key sealed it."""


def seal(key: bytes, text: str, place: Place) -> bytes:
    """`text` under a key of 32 bytes, bound to `place`."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text.encode(), _associated(place))


def unseal(key: bytes, sealed: bytes, place: Place) -> str:
    """The text that was sealed at `place`. BrokenSeal."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(place)).decode()
    except (InvalidTag, ValueError):
        raise BrokenSeal from None


def _associated(place: Place) -> bytes:
    return "\x00".join(place).encode()
