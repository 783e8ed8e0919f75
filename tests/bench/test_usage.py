"""What /proc tells of processes: their children are counted, and so is what they do."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.usage import cpu_seconds, memory_bytes, settle

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")

BUSY_CHILD = """
import subprocess, sys
child = "x = bytearray(64 << 20); print('ready', flush=True); [None for _ in iter(int, 1)]"
subprocess.run([sys.executable, "-c", child])
"""
IDLE = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[dict[str, int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield {"it": process.pid}
    subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)
    process.communicate()


@pytest.mark.parametrize("started", [BUSY_CHILD], indirect=True)
def test_what_a_child_uses_is_its_parents(started: dict[str, int]) -> None:
    before = cpu_seconds(started)["it"]
    deadline = time.monotonic() + 10
    while cpu_seconds(started)["it"] < before + 0.1:
        assert time.monotonic() < deadline
    assert memory_bytes(started)["it"] > 64 << 20


@pytest.mark.parametrize("started", [BUSY_CHILD], indirect=True)
def test_what_a_child_with_a_name_of_its_own_uses_is_its_own(started: dict[str, int]) -> None:
    children = Path(f"/proc/{started['it']}/task/{started['it']}/children")
    deadline = time.monotonic() + 10
    while not (found := children.read_text().split()) or memory_bytes({"child": int(found[0])})["child"] < 64 << 20:
        assert time.monotonic() < deadline
    both = started | {"child": int(found[0])}
    before = cpu_seconds(both)
    while (after := cpu_seconds(both))["child"] < before["child"] + 0.1:
        assert time.monotonic() < deadline
    assert after["it"] == pytest.approx(before["it"], abs=0.05)
    assert memory_bytes(both)["it"] < 64 << 20 < memory_bytes(both)["child"]


@pytest.mark.parametrize("started", [BUSY_CHILD], indirect=True)
def test_settling_gives_up_on_what_does_not(started: dict[str, int]) -> None:
    began = time.monotonic()
    settle(started, patience_seconds=0.6)
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("started", [IDLE], indirect=True)
def test_settling_ends_with_the_work(started: dict[str, int]) -> None:
    began = time.monotonic()
    settle(started, patience_seconds=30.0)
    assert time.monotonic() - began < 10


def test_a_process_that_is_gone_uses_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert cpu_seconds({"it": ended.pid}) == memory_bytes({"it": ended.pid}) == {"it": 0}
