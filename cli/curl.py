"""Command lines for `curl` that work when pasted, in any directory and into any POSIX shell."""

import shlex
from pathlib import Path

import msgspec


def list_flows(address: str, key: str) -> str:
    """The plainest call there is."""
    return f'curl -s {address}/v1/flows -H "Authorization: Bearer {key}"'


def start_run(address: str, deployment: str, key: str, given: object) -> str:
    """Start a run with the input `given`; `key` is text for between double quotes, as `key_in` makes it."""
    body = shlex.quote(msgspec.json.encode({"input": given}).decode())
    where = f"{address}/v1/deployments/{deployment}/runs"
    return f"curl -s {where} -H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' -d {body}"


def key_in(file: Path) -> str:
    """The shell's words for the key that a file holds, so that the key itself is not on the screen."""
    quoted = "'" + str(file).replace("'", "'\\''") + "'"
    return f"$(cat {quoted})"
