"""Answers that may be given again: by deployment, version, input and tweaks, for as long as the deployment says.

They lie on a stream of their own whose messages end by themselves (`Nats-TTL`), so every gateway finds them and nobody
has to throw them away. What cannot be read or kept is simply not cached.
"""

import hashlib

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.managed import Deployment
from libs.events.reads import stored
from libs.events.run import Run
from libs.events.subjects import CACHE, cache_subject

_MAX_BYTES = 1024 * 1024


class Cache:
    """The answers kept by all gateways."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def find(self, subject: str) -> Run | None:
        """The answer that is kept, if there is one."""
        try:
            message = stored(await self._broker.request(f"$JS.API.DIRECT.GET.{CACHE}.{subject}"))
        except Unavailable:
            return None
        return None if message is None else msgspec.json.decode(message.payload, type=Run)

    async def keep(self, subject: str, run: Run, seconds: int) -> None:
        """Keep an answer for `seconds`; returns when it is stored, so that who was given it finds it again."""
        payload = msgspec.json.encode(run)
        if len(payload) > _MAX_BYTES:
            return
        try:
            await self._broker.request(subject, payload, {"Nats-TTL": f"{seconds}s"})
        except Unavailable:
            return


def place(deployment: Deployment, checked: object, tweaks: object) -> str:
    """Where the answer to this input lies."""
    body = msgspec.json.encode([deployment.id, deployment.version, checked, tweaks], order="sorted")
    return cache_subject(deployment.workspace, hashlib.sha256(body).hexdigest())
