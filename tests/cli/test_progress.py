"""A run's state as its events tell it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cli.progress import Progress, RunEvent, evolve, expected

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(*facts: tuple[str, str | None, dict[str, Any]]) -> list[RunEvent]:
    """Facts as events, a second apart."""
    return [
        RunEvent(seq=n, type=kind, run_id="run_1", at=START + timedelta(seconds=n), node=node, data=data)
        for n, (kind, node, data) in enumerate(facts, start=1)
    ]


def after(nodes: list[str], *facts: tuple[str, str | None, dict[str, Any]]) -> Progress:
    progress = expected(nodes)
    for event in events(*facts):
        progress = evolve(progress, event)
    return progress


def test_nodes_wait_run_and_finish_in_their_time() -> None:
    progress = after(
        ["in", "hi", "out"],
        ("run.requested", None, {}),
        ("node.started", "in", {}),
        ("node.finished", "in", {}),
        ("node.started", "hi", {}),
    )
    assert [(name, node.status, node.seconds) for name, node in progress.nodes.items()] == [
        ("in", "finished", 1.0),
        ("hi", "running", None),
        ("out", "pending", None),
    ]


def test_what_a_model_says_is_gathered_and_forgotten_with_the_attempt() -> None:
    spoken = [
        ("node.started", "llm", {}),
        ("node.delta", "llm", {"text": "Hel"}),
        ("node.delta", "llm", {"text": "lo"}),
    ]
    assert after([], *spoken).nodes["llm"].text == "Hello"
    assert after([], *spoken, ("node.retrying", "llm", {"attempt": 2})).nodes["llm"].text == ""


def test_a_failure_keeps_its_reason_and_the_run_its_ending() -> None:
    progress = after(
        [], ("node.failed", "llm", {"message": "no"}), ("node.skipped", "out", {}), ("run.failed", None, {})
    )
    assert (progress.nodes["llm"].note, progress.nodes["out"].status, progress.ending) == (
        "no",
        "skipped",
        "run.failed",
    )


def test_an_event_seen_twice_changes_nothing() -> None:
    first, second = events(("node.started", "a", {}), ("node.delta", "a", {"text": "x"}))
    progress = evolve(evolve(Progress(), first), second)
    assert evolve(evolve(progress, first), second) == progress
