"""Events as bytes: whatever an append holds, it comes back."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.events.run_events import (
    TERMINAL,
    Append,
    CompletedData,
    DeltaData,
    EndData,
    FailedData,
    Fault,
    FinishedData,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeStartedData,
    RequestedData,
    RetryingData,
    RunCancelled,
    RunCompleted,
    RunEnd,
    RunEvent,
    RunFailed,
    RunFailedData,
    RunRequested,
    RunStarted,
    SkippedData,
    StartedData,
    Usage,
    decode_append,
    decode_event,
    encode_append,
    encode_event,
    last_event,
    serve_append,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
TIME = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
SECONDS = st.floats(0, 1e6)
COUNT = st.integers(0, 2**40)
USAGE = st.builds(Usage, input_tokens=COUNT, output_tokens=COUNT, cost_usd=SECONDS)
FAULT = st.builds(Fault, code=TEXT, message=TEXT, node=st.none() | TEXT)
END = {"usage": USAGE, "started_at": st.none() | TIME, "duration_seconds": SECONDS}
DATA: dict[type[RunEvent], st.SearchStrategy[msgspec.Struct]] = {
    RunRequested: st.builds(
        RequestedData,
        flow_id=TEXT,
        deployment_id=TEXT,
        version=COUNT,
        input=OBJECT,
        mode=st.sampled_from(["sync", "async", "stream"]),
        session_id=st.none() | TEXT,
        tweaks=st.dictionaries(TEXT, OBJECT, max_size=2),
        metadata=OBJECT,
        callback_url=st.none() | TEXT,
    ),
    RunStarted: st.builds(StartedData, executor=TEXT),
    NodeStarted: st.builds(NodeStartedData, attempt=COUNT),
    NodeDelta: st.builds(DeltaData, text=TEXT, reasoning=TEXT),
    NodeRetrying: st.builds(RetryingData, attempt=COUNT, error=FAULT, retry_at=TIME),
    NodeFinished: st.builds(FinishedData, output=JSON, duration_seconds=SECONDS, usage=st.none() | USAGE),
    NodeFailed: st.builds(FailedData, error=FAULT, duration_seconds=SECONDS, continued=st.booleans()),
    NodeSkipped: st.builds(SkippedData, reason=st.sampled_from(["not_taken", "run_failed", "run_cancelled"])),
    RunCompleted: st.builds(CompletedData, output=JSON, **END),
    RunFailed: st.builds(RunFailedData, error=FAULT, **END),
    RunCancelled: st.builds(EndData, **END),
}


def events(kind: type[RunEvent]) -> st.SearchStrategy[RunEvent]:
    """Any event of a type."""
    node = {"node": TEXT} if "node" in kind.__struct_fields__ else {}
    return st.builds(kind, seq=COUNT, run_id=TEXT, at=TIME, data=DATA[kind], **node)


EVENT = st.one_of(*(events(kind) for kind in DATA))
APPEND = st.builds(
    Append,
    by=TEXT,
    events=st.lists(EVENT, min_size=1, max_size=4),
    address=st.none() | TEXT,
    trace=st.none() | TEXT,
    reply=st.none() | TEXT,
    fingerprint=st.none() | TEXT,
)


def test_there_is_a_strategy_for_every_event_type() -> None:
    assert set(DATA) == set(RunEvent.__args__)


@given(APPEND)
@settings(max_examples=150, deadline=None)
def test_an_append_comes_back_as_it_was(append: Append) -> None:
    payload = encode_append(append)

    assert decode_append(payload) == append
    assert last_event(payload) == append.events[-1]


@given(APPEND)
@settings(max_examples=50, deadline=None)
def test_what_is_served_is_what_is_stored(append: Append) -> None:
    payload = encode_append(append)

    served = serve_append(payload)

    assert [event.seq for event in served] == [event.seq for event in append.events]
    assert [msgspec.json.decode(event.body, type=RunEvent) for event in served] == append.events
    assert all(event.body in payload for event in served)
    assert [event.ends_run for event in served] == [isinstance(event, RunEnd) for event in append.events]


@given(EVENT)
@settings(max_examples=50, deadline=None)
def test_one_event_comes_back_as_it_was(event: RunEvent) -> None:
    assert decode_event(encode_event(event)) == event


@given(APPEND, st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_an_event_from_the_future_is_left_out_and_the_rest_is_kept(append: Append, place: int) -> None:
    raw = msgspec.json.decode(encode_append(append))
    raw["events"].insert(place, {"type": "node.dreamt", "seq": 1, "run_id": "r", "at": "2026-01-01T00:00:00Z"})

    assert decode_append(msgspec.json.encode(raw)) == append


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"by":"x"}', b'{"events":[]}', b'{"by":1,"events":[]}'])
def test_what_is_no_append_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_append(payload)


def test_the_ends_of_runs_are_the_terminal_types() -> None:
    assert {end.__struct_config__.tag for end in RunEnd.__args__} == TERMINAL
