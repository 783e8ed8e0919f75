"""The reading that fills the tables of deliveries and of their attempts."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from libs.events.deliveries import Attempted, Delivery, Dropped, Fact, ToCallback, ToEmail, ToWebhook
from libs.events.deliveries import decode_facts as facts_in
from libs.events.pull import Delivery as Message
from libs.events.subjects import DELIVERIES
from libs.runtime.postgres import Connection
from libs.runtime.sql import read_queries

READING = "deliveries"


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as its last fact has it, the fields in the order of the table's columns."""

    workspace: str
    id: str
    channel: str
    webhook_id: str | None
    target: str
    event: str
    run_id: str
    deployment_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    attempts: int
    next_at: datetime | None
    last_status: int | None
    error: str | None
    delivery: str


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt, the fields in the order of the table's columns."""

    workspace: str
    delivery_id: str
    id: str
    number: int
    at: datetime
    outcome: str
    status: int | None
    latency_seconds: float
    answer: str
    error: str | None


class DeliveryRows:
    """One row a delivery, one an attempt."""

    name = READING
    tables: tuple[str, ...] = ("deliveries", "attempts")

    def __init__(self) -> None:
        self._sql = read_queries(Path(__file__).with_name("deliveries.sql"))

    def streams(self, shards: int) -> dict[str, str]:
        """All facts about deliveries, of which there is one stream however many there are for runs."""
        return {DELIVERIES: "dlv.*"}

    async def write(self, connection: Connection, deliveries: Sequence[Message]) -> None:
        """Put each delivery where its last fact has it, and add the attempts."""
        facts = [fact for message in deliveries for fact in facts_in(message.payload)]
        rows = {row.id: row for row in map(row_of, facts)}
        attempts = {fact.id: _attempt(fact) for fact in facts if isinstance(fact, Attempted)}
        if rows:
            await connection.execute(self._sql["put_deliveries"], *_columns(list(rows.values())))
        if attempts:
            await connection.execute(self._sql["add_attempts"], *_columns(list(attempts.values())))


def row_of(fact: Fact) -> DeliveryRow:
    """The delivery after a fact about it."""
    delivery = fact.delivery
    next_at: datetime | None
    match fact:
        case Attempted():
            ended = "delivered" if fact.outcome == "delivered" else "failed"
            status = ended if fact.next_at is None else "pending"
            next_at, last_status, error = fact.next_at, fact.status, fact.error
        case Dropped():
            status, next_at, last_status, error = "dropped", None, None, fact.reason
    return DeliveryRow(
        workspace=delivery.workspace,
        id=delivery.id,
        channel=delivery.channel,
        webhook_id=delivery.target.webhook_id if isinstance(delivery.target, ToWebhook) else None,
        target=_target(delivery),
        event=delivery.event,
        run_id=delivery.run_id,
        deployment_id=delivery.deployment_id,
        status=status,
        created_at=delivery.created_at,
        updated_at=fact.at,
        attempts=delivery.attempts,
        next_at=next_at,
        last_status=last_status,
        error=error,
        delivery=msgspec.json.encode(delivery).decode(),
    )


def _target(delivery: Delivery) -> str:
    match delivery.target:
        case ToWebhook():
            return delivery.target.webhook_id
        case ToCallback():
            return delivery.target.url
        case ToEmail():
            return delivery.target.to


def _attempt(fact: Attempted) -> AttemptRow:
    return AttemptRow(
        workspace=fact.delivery.workspace,
        delivery_id=fact.delivery.id,
        id=fact.id,
        number=fact.number,
        at=fact.at,
        outcome=fact.outcome,
        status=fact.status,
        latency_seconds=fact.latency_seconds,
        answer=fact.answer,
        error=fact.error,
    )


def _columns(rows: Sequence[msgspec.Struct]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in rows[0].__struct_fields__]
