"""What a workspace has used of its limits, and whether it may have more. Pure: time is an argument.

One ledger a workspace, with an account for the workspace and one for each of its deployments that has limits. A run is
admitted in all accounts that concern it or in none. The ledger is stored as a whole after each decision; names and
fields are stored for ever.
"""

import calendar
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from libs.events.managed import Limits

WORKSPACE = ""
"""The name of the workspace's own account; the others are named by their deployment."""


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One account. `running` holds the time of acceptance (seconds since the epoch) by run id."""

    month: str = ""
    """The month that `used` counts, as `2026-11` in UTC."""
    used: int = 0
    running: dict[str, float] = {}
    tokens: float = 0.0
    """Requests that may come at once, at the time `refilled`; a second's worth at most."""
    refilled: float = 0.0


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All accounts of a workspace."""

    accounts: dict[str, Account] = {}
    stamp: str = ""
    """Made for each message: an append is known for one's own by its bytes, and two gateways may decide alike."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """One run, and the limits that it is to be admitted by, account by account."""

    run_id: str
    limits: Mapping[str, Limits]
    charged: bool = False
    """Whether the month's quota and the second's rate were charged before, as a batch's are when it is accepted."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is not admitted, and after how many seconds it may be."""

    code: Literal["concurrency_limit", "rate_limit", "quota_exceeded"]
    account: str
    retry_after: int


def admit(ledger: Ledger, wants: Sequence[Want], now: datetime) -> tuple[Ledger, list[Refusal | None]]:
    """Decide about runs in the order they came; None: admitted. The ledger is the same object if nothing was.

    A run that holds its slot already (whoever took it has died, or is a call with the same `Idempotency-Key`) is not
    refused for it and not charged again.
    """
    accounts = dict(ledger.accounts)
    verdicts: list[Refusal | None] = []
    for want in wants:
        current = {name: _at(accounts.get(name, Account()), limits, now) for name, limits in want.limits.items()}
        kept = {name: _slot(current[name], want, now) for name in current if want.run_id in current[name].running}
        asked = {name: limits for name, limits in want.limits.items() if name not in kept}
        limits_of = {name: _slots_only(limits) if want.charged else limits for name, limits in asked.items()}
        refusals = (_refusal(name, current[name], limits, now) for name, limits in limits_of.items())
        verdict = next((refusal for refusal in refusals if refusal is not None), None)
        verdicts.append(verdict)
        if verdict is None:
            accounts |= {name: _charged(current[name], limits, want, now) for name, limits in limits_of.items()}
            accounts |= kept
    if all(verdict is not None for verdict in verdicts):
        return ledger, verdicts
    return Ledger(accounts=accounts), verdicts


def charge(ledger: Ledger, count: int, limits: Mapping[str, Limits], now: datetime) -> Ledger | Refusal:
    """Charge the month's quota for `count` runs at once, all or none; they take their slots later, one by one.

    What is given back (a negative `count`) is never refused.
    """
    accounts = dict(ledger.accounts)
    for name, limit in limits.items():
        account = _at(accounts.get(name, Account()), limit, now)
        full = limit.monthly_requests is not None and account.used + count > limit.monthly_requests
        if full and count > 0:
            return Refusal(code="quota_exceeded", account=name, retry_after=seconds_to_next_month(now))
        accounts[name] = msgspec.structs.replace(account, used=max(0, account.used + count))
    return Ledger(accounts=accounts)


def settle(ledger: Ledger, ended: Iterable[str], never_begun: Iterable[str] = ()) -> Ledger:
    """The ledger without runs that have ended, and without those that were admitted and then not accepted.

    The latter are given back to the month's quota: only accepted runs count.
    """
    gone, refunded = set(ended), set(never_begun)
    return Ledger(accounts={name: _settled(account, gone, refunded) for name, account in ledger.accounts.items()})


def refund(ledger: Ledger, run_id: str, limits: Mapping[str, Limits], *, runs_all_the_same: bool) -> Ledger:
    """The ledger without what a run was charged that its caller then did not make.

    `runs_all_the_same`: another call with the same key made it. Where it holds a slot the charge is the run's and
    stays; elsewhere each of the two calls was charged.
    """
    accounts = dict(ledger.accounts)
    for name, limit in limits.items():
        account = accounts.get(name, Account())
        holds = run_id in account.running
        if limit.concurrent_runs is not None and (runs_all_the_same or not holds):
            continue
        kept = {other: since for other, since in account.running.items() if other != run_id}
        accounts[name] = msgspec.structs.replace(account, running=kept, used=max(0, account.used - 1))
    return Ledger(accounts=accounts)


