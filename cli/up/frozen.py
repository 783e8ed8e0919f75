"""Frees the log after a disk was full: nats-server takes no more appends to a stream once a write of it has failed.

What is stored stays readable, and what is refused is told to callers (503), so nothing is lost; but room on the disk
alone does not cure it: the server has to be started again, which takes a fraction of a second.
"""

import asyncio
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cli.up.child import Child

_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 2.0
_ROOM_BYTES = 16 * 1024 * 1024
"""With less room than this another start would not help."""


async def thaw(nats: Child, data: Path, tell: Callable[[str], None]) -> None:
    """End the server whenever it has given up writing and there is room again: it then comes back as any child."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        running = nats.running
        if running is None or not await asyncio.to_thread(_cannot_write, nats.url):
            continue
        if shutil.disk_usage(data).free >= _ROOM_BYTES and nats.running == running:
            tell(f"{nats.name} has stopped writing after a failed write; it is started again")
            nats.send(nats.stop_signal)


def _cannot_write(monitor_url: str) -> bool:
    """Whether the server says that a write failed; no answer is no such word."""
    try:
        with urllib.request.urlopen(f"{monitor_url}/healthz", timeout=_ANSWER_SECONDS):  # noqa: S310 - our own server
            return False
    except urllib.error.HTTPError as error:
        return b"write error" in error.read(4096)
    except OSError:
        return False
