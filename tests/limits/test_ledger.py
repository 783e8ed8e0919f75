"""The ledger's decisions: given accounts, when runs want slots, then these are admitted; no clock, no log."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.events.managed import Limits
from services.gateway.admission.ledger import (
    WORKSPACE,
    Ledger,
    Refusal,
    Want,
    admit,
    charge,
    describe,
    refund,
    running,
    seconds_to_next_month,
    settle,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def want(number: int, *, charged: bool = False, **limits: int) -> Want:
    return Want(run_id=f"run_{number}", limits={WORKSPACE: Limits(**limits)}, charged=charged)


def codes(verdicts: list[Refusal | None]) -> list[str | None]:
    return [verdict.code if verdict else None for verdict in verdicts]


def test_no_more_run_at_once_than_the_plan_has_slots() -> None:
    wants = [want(n, concurrent_runs=2) for n in range(3)]
    ledger, verdicts = admit(Ledger(), wants, NOW)
    assert codes(verdicts) == [None, None, "concurrency_limit"]
    assert set(running(ledger)) == {"run_0", "run_1"}


def test_a_slot_is_free_when_its_run_has_ended() -> None:
    ledger, _ = admit(Ledger(), [want(0, concurrent_runs=1)], NOW)
    _, refused = admit(ledger, [want(1, concurrent_runs=1)], NOW)
    _, admitted = admit(settle(ledger, ["run_0"]), [want(1, concurrent_runs=1)], NOW)
    assert (codes(refused), codes(admitted)) == (["concurrency_limit"], [None])


def test_what_is_refused_is_not_counted() -> None:
    ledger, _ = admit(Ledger(), [want(n, concurrent_runs=1, monthly_requests=2) for n in range(9)], NOW)
    assert ledger.accounts[WORKSPACE].used == 1


def test_a_month_has_its_quota_and_the_next_begins_anew() -> None:
    ledger, verdicts = admit(Ledger(), [want(n, monthly_requests=2) for n in range(3)], NOW)
    assert codes(verdicts) == [None, None, "quota_exceeded"]
    assert verdicts[2] is not None
    assert verdicts[2].retry_after == seconds_to_next_month(NOW)
    _, again = admit(ledger, [want(9, monthly_requests=2)], NOW + timedelta(seconds=verdicts[2].retry_after))
    assert codes(again) == [None]


def test_a_seconds_burst_is_allowed_and_comes_back_in_a_second() -> None:
    ledger, burst = admit(Ledger(), [want(n, requests_per_second=3) for n in range(5)], NOW)
    assert codes(burst) == [None, None, None, "rate_limit", "rate_limit"]
    _, later = admit(ledger, [want(n, requests_per_second=3) for n in range(5, 9)], NOW + timedelta(seconds=1))
    assert codes(later) == [None, None, None, "rate_limit"]


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    ledger, _ = admit(Ledger(), [want(n, requests_per_second=2) for n in range(2)], NOW)
    _, verdicts = admit(ledger, [want(9, requests_per_second=2)], NOW - timedelta(seconds=30))
    assert codes(verdicts) == ["rate_limit"]


def test_a_run_is_admitted_in_every_account_or_in_none() -> None:
    limits = {WORKSPACE: Limits(monthly_requests=9), "d1": Limits(concurrent_runs=1)}
    wants = [Want(run_id=f"run_{n}", limits=limits) for n in range(2)]
    ledger, verdicts = admit(Ledger(), wants, NOW)
    assert codes(verdicts) == [None, "concurrency_limit"]
    assert verdicts[1] is not None
    assert verdicts[1].account == "d1"
    assert ledger.accounts[WORKSPACE].used == 1


def test_a_batch_is_charged_whole_or_not_at_all_and_takes_slots_later() -> None:
    limits = {WORKSPACE: Limits(concurrent_runs=1, monthly_requests=5)}
    charged = charge(Ledger(), 4, limits, NOW)
    assert isinstance(charged, Ledger)
    refused = charge(charged, 2, limits, NOW)
    assert isinstance(refused, Refusal)
    assert refused.code == "quota_exceeded"
    ledger, verdicts = admit(
        charged, [want(n, charged=True, concurrent_runs=1, monthly_requests=5) for n in range(2)], NOW
    )
    assert codes(verdicts) == [None, "concurrency_limit"]
    assert ledger.accounts[WORKSPACE].used == 4


def test_a_run_that_was_not_accepted_is_given_back() -> None:
    ledger, _ = admit(Ledger(), [want(0, concurrent_runs=1, monthly_requests=5)], NOW)
    back = refund(ledger, "run_0", {WORKSPACE: Limits(concurrent_runs=1)}, runs_all_the_same=False)
    assert (running(back), back.accounts[WORKSPACE].used) == ({}, 0)


def test_a_run_that_holds_its_slot_already_is_admitted_and_not_charged_again() -> None:
    limits = {"concurrent_runs": 1, "monthly_requests": 5}
    ledger, _ = admit(Ledger(), [want(0, **limits)], NOW)
    later = NOW + timedelta(seconds=14)
    ledger, verdicts = admit(ledger, [want(0, **limits), want(1, **limits)], later)
    assert codes(verdicts) == [None, "concurrency_limit"]
    assert ledger.accounts[WORKSPACE].used == 1
    assert running(ledger) == {"run_0": later.timestamp()}


def test_a_held_run_is_not_refused_for_the_slot_that_it_holds_itself() -> None:
    ledger, _ = admit(Ledger(), [want(0, charged=True, concurrent_runs=1)], NOW)
    _, verdicts = admit(ledger, [want(0, charged=True, concurrent_runs=1)], NOW)
    assert codes(verdicts) == [None]


def test_a_charge_is_the_runs_where_it_holds_a_slot_and_the_calls_elsewhere() -> None:
    limits = {WORKSPACE: Limits(concurrent_runs=2), "d1": Limits(monthly_requests=9)}
    ledger = Ledger()
    for _ in range(2):  # two calls with one key
        ledger, _ = admit(ledger, [Want(run_id="run_0", limits=limits)], NOW)
    assert (ledger.accounts[WORKSPACE].used, ledger.accounts["d1"].used) == (1, 2)
    back = refund(ledger, "run_0", limits, runs_all_the_same=True)
    assert (back.accounts[WORKSPACE].used, back.accounts["d1"].used) == (1, 1)
    assert set(running(back)) == {"run_0"}


def test_headers_say_what_is_left_in_the_drafts_words() -> None:
    limits = {WORKSPACE: Limits(concurrent_runs=4, monthly_requests=1000, requests_per_second=20)}
    ledger, _ = admit(Ledger(), [Want(run_id="run_0", limits=limits)], NOW)
    assert describe(ledger, limits, NOW) == {
        "RateLimit-Policy": '"second";q=20;w=1, "concurrency";q=4;qu="concurrent-requests", "month";q=1000;w=2592000',
        "RateLimit": f'"second";r=19;t=1, "concurrency";r=3, "month";r=999;t={seconds_to_next_month(NOW)}',
    }


def test_without_limits_there_are_no_headers() -> None:
    assert describe(Ledger(), {WORKSPACE: Limits()}, NOW) == {}


@settings(max_examples=200, deadline=None)
@given(
    slots=st.integers(1, 5),
    quota=st.integers(1, 30),
    steps=st.lists(st.tuples(st.sampled_from(["ask", "end", "tick"]), st.integers(1, 6)), max_size=40),
)
def test_whatever_happens_no_limit_is_passed(slots: int, quota: int, steps: list[tuple[str, int]]) -> None:
    ledger, now, asked, admitted = Ledger(), NOW, 0, 0
    for step, count in steps:
        if step == "ask":
            wants = [want(asked + n, concurrent_runs=slots, monthly_requests=quota) for n in range(count)]
            asked += count
            ledger, verdicts = admit(ledger, wants, now)
            admitted += codes(verdicts).count(None)
        elif step == "end":
            ledger = settle(ledger, list(running(ledger))[:count])
        else:
            now += timedelta(seconds=count)
        assert len(running(ledger)) <= slots
        assert admitted <= quota
