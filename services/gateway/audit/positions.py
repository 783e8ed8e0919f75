"""How far a reader of the audit has come, as an opaque text.

The audit is several streams read side by side, so a place in it is a sequence in each of them, and going on from it
neither repeats nor passes over anything, however the streams have grown. Sequences count everybody's messages: sealed
(AES-SIV, RFC 5297, bound to the workspace) they tell a workspace nothing of others, and none can be made up.
"""

import base64
import binascii

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from libs.runtime.secrets import derive


class NotAPosition(Exception):
    """The text is no position of this workspace's audit."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The last message told of each source. Of the one of `source` only `taken` entries were, unless that is 0."""

    sequences: tuple[int, ...]
    source: int = 0
    taken: int = 0

    def after(self, source: int, sequence: int, taken: int) -> "Position":
        """The position after `taken` entries of a message; 0: after the message."""
        before = self.sequences
        return Position((*before[:source], sequence, *before[source + 1 :]), source, taken)


class Seal:
    """Makes positions of a workspace opaque, and readable again on any gateway of the installation."""

    def __init__(self, master: bytes, workspace: str, sources: int) -> None:
        self._cipher = AESSIV(derive(master, "audit positions"))
        self._bound_to = [workspace.encode()]
        self._sources = sources

    def close(self, position: Position) -> str:
        """The position as text, safe in a URL."""
        sealed = self._cipher.encrypt(msgspec.msgpack.encode(position), self._bound_to)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str | None) -> Position:
        """The position in a text; None: the beginning. NotAPosition."""
        if text is None:
            return Position((0,) * self._sources)
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return msgspec.msgpack.decode(self._cipher.decrypt(sealed, self._bound_to), type=Position)
        except (InvalidTag, binascii.Error, ValueError, msgspec.MsgspecError):
            raise NotAPosition from None
