"""What a delivery tells, read from the log: the same story for the first attempt and for one a year later."""

import msgspec

from libs.events.deliveries import Delivery
from libs.events.log import EventLog, events_of
from libs.events.run import begin, ended_run, run_of
from libs.events.run_events import RunCancelled, RunCompleted, RunEvent, RunFailed, RunRequested, decode_append
from libs.events.subjects import RunKey
from services.notifier.channels import Story


class Untold(Exception):
    """The log has no such event: the delivery tells of nothing."""


async def requested_of(log: EventLog, run: RunKey) -> RunRequested:
    """How a run began. Untold when there is no such run."""
    first = await log.first(run)
    event = decode_append(first.payload).events[0] if first is not None else None
    if not isinstance(event, RunRequested):
        raise Untold
    return event


def story_of(requested: RunRequested, event: RunEvent) -> Story:
    """The story of an event of a run that began so."""
    if isinstance(event, RunCompleted | RunFailed | RunCancelled):
        return Story(run=ended_run(event.run_id, requested.data, requested.at, event), event=event)
    return Story(run=run_of(msgspec.structs.replace(begin(requested), started_at=requested.at)), event=event)


async def read_story(log: EventLog, delivery: Delivery) -> Story:
    """The story of a delivery. Untold when the log does not have it."""
    run = RunKey(delivery.workspace, delivery.run_id)
    events = events_of(await log.read(run))
    told = next((event for event in events if event.seq == delivery.seq), None)
    if told is None or not isinstance(events[0], RunRequested):
        raise Untold
    return story_of(events[0], told)
