"""What is wrong with an installation, and what to do about it: judged here, shown by `headgate status`. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from libs.events.roll import Present
from services.gateway.health.reading import Health

SERVICES = ("gateway", "auth", "executor", "notifier")

_WAITS_SECONDS = 60.0
_BACKLOG = 1000
_BEHIND_SECONDS = 60.0
_DISK_SHARE = 0.85
_YOUNG = timedelta(seconds=10)
"""A process that is not ready so soon after its start is starting."""

_MISSING = {
    "auth": "keys that gateways do not know yet are refused with 503",
    "executor": "runs are accepted and wait",
    "notifier": "webhooks, callbacks and mails wait",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: `critical` wants somebody now, `warning` within a working day."""

    severity: Literal["critical", "warning"]
    what: str
    do: str


def judge(present: Sequence[Present], health: Health, now: datetime) -> list[Finding]:
    """Everything that is wrong, the worst first."""
    found = [*_services(present, now), *_log(health, now), *_tables(health, now), *_disk(health)]
    return sorted(found, key=lambda each: each.severity != "critical")


def _services(present: Sequence[Present], now: datetime) -> Iterator[Finding]:
    there = {each.service for each in present}
    for service, so in _MISSING.items():
        if service not in there:
            do = f"Start one ({service}), or look at the end of its log for why it ends."
            yield Finding(severity="critical", what=f"No {service} answers: {so}.", do=do)
    for each in present:
        missing = [name for name in each.missing if name != "draining"]
        if missing and now - each.started_at > _YOUNG:
            what = f"{each.service}-{each.index} is not ready: it waits for {', '.join(missing)}."
            yield Finding(severity="warning", what=what, do="Look at what it waits for, and at its log.")
    versions = sorted({each.version for each in present})
    if len(versions) > 1:
        what = f"Versions {' and '.join(versions)} run side by side."
        yield Finding(severity="warning", what=what, do="Let the rollout end; old and new get along meanwhile.")


def _log(health: Health, now: datetime) -> Iterator[Finding]:
    runs = [each for each in health.standing.consumers if each.name == "executors"]
    waited = max((seconds_since(each.oldest_at, now) for each in runs), default=0.0)
    pending = sum(each.pending for each in runs)
    if waited > _WAITS_SECONDS:
        what = f"A run has waited for {waited:.0f} s ({pending} wait)."
        yield Finding(severity="critical", what=what, do="Add executors, or see what keeps those that are there.")
    elif pending > _BACKLOG:
        yield Finding(severity="warning", what=f"At least {pending} runs wait for an executor.", do="Add executors.")
    for stream in health.standing.streams:
        behind = [each.name for each in stream.replicas if each.offline or not each.current]
        if behind:
            what = f"{', '.join(behind)} does not have all of {stream.name}: another failure may stop it."
            yield Finding(severity="critical", what=what, do="Look at that NATS server: log, disk, network.")
        if stream.name == "DEAD_LETTERS" and stream.messages:
            what = f"{stream.messages} dead letters: what could not be carried out."
            yield Finding(severity="warning", what=what, do="headgate dead-letters list, then show and retry.")


def _tables(health: Health, now: datetime) -> Iterator[Finding]:
    if health.projections is None:
        what = "PostgreSQL does not answer: runs go on; tables, files and secrets do not."
        yield Finding(severity="critical", what=what, do="Start it; tables catch up with the log by themselves.")
        return
    late = [each for each in health.projections if seconds_since(each.oldest_at, now) > _BEHIND_SECONDS]
    for reading in sorted({each.reading for each in late}):
        seconds = max(seconds_since(each.oldest_at, now) for each in late if each.reading == reading)
        what = f"The table `{reading}` is {seconds:.0f} s behind the log."
        yield Finding(severity="warning", what=what, do="Look for `projection interrupted` in the gateways' logs.")


def _disk(health: Health) -> Iterator[Finding]:
    do = "Give it more room: when it is full nothing is accepted any more."
    disk, standing = health.disk, health.standing
    if disk is not None and disk.free_bytes < (1 - _DISK_SHARE) * disk.total_bytes:
        what = f"The disk has {disk.free_bytes / 1e9:.1f} GB left of {disk.total_bytes / 1e9:.1f}."
        yield Finding(severity="critical", what=what, do=do)
    limit = standing.storage_limit_bytes
    if limit is not None and standing.storage_bytes > _DISK_SHARE * limit:
        what = f"The log takes {standing.storage_bytes / limit:.0%} of what it may."
        yield Finding(severity="critical", what=what, do=do)


def seconds_since(moment: datetime | None, now: datetime) -> float:
    """How long ago, 0 for None; clocks of two machines may differ."""
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())
