"""When a delivery is tried again: the schedule, what a receiver asks for, and what ends it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.channels import Outcome
from services.notifier.retries import SCHEDULE_SECONDS, next_attempt, read_schedule

NOW = datetime(2026, 11, 26, tzinfo=UTC)
FAILED = Outcome(delivered=False, status=500)


def pause(attempts: int, outcome: Outcome = FAILED, chance: float = 0.0) -> float | None:
    at = next_attempt(SCHEDULE_SECONDS, attempts, outcome, NOW, chance)
    return None if at is None else (at - NOW).total_seconds()


def test_ten_attempts_are_made_over_75_hours() -> None:
    pauses = [pause(attempts) for attempts in range(1, 11)]
    assert pauses == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]
    assert timedelta(seconds=sum(SCHEDULE_SECONDS)) == timedelta(hours=75, minutes=35, seconds=5)


def test_pauses_are_up_to_a_tenth_longer_and_never_shorter() -> None:
    assert pause(1, chance=1.0) == 5.5
    assert pause(9, chance=0.5) == pytest.approx(90_720)


def test_what_the_receiver_asks_for_is_waited_for_up_to_a_day() -> None:
    assert pause(1, Outcome(delivered=False, retry_after_seconds=60)) == 60
    assert pause(3, Outcome(delivered=False, retry_after_seconds=60)) == 1800
    assert pause(1, Outcome(delivered=False, retry_after_seconds=1e9)) == 86_400


@pytest.mark.parametrize(
    "outcome",
    [Outcome(delivered=True), Outcome(delivered=False, final=True), Outcome(delivered=False, status=410, gone=True)],
)
def test_nothing_follows_a_success_a_refusal_for_good_and_410(outcome: Outcome) -> None:
    assert pause(1, outcome) is None


def test_an_operator_may_write_another_schedule() -> None:
    assert read_schedule("") == SCHEDULE_SECONDS
    assert read_schedule("0, 0.5,3") == (0, 0.5, 3)
    for wrong in ("x", "-1", "1e12", "0," * 101, "nan"):
        with pytest.raises(ValueError, match=r"."):
            read_schedule(wrong)