def running(ledger: Ledger) -> dict[str, float]:
    """Every run that holds a slot, with the time it was admitted."""
    return {run_id: since for account in ledger.accounts.values() for run_id, since in account.running.items()}


def describe(ledger: Ledger, limits: Mapping[str, Limits], now: datetime) -> dict[str, str]:
    """The headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11); empty: no limits."""
    policies: list[str] = []
    left: list[str] = []
    for name, limit in limits.items():
        account = _at(ledger.accounts.get(name, Account()), limit, now)
        prefix = "deployment-" if name else ""
        if limit.requests_per_second is not None:
            policies.append(f'"{prefix}second";q={limit.requests_per_second};w=1')
            left.append(f'"{prefix}second";r={int(account.tokens)};t=1')
        if limit.concurrent_runs is not None:
            policies.append(f'"{prefix}concurrency";q={limit.concurrent_runs};qu="concurrent-requests"')
            left.append(f'"{prefix}concurrency";r={max(0, limit.concurrent_runs - len(account.running))}')
        if limit.monthly_requests is not None:
            policies.append(f'"{prefix}month";q={limit.monthly_requests};w={_month_seconds(now)}')
            remaining = max(0, limit.monthly_requests - account.used)
            left.append(f'"{prefix}month";r={remaining};t={seconds_to_next_month(now)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if policies else {}


def seconds_to_next_month(now: datetime) -> int:
    """Seconds until the month's quota begins anew, at least 1."""
    return max(1, _month_seconds(now) - int((now - _month_start(now)).total_seconds()))


def _at(account: Account, limits: Limits, now: datetime) -> Account:
    """The account as it is now: another month begins at nothing, tokens come back a second's worth a second."""
    month = now.strftime("%Y-%m")
    if account.month != month:
        account = msgspec.structs.replace(account, month=month, used=0)
    rate = limits.requests_per_second
    if rate is None:
        return account
    moment = max(now.timestamp(), account.refilled)
    tokens = min(float(rate), account.tokens + (moment - account.refilled) * rate)
    return msgspec.structs.replace(account, tokens=tokens, refilled=moment)


def _refusal(name: str, account: Account, limits: Limits, now: datetime) -> Refusal | None:
    if limits.monthly_requests is not None and account.used >= limits.monthly_requests:
        return Refusal(code="quota_exceeded", account=name, retry_after=seconds_to_next_month(now))
    if limits.concurrent_runs is not None and len(account.running) >= limits.concurrent_runs:
        return Refusal(code="concurrency_limit", account=name, retry_after=1)
    if limits.requests_per_second is not None and account.tokens < 1.0:
        return Refusal(code="rate_limit", account=name, retry_after=1)
    return None


def _slots_only(limits: Limits) -> Limits:
    return Limits(concurrent_runs=limits.concurrent_runs)


def _charged(account: Account, limits: Limits, want: Want, now: datetime) -> Account:
    account = msgspec.structs.replace(
        account,
        used=account.used if want.charged else account.used + 1,
        tokens=account.tokens - 1.0 if limits.requests_per_second is not None else account.tokens,
    )
    return account if limits.concurrent_runs is None else _slot(account, want, now)


def _slot(account: Account, want: Want, now: datetime) -> Account:
    """The account with a slot for the run, from now on: one that was taken long ago would soon count as forgotten."""
    return msgspec.structs.replace(account, running={**account.running, want.run_id: round(now.timestamp(), 3)})


def _settled(account: Account, gone: set[str], refunded: set[str]) -> Account:
    kept = {run_id: since for run_id, since in account.running.items() if run_id not in gone | refunded}
    back = len(refunded.intersection(account.running))
    return msgspec.structs.replace(account, running=kept, used=max(0, account.used - back))


def _month_start(now: datetime) -> datetime:
    return datetime(now.year, now.month, 1, tzinfo=UTC)


def _month_seconds(now: datetime) -> int:
    return calendar.monthrange(now.year, now.month)[1] * 86_400
