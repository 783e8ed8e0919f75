"""From messages of the log to rows of the runs table: pure, and without decoding what a row does not hold."""

from datetime import datetime

import msgspec

from libs.events.groups import Part, parts_of
from libs.events.pull import Delivery
from libs.events.run_events import Usage
from libs.events.subjects import Kind

_STATUS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}


class Row(msgspec.Struct, kw_only=True):
    """A row, its fields in the order of the table's columns."""

    workspace: str
    id: str
    flow_id: str = ""
    deployment_id: str = ""
    version: int = 0
    key_id: str = ""
    session_id: str | None = None
    status: str = "queued"
    error_code: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class _Error(msgspec.Struct, frozen=True):
    code: str


class _Data(msgspec.Struct, frozen=True):
    """Of every event's data, the fields that a row holds."""

    flow_id: str = ""
    deployment_id: str = ""
    version: int = 0
    session_id: str | None = None
    usage: Usage | None = None
    duration_seconds: float | None = None
    error: _Error | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    at: datetime
    data: _Data


class _Append(msgspec.Struct, frozen=True):
    by: str
    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Append)
_event_decoder = msgspec.json.Decoder(_Event)


def read_rows(delivery: Delivery, new: dict[str, Row], changed: dict[str, Row]) -> int:
    """Bring the rows that are new and those that are changed, by run id, to what a message says; of how many runs?

    A run that is both is new, as it is at the end.
    """
    runs = 0
    for part in parts_of(delivery.subject, delivery.payload):
        _read(part, new, changed)
        runs += 1
    return runs


def _read(part: Part, new: dict[str, Row], changed: dict[str, Row]) -> None:
    run, append = part.run, _decoder.decode(part.payload)
    if part.kind in (Kind.HELD, Kind.REQUESTED):
        row = new[run.run_id] = Row(workspace=run.workspace, id=run.run_id)
        _requested(row, append)
    elif run.run_id in new:
        _moved(new[run.run_id], append)
    else:
        row = changed.setdefault(run.run_id, Row(workspace=run.workspace, id=run.run_id, status="running"))
        _moved(row, append)


def _requested(row: Row, append: _Append) -> None:
    event = _event_decoder.decode(append.events[0])
    row.created_at, row.key_id = event.at, append.by
    row.flow_id, row.deployment_id, row.version = event.data.flow_id, event.data.deployment_id, event.data.version
    row.session_id = event.data.session_id


def _moved(row: Row, append: _Append) -> None:
    event = _event_decoder.decode(append.events[-1])
    row.status = _STATUS.get(event.type, "running")
    if event.type not in _STATUS:
        return
    row.finished_at, row.duration_seconds = event.at, event.data.duration_seconds
    row.error_code = event.data.error.code if event.data.error else None
    if event.data.usage is not None:
        row.input_tokens = event.data.usage.input_tokens
        row.output_tokens = event.data.usage.output_tokens
        row.cost_usd = event.data.usage.cost_usd
