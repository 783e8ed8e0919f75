"""`python -m bench` from beginning to end, with tiny counts."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from bench.report import Report

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str, mark: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bench", *arguments]
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:{mark}"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=90, check=False)


def running(mark: str) -> list[bytes]:
    """The command lines of processes that a bench with this mark left: all of them are given its PATH."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_it_measures_floor_and_product_and_keeps_the_results(tmp_path: Path) -> None:
    counts = ["--seconds=0.2", "--rounds=1", "--connections=1", "--connections=3", "--fsync=interval"]
    done = bench(*counts, f"--output={tmp_path}", "--json", mark=str(tmp_path))
    assert done.returncode == 0, done.stderr.decode()

    found = msgspec.json.decode(done.stdout, type=Report)
    assert [(row.target, row.connections) for row in found.rows] == [
        ("floor", 1),
        ("product", 1),
        ("floor", 3),
        ("product", 3),
    ]
    assert found.failures == 0
    assert all(cell.runs > 0 for cell in found.cells)
    for cell in found.cells:
        together = cell.target == "product" and cell.connections > 1
        assert 0 < cell.appends_per_run <= 2 if together else cell.appends_per_run == 2, cell
    assert all(ratio.runs_per_second > 0 for ratio in found.ratios)
    assert {each.target: sorted(each.idle_bytes) for each in found.memory} == {
        "floor": ["http", "nats", "worker"],
        "product": ["auth", "executor", "gateway", "nats", "notifier", "postgres", "supervisor"],
    }

    (written,) = tmp_path.glob("*.json")
    assert written.read_bytes() == done.stdout
    assert ElementTree.parse(written.with_suffix(".svg")).getroot().tag.endswith("svg")
    assert running(str(tmp_path)) == []


@pytest.mark.parametrize("arguments", [["--peer=nobody"], ["--fsync=never"], ["--rounds=0"], ["--generator=ab"]])
def test_what_cannot_be_measured_is_refused_at_once(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert arguments[0].partition("=")[0].encode() in done.stderr
