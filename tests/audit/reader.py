"""Reads the audit of a workspace straight from the log."""

from datetime import datetime
from typing import Any

from libs.events.log import EventLog
from services.gateway.audit.entries import Entry, Wanted
from services.gateway.audit.positions import Seal
from services.gateway.audit.reading import Reading, count_sources, read_entries, sources_of

MASTER = b"m" * 32


def seal_of(log: EventLog, workspace: str) -> Seal:
    """The seal of its positions."""
    return Seal(MASTER, workspace, count_sources(log))


async def audit(
    log: EventLog,
    workspace: str,
    *,
    after: str | None = None,
    run_id: str | None = None,
    type: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """All entries that are wanted."""
    seal = seal_of(log, workspace)
    reading = Reading(
        sources=sources_of(log, workspace, run_id, type),
        wanted=Wanted(since=since, until=until, type=type, by=by, run_id=run_id),
        position=seal.open(after),
        seal=seal,
    )
    return [entry async for entry in read_entries(log.broker, reading)]


def shown(entry: Entry) -> tuple[Any, ...]:
    """What an entry is told apart by."""
    return entry.type, entry.run_id, entry.seq, entry.entity_id
