"""The judge of `make chaos`: it finds each thing that may go wrong, and nothing where all went well."""

from collections.abc import Callable
from typing import Any

import pytest

from chaos.verdict import Ask, Verdict, broken_off, judge, moment, most_at_once, recovery_seconds

RUN = "run_1"
Events = list[dict[str, Any]]


def at(seconds: float) -> str:
    """A time within a minute."""
    return f"2026-11-26T12:00:{seconds:09.6f}Z"


def events(*types: str, output: str = "k-a-b", begin: float = 0.0) -> Events:
    """Events a second apart; `node.started:a` is about node a."""
    found: Events = []
    for number, said in enumerate(types):
        name, _, node = said.partition(":")
        event: dict[str, Any] = {"seq": number + 1, "type": name, "at": at(begin + number), "data": {}}
        if node:
            event["node"] = node
        if name == "run.completed":
            event["data"] = {"output": output}
        if name == "run.failed":
            event["data"] = {"error": {"code": "node_failed"}}
        found.append(event)
    return found


STEPS = ("node.started:a", "node.finished:a", "node.started:b", "node.finished:b")
WHOLE = events("run.requested", "run.started", *STEPS, "run.completed")
CALLS = {f"{RUN}:a": 1, f"{RUN}:b": 1}


def ask(**fields: Any) -> Ask:
    """An ask that led to the run."""
    return Ask(**{"number": 1, "key": "k", "limited": False, "run_ids": {RUN}, **fields})


def judged(asked: Ask, history: Events, calls: dict[str, int] | None = None, concurrent_runs: int = 4) -> Verdict:
    """The verdict over one run."""
    return judge([asked], {RUN: history}, CALLS if calls is None else calls, concurrent_runs=concurrent_runs)


def test_a_run_that_went_as_promised_is_nothing_to_speak_of() -> None:
    seen = [event["seq"] for event in WHOLE]
    assert judged(ask(seen=seen), WHOLE).clean


def test_a_node_that_was_cut_off_may_be_called_again() -> None:
    again = events("run.requested", "run.started", "node.started:a", *STEPS, "run.completed")
    assert judged(ask(), again, CALLS | {f"{RUN}:a": 2}).clean


@pytest.mark.parametrize(
    ("asked", "history"),
    [
        (ask(unanswered="no answer within 90 s", run_ids=set()), []),
        (ask(), []),
        (ask(), WHOLE[:-1]),
    ],
    ids=["never answered", "unknown", "without an end"],
)
def test_lost(asked: Ask, history: Events) -> None:
    found = judged(asked, history, {})
    assert found.lost
    assert not found.doubled


@pytest.mark.parametrize(
    ("asked", "history", "calls"),
    [
        (ask(run_ids={RUN, "run_2"}), WHOLE, CALLS),
        (ask(), events("run.requested", "run.completed", "run.completed"), {}),
        (ask(), WHOLE, CALLS | {f"{RUN}:b": 2}),
        (ask(), events("run.requested", "run.started", *STEPS, "node.started:a", "run.completed"), CALLS),
        (ask(), WHOLE, CALLS | {"run_3:a": 1}),
    ],
    ids=["two runs for a key", "two ends", "a call unknown to the log", "begun after its end", "a run of nobody's"],
)
def test_doubled(asked: Ask, history: Events, calls: dict[str, int]) -> None:
    assert judged(asked, history, calls).doubled


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (ask(misled="answered running with None"), lambda: WHOLE),
        (ask(), lambda: events("run.requested", "run.completed", output="k-a-a")),
        (ask(), lambda: [event for event in WHOLE if event["seq"] != 3]),
        (ask(), lambda: events("run.requested", "run.failed")),
        (ask(), lambda: events("run.requested", "run.cancelled")),
        (ask(cancels=True, cancelled=True), lambda: WHOLE),
        (ask(seen=[1, 2, 2, 3, 4, 5, 6, 7]), lambda: WHOLE),
    ],
    ids=[
        "misled",
        "output",
        "a gap",
        "failed",
        "cancelled by nobody",
        "cancel without effect",
        "streamed twice",
    ],
)
def test_wrong(asked: Ask, change: Callable[[], Events]) -> None:
    assert judged(asked, change(), {}).wrong


def test_a_cancelled_run_may_not_begin_another_node() -> None:
    begun = events("run.requested", "run.started", "node.started:a", "node.failed:a", "run.cancelled")
    assert judged(ask(cancels=True, cancelled=True), begun, {f"{RUN}:a": 1}).clean
    assert judged(ask(cancels=True, cancelled=True), begun, {f"{RUN}:a": 1, f"{RUN}:b": 1}).doubled


@pytest.mark.parametrize(("seconds", "fine"), [(0.49, False), (0.5, True)])
def test_a_delay_takes_its_time(seconds: float, fine: bool) -> None:
    pause = [
        {"seq": 3, "type": "node.started", "node": "pause", "at": at(2), "data": {"until": at(2.5)}},
        {"seq": 4, "type": "node.finished", "node": "pause", "at": at(2 + seconds), "data": {}},
    ]
    rest = [{**event, "seq": event["seq"] + 2} for event in WHOLE[2:]]
    assert judged(ask(), [*WHOLE[:2], *pause, *rest]).clean is fine


def test_a_limit_is_about_runs_between_their_start_and_their_end() -> None:
    histories = [events("run.requested", "run.started", "run.completed", begin=begin) for begin in (0, 0.5, 1, 2)]
    assert most_at_once(histories) == 2
    asks = [ask(number=n, limited=True, run_ids={f"run_{n}"}) for n in range(4)]
    named = {f"run_{n}": history for n, history in enumerate(histories)}
    for limit, said in ((2, False), (1, True)):
        verdict = judge(asks, named, {}, concurrent_runs=limit)
        assert any("runs at once" in sentence for sentence in verdict.wrong) is said


def test_recovery_is_the_longest_from_a_fault_to_the_end_of_what_was_under_way() -> None:
    began = moment(WHOLE[0]).timestamp()
    assert recovery_seconds([began + 1, began + 4.5], [], {RUN: WHOLE}) == pytest.approx(5)
    assert recovery_seconds([began + 7], [], {RUN: WHOLE}) == 0
    assert recovery_seconds([began + 7], [ask(asked_at=began, answered_at=began + 9)], {RUN: WHOLE}) == pytest.approx(2)


def test_a_call_is_broken_off_if_its_run_was_on_the_log_by_then() -> None:
    began = moment(WHOLE[0]).timestamp()
    assert list(broken_off([("k", began + 1)], [ask()], {RUN: WHOLE}))
    assert not list(broken_off([("k", began - 1), ("another", began + 1)], [ask()], {RUN: WHOLE}))
