"""The page that `make chaos` keeps: the table is replaced, the rest stays."""

import shutil
from pathlib import Path

import msgspec
import pytest

from bench.machine import describe
from chaos.__main__ import chaos
from chaos.fault import Outcome
from chaos.faults import FAULTS
from chaos.table import PAGE, Report, keep

ROOT = Path(__file__).resolve().parents[2]

OUTCOME = Outcome(
    name="one",
    says="a fault",
    times=1234,
    runs=5000,
    lost=["a run"],
    doubled=[],
    wrong=[],
    recovery_seconds=2.34,
    seconds=9,
    retries={},
)


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    shutil.copy(PAGE, page)
    report = Report(machine=describe(tmp_path, ROOT), scale=0.5, outcomes=[OUTCOME])
    keep(report, page)
    once = page.read_text()
    keep(report, page)
    assert page.read_text() == once
    assert "| a fault | 1,234 | 5,000 | 1 | 0 | 0 | 2.3 s |" in once
    assert once.startswith(PAGE.read_text().partition("<!--")[0])
    assert not report.clean
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_the_kept_page_has_every_fault_and_nothing_lost_doubled_or_wrong() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [fault.says for fault in FAULTS]
    for row in rows:
        assert row[3:6] == ["0", "0", "0"], row[0]
        assert int(row[1].replace(",", "")) > 0


def test_a_fault_that_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(Exception, match="executor-kill"):
        chaos(fault=["no-such"], scale=1.0, callers=1)
