"""Runs that are asked for together, as a gateway and an executor write them."""

from collections.abc import Sequence
from typing import Any

from libs.events.broker import Broker
from libs.events.groups import encode_group, entry_of
from libs.events.log import EventLog
from libs.events.run_events import encode_append
from libs.events.subjects import Kind, RunKey, member_id, new_group_id, shard_of
from libs.events.topology import api
from libs.runtime.ids import pair
from tests.events.runs import completed, requested


def members(workspace: str, count: int, group_id: str | None = None) -> list[RunKey]:
    """Runs of one group, not yet asked for."""
    group_id = group_id or new_group_id()
    return [RunKey(workspace, member_id(group_id, pair(number))) for number in range(count)]


def members_in(workspace: str, count: int, shard: int, shards: int) -> list[RunKey]:
    """The same of a group that lies in the stream of `shard`."""
    while True:
        group_id = new_group_id()
        if shard_of(group_id, shards) == shard:
            return members(workspace, count, group_id)


def requests_of(runs: Sequence[RunKey]) -> bytes:
    """The message that asks for the runs."""
    return encode_group({run.run_id: encode_append(requested(run)) for run in runs})


def ends_of(runs: Sequence[RunKey]) -> bytes:
    """The message with the runs' ends, each the run's second event."""
    return encode_group({run.run_id: encode_append(completed(run, 2)) for run in runs})


async def ask_together(log: EventLog, runs: Sequence[RunKey]) -> int:
    """Ask for runs of one group; answers the sequence of their message."""
    return await log.append_group(entry_of(runs[0]), Kind.REQUESTED, requests_of(runs), after=0)


async def end_together(log: EventLog, runs: Sequence[RunKey], after: int) -> int:
    """Store the ends of runs of one group; answers the sequence of their message."""
    return await log.append_group(entry_of(runs[0]), Kind.ENDED, ends_of(runs), after=after)


async def stored_of(broker: Broker, log: EventLog, entry: RunKey) -> dict[str, int]:
    """How many messages of each kind lie under the subject of a run, or of a group."""
    asked = {"subjects_filter": log.subject(entry, "*")}
    info: dict[str, Any] = await api(broker, f"STREAM.INFO.{log.stream(entry)}", asked, dict[str, Any])
    return {subject.rpartition(".")[2]: count for subject, count in (info["state"].get("subjects") or {}).items()}
