"""What is judged wrong, from what was read: each finding by itself, and none where all is well."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.events.roll import Present
from libs.events.standing import Consumer, Replica, Standing, Stream
from services.gateway.health.findings import judge
from services.gateway.health.reading import Disk, Health, Projection

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
AGO = NOW - timedelta(minutes=5)


def present(service: str, **more: Any) -> Present:
    told = {"index": 0, "instance": f"{service}-0", "version": "1", "started_at": AGO, "missing": []}
    return Present(service=service, **{**told, **more})


def stream(name: str, **more: Any) -> Stream:
    told = {"messages": 0, "bytes": 0, "last_sequence": 0, "leader": None, "replicas": [], "consumers": 0}
    return Stream(name=name, **{**told, **more})


def consumer(**more: Any) -> Consumer:
    told = {"stream": "EVENTS_0", "name": "executors", "pending": 0, "unacknowledged": 0, "oldest_at": None}
    return Consumer(**{**told, **more})


ALL = [present(service) for service in ("gateway", "auth", "executor", "notifier")]
WELL = Health(
    standing=Standing(
        streams=[stream("EVENTS_0", messages=9), stream("DEAD_LETTERS")],
        consumers=[consumer(unacknowledged=256), consumer(name="feeders", pending=5000, oldest_at=AGO)],
        storage_bytes=10,
        storage_limit_bytes=100,
    ),
    projections=[Projection(reading="runs", stream="EVENTS_0", behind=5, oldest_at=NOW - timedelta(seconds=3))],
    disk=Disk(free_bytes=50, total_bytes=100),
)


def standing(**changed: Any) -> Health:
    return msgspec.structs.replace(WELL, standing=msgspec.structs.replace(WELL.standing, **changed))


def test_where_all_is_well_nothing_is_found() -> None:
    assert judge(ALL, WELL, NOW) == []


def test_a_process_that_has_only_begun_is_not_missed_and_one_that_drains_is_not_sick() -> None:
    young = present("executor", index=1, missing=["consumers"], started_at=NOW - timedelta(seconds=2))
    leaving = present("gateway", index=1, missing=["draining"])
    assert judge([*ALL, young, leaving], WELL, NOW) == []


LATE = msgspec.structs.replace(
    WELL, projections=[Projection(reading="runs", stream="EVENTS_0", behind=1, oldest_at=AGO)]
)
BEHIND = Replica(name="nats-1", current=False, lag=7, offline=False)
AWAY = Replica(name="nats-2", current=True, lag=0, offline=True)


@pytest.mark.parametrize(
    ("who", "health", "severity", "mark"),
    [
        (ALL[:2] + ALL[3:], WELL, "critical", "No executor answers"),
        ([*ALL, present("executor", index=1, missing=["nats"])], WELL, "warning", "executor-1 is not ready"),
        ([*ALL, present("executor", index=1, version="2")], WELL, "warning", "Versions 1 and 2"),
        (ALL, standing(consumers=[consumer(pending=3, oldest_at=AGO)]), "critical", "waited for 300 s (3 wait)"),
        (ALL, standing(consumers=[consumer(pending=2000, oldest_at=NOW)]), "warning", "2000 runs wait"),
        (ALL, standing(streams=[stream("DEAD_LETTERS", messages=2)]), "warning", "2 dead letters"),
        (ALL, standing(streams=[stream("EVENTS_0", replicas=[BEHIND])]), "critical", "nats-1 does not have all"),
        (ALL, standing(streams=[stream("EVENTS_0", replicas=[AWAY])]), "critical", "nats-2 does not have all"),
        (ALL, standing(storage_bytes=90), "critical", "90%"),
        (ALL, LATE, "warning", "`runs` is 300 s behind"),
        (ALL, msgspec.structs.replace(WELL, projections=None), "critical", "PostgreSQL does not answer"),
        (ALL, msgspec.structs.replace(WELL, disk=Disk(free_bytes=5, total_bytes=100)), "critical", "The disk has"),
    ],
)
def test_what_is_wrong_is_found_with_what_to_do(who: list[Present], health: Health, severity: str, mark: str) -> None:
    (finding,) = judge(who, health, NOW)
    assert finding.severity == severity
    assert mark in finding.what
    assert finding.do


def test_the_worst_comes_first() -> None:
    sick = standing(streams=[stream("DEAD_LETTERS", messages=1)], storage_bytes=99)
    assert [each.severity for each in judge(ALL[1:], sick, NOW)] == ["critical", "warning"]
