"""The run's decider: given events, when this happens, then those events; no broker, no clock."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.events.run import RunState, close, evolve, fold, run_of
from libs.events.run_events import (
    Append,
    CompletedData,
    Fault,
    FinishedData,
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
    RunEvent,
    RunFailed,
    RunRequested,
    RunStarted,
    StartedData,
    Usage,
    encode_append,
)

T0 = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
RUN = "run_1"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def requested() -> RunRequested:
    data = RequestedData(flow_id="flow_1", deployment_id="d1", version=3, input={"name": "Ada"}, session_id="s1")
    return RunRequested(seq=1, run_id=RUN, at=T0, data=data)


def started(seq: int = 2) -> RunStarted:
    return RunStarted(seq=seq, run_id=RUN, at=at(1), data=StartedData(executor="executor-0"))


def node_started(seq: int, node: str, attempt: int = 1) -> NodeStarted:
    return NodeStarted(seq=seq, run_id=RUN, at=at(seq), node=node, data=NodeStartedData(attempt=attempt))


def node_finished(seq: int, node: str, output: object, usage: Usage | None = None) -> NodeFinished:
    data = FinishedData(output=output, duration_seconds=1.0, usage=usage)
    return NodeFinished(seq=seq, run_id=RUN, at=at(seq), node=node, data=data)


def given(*events: RunEvent) -> RunState:
    return fold([encode_append(Append(by="test", events=[event])) for event in events])


def test_a_run_that_was_only_requested_is_queued() -> None:
    run = run_of(given(requested()))
    assert (run.status, run.version, run.session_id, run.started_at) == ("queued", 3, "s1", None)


def test_a_run_that_began_is_running_and_counts_what_its_models_used() -> None:
    usage = Usage(input_tokens=3, output_tokens=4, cost_usd=0.5)
    state = given(requested(), started(), node_started(3, "llm"), node_finished(4, "llm", {"text": "hi"}, usage))
    run = run_of(state)
    assert (run.status, run.started_at, run.usage) == ("running", at(1), usage)
    assert state.nodes["llm"].output == {"text": "hi"}


def test_an_end_says_everything_by_itself() -> None:
    data = CompletedData(output="Hello", usage=Usage(), started_at=at(1), duration_seconds=2.0)
    run = run_of(given(requested(), started(), RunCompleted(seq=3, run_id=RUN, at=at(3), data=data)))
    assert (run.status, run.output, run.finished_at, run.duration_seconds) == ("completed", "Hello", at(3), 2.0)


def test_events_that_were_seen_change_nothing() -> None:
    state = given(requested(), started(), node_started(3, "a", attempt=2))
    evolve(state, node_started(3, "a", attempt=9))
    assert (state.seq, state.nodes["a"].attempt) == (3, 2)


def test_a_retry_is_counted_and_the_node_stays_open() -> None:
    fault = Fault(code="node_failed", message="503", node="a")
    data = RetryingData(attempt=1, error=fault, retry_at=at(9))
    retrying = NodeRetrying(seq=4, run_id=RUN, at=at(4), node="a", data=data)
    node = given(requested(), started(), node_started(3, "a"), retrying).nodes["a"]
    assert (node.status, node.failures, node.retry_at, node.open) == ("retrying", 1, at(9), True)


def test_cancelling_gives_every_node_its_end_and_the_run_its_own() -> None:
    state = given(requested(), started(), node_started(3, "a"), node_finished(4, "a", 1), node_started(5, "b"))
    events = close(state, ["a", "b", "c"], None, at(8))
    assert [(type(e), e.seq) for e in events] == [(NodeFailed, 6), (NodeSkipped, 7), (RunCancelled, 8)]
    cut, skipped, end = events
    assert isinstance(cut, NodeFailed)
    assert (cut.node, cut.data.error.code, cut.data.duration_seconds) == ("b", "cancelled", 3.0)
    assert isinstance(skipped, NodeSkipped)
    assert (skipped.node, skipped.data.reason) == ("c", "run_cancelled")
    assert isinstance(end, RunCancelled)
    assert end.data.duration_seconds == 7.0


def test_a_queued_run_that_is_cancelled_never_started() -> None:
    *skipped, end = close(given(requested()), ["a"], None, at(5))
    assert len(skipped) == 1
    assert isinstance(end, RunCancelled)
    assert (end.data.started_at, end.data.duration_seconds) == (None, 0.0)


def test_a_failure_ends_the_run_with_its_reason() -> None:
    fault = Fault(code="run_timeout", message="the run took longer than 5 s")
    end = close(given(requested(), started()), [], fault, at(6))[-1]
    assert isinstance(end, RunFailed)
    assert end.data.error == fault


def test_a_run_that_ended_does_not_end_again() -> None:
    state = given(requested(), started())
    for event in close(state, ["a"], None, at(2)):
        evolve(state, event)
    assert close(state, ["a"], None, at(3)) == []


def test_events_without_a_request_are_no_run() -> None:
    with pytest.raises(ValueError, match=r"run\.requested"):
        fold([encode_append(Append(by="test", events=[started()]))])
