"""The text of a key: how it is put together, shown and hashed. It exists once, in the answer that issues it.

    sk-  12 characters that are the key's id   32 secret characters   6 characters of checksum

All are base62: 32 of them hold 190 bits. The checksum is the CRC-32 of what stands before it, so that a scanner
tells a leaked key from a string that looks like one. The masked form shows five characters of the id and five of
the checksum, none of the secret.
"""

import hashlib
import re
import secrets
import zlib

import msgspec

from libs.runtime.secrets import derive, keyed_hash

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 32
_CHECKSUM_LENGTH = 6
_FORM = re.compile(rf"sk-[0-9A-Za-z]{{{_ID_LENGTH + _SECRET_LENGTH + _CHECKSUM_LENGTH}}}")


class FreshKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made: its text, to be shown once, and what is stored of it."""

    id: str
    text: str
    hash: str
    masked: str


def pepper_of(master: bytes) -> bytes:
    """The secret under which keys are hashed."""
    return derive(master, "api-keys")


def new_key_id() -> str:
    """`key_` and 12 random characters of base62."""
    return "key_" + _random(_ID_LENGTH)


def deployment_key_id(deployment_id: str) -> str:
    """The id of a deployment's own key: it follows from the deployment's, so that there is one and it is found."""
    digest = hashlib.sha256(f"deployment-key:{deployment_id}".encode()).digest()
    return "key_" + _base62(int.from_bytes(digest), _ID_LENGTH)


def fresh_key(pepper: bytes, key_id: str) -> FreshKey:
    """A new secret for the key `key_id`."""
    body = key_id.removeprefix("key_").ljust(_ID_LENGTH, "0") + _random(_SECRET_LENGTH)
    text = f"sk-{body}{_checksum(body)}"
    return FreshKey(id=key_id, text=text, hash=keyed_hash(pepper, text), masked=mask(text))


def is_intact(text: str) -> bool:
    """Whether `text` has the form of a key that we issue, with the right checksum."""
    if _FORM.fullmatch(text) is None:
        return False
    body = text[3:-_CHECKSUM_LENGTH]
    return text[-_CHECKSUM_LENGTH:] == _checksum(body)


def id_in(text: str) -> str:
    """The id of the key that an intact text is of."""
    return f"key_{text[3 : 3 + _ID_LENGTH]}"


def mask(text: str) -> str:
    """`sk-`, the first five characters, eight asterisks, the last five."""
    return f"sk-{text[3:8]}********{text[-5:]}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(f"sk-{body}".encode()), _CHECKSUM_LENGTH)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
