"""Secrets: read from environment variables."""

import os

from libs.runtime.failures import Terminal


def secret(name: str, variable: str) -> str:
    """The value of a secret; a run whose secret is not set fails."""
    try:
        return os.environ[variable]
    except KeyError:
        raise Terminal("node_failed", f"the secret {name!r} is not set") from None
