"""nkeys: Ed25519 keys as NATS writes them, by which a client proves who it is without telling a secret.

Base32 of a prefix, 32 bytes and a CRC-16; a seed begins with `SU`, a public key with `U` (github.com/nats-io/nkeys).
Own code, for the library is neither built nor kept up, and takes a second library of ciphers along.
"""

import base64
import binascii
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED = 18 << 3
_USER = 20 << 3
_KEY_BYTES = 32
_HEAD = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])


class UserKey:
    """The key of a user of NATS. Made by `read_seed` or `new_user`."""

    def __init__(self, secret: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(secret)
        self.seed = _written(_HEAD + secret)
        self.public = _written(bytes([_USER]) + self._private.public_key().public_bytes_raw())

    def sign(self, nonce: str) -> bytes:
        """The signature of what a server sent, in base64, as the client sends it."""
        return base64.b64encode(self._private.sign(nonce.encode()))


def new_user() -> UserKey:
    """A key that nobody else has."""
    return UserKey(secrets.token_bytes(_KEY_BYTES))


def read_seed(text: str) -> UserKey:
    """The key of a seed. ValueError where it is no user's seed, or not whole."""
    try:
        raw = base64.b32decode(text.encode() + b"=" * (-len(text) % 8))
    except binascii.Error as error:
        raise ValueError("not an nkey seed") from error
    if len(raw) != len(_HEAD) + _KEY_BYTES + 2 or not raw.startswith(_HEAD):
        raise ValueError("not the nkey seed of a user")
    found = UserKey(raw[len(_HEAD) : -2])
    if found.seed != text:
        raise ValueError("an nkey seed with a mistake in it")
    return found


def _written(raw: bytes) -> str:
    check = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + check).decode().rstrip("=")
