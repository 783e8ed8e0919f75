"""Secrets of an installation, derived from its one master key, so that none of them has to be stored.

HKDF-SHA256 (RFC 5869) with the purpose as `info`: whoever learns one derived secret learns no other.
"""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(master: bytes, purpose: str, length: int = 32) -> bytes:
    """`length` bytes that belong to `purpose`, the same on every process of the installation."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=purpose.encode()).derive(master)


def keyed_hash(pepper: bytes, text: str) -> str:
    """HMAC-SHA256 in hex: what is stored of an API key. Microseconds, which is right for 190 random bits."""
    return hmac.new(pepper, text.encode(), hashlib.sha256).hexdigest()


def signing_secret(master: bytes, owner: str, generation: int = 1) -> str:
    """The `whsec_…` secret of a deployment or a webhook (Standard Webhooks: base64 of 24 to 64 bytes)."""
    return "whsec_" + base64.b64encode(derive(master, f"signing:{owner}:{generation}")).decode()
