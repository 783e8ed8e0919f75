"""The servers of the stack that runs on this data directory, for commands that need no gateway."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_SECONDS = 5.0


def addresses() -> dict[str, str]:
    """The variables by which processes know where NATS and PostgreSQL are; none of a server that does not run here."""
    data = Path(os.environ.get("HEADGATE_DATA") or ".headgate").absolute()
    try:
        listed: list[dict[str, Any]] = json.loads((data / "processes.json").read_bytes())
    except (OSError, ValueError):
        return {}
    found = {each["service"]: each["url"] for each in listed}
    variables: dict[str, str] = {}
    if url := found.get("nats"):
        variables |= _nats(url)
    if url := found.get("postgres"):
        variables |= _postgres(url, data)
    return variables


def _nats(monitor_url: str) -> dict[str, str]:
    """What listens behind a server's monitoring port, which is all that is listed."""
    try:
        with urllib.request.urlopen(f"{monitor_url}/varz", timeout=_SECONDS) as answer:  # noqa: S310 - of ours
            port = json.load(answer)["port"]
    except (OSError, urllib.error.URLError, ValueError, KeyError):
        return {}
    return {"HEADGATE_NATS_URL": f"nats://127.0.0.1:{port}"}


def _postgres(address: str, data: Path) -> dict[str, str]:
    from cli.servers.postgres import with_password

    try:
        return {"HEADGATE_POSTGRES_DSN": with_password(address, data / "postgres")}
    except OSError:
        return {}
