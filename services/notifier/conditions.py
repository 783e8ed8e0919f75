"""Since when a webhook's address fails, whoever finds out: on the log, so that days of failures outlive every process.

Only a change is stored (well, failing, well again), and what is known is kept in memory. Another notifier may know
better, so before anything follows from how long it has been the log is asked again.
"""

from datetime import datetime

import msgspec

from libs.events.appends import store_message
from libs.events.broker import Broker
from libs.events.reads import last_message
from libs.events.subjects import ENDPOINTS, endpoint_subject

_PATIENCE_SECONDS = 5.0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How an address does. Stored for ever: add fields, never rename."""

    failing_since: datetime | None = None


class Conditions:
    """What this process knows of the addresses it calls."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._known: dict[tuple[str, str], Condition] = {}

    async def well(self, workspace: str, webhook_id: str) -> None:
        """An attempt was answered with success."""
        if (await self._get(workspace, webhook_id)).failing_since is not None:
            await self._put(workspace, webhook_id, Condition())

    async def failed(self, workspace: str, webhook_id: str, now: datetime, too_long_seconds: float) -> bool:
        """An attempt failed: whether that has now been so, without a success between, for too long."""
        known = await self._get(workspace, webhook_id)
        if known.failing_since is None or (now - known.failing_since).total_seconds() >= too_long_seconds:
            known = await self._read(workspace, webhook_id)
        if known.failing_since is None:
            await self._put(workspace, webhook_id, Condition(failing_since=now))
            return False
        return (now - known.failing_since).total_seconds() >= too_long_seconds

    async def _get(self, workspace: str, webhook_id: str) -> Condition:
        known = self._known.get((workspace, webhook_id))
        return known if known is not None else await self._read(workspace, webhook_id)

    async def _read(self, workspace: str, webhook_id: str) -> Condition:
        message = await last_message(self._broker, ENDPOINTS, endpoint_subject(workspace, webhook_id))
        known = Condition() if message is None else msgspec.json.decode(message.payload, type=Condition)
        self._known[workspace, webhook_id] = known
        return known

    async def _put(self, workspace: str, webhook_id: str, condition: Condition) -> None:
        subject = endpoint_subject(workspace, webhook_id)
        payload = msgspec.json.encode(condition)
        await store_message(self._broker, subject, payload, patience_seconds=_PATIENCE_SECONDS)
        self._known[workspace, webhook_id] = condition
