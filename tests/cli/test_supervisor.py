"""Children that end come back, slower each time; a stop is orderly, and final."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from cli.children import spawn
from cli.up.child import Child, Running, next_delay
from cli.up.supervisor import Supervisor


def test_each_start_waits_twice_as_long_up_to_five_seconds() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(next_delay(delays[-1], lived_seconds=0.1))
    assert delays[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_life_of_ten_seconds_begins_the_waiting_anew() -> None:
    assert next_delay(5.0, lived_seconds=10.0) == 0.2


def child(service: str, script: str, **more: signal.Signals) -> Child:
    def launch() -> subprocess.Popen[bytes]:
        return spawn(["sh", "-c", script], env={"PATH": "/usr/bin:/bin"})

    return Child(service=service, index=0, url=f"http://{service}", launch=launch, **more)


class Watched:
    """A supervisor at work, what it told, and its register."""

    def __init__(self, children: list[Child], register: Path) -> None:
        self.told: list[str] = []
        self.register = register
        self.supervisor = Supervisor(children, register=register, tell=self.told.append)

    def listed(self) -> dict[str, int]:
        lines = msgspec.json.decode(self.register.read_bytes(), type=list[Running])
        return {line.service: line.pid for line in lines}


@asynccontextmanager
async def tended(children: list[Child], register: Path) -> AsyncIterator[Watched]:
    watched = Watched(children, register)
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, watched.supervisor.wake)
    watched.supervisor.start()
    tending = asyncio.create_task(watched.supervisor.tend())
    try:
        yield watched
    finally:
        tending.cancel()
        await watched.supervisor.stop()
        assert watched.listed() == {}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in files and other processes
            await asyncio.sleep(0.01)


async def test_a_killed_child_is_replaced_and_the_register_says_so(tmp_path: Path) -> None:
    children = [child("executor", "exec sleep 60"), child("auth", "exec sleep 60")]
    async with tended(children, tmp_path / "processes.json") as watched:
        before = watched.listed()
        os.kill(before["executor"], signal.SIGKILL)
        await until(lambda: watched.listed().get("executor", before["executor"]) != before["executor"])
        assert watched.listed()["auth"] == before["auth"]
    assert watched.told == ["executor-0 ended (killed by SIGKILL); it starts again in 0.2 s"]


async def test_a_child_between_two_lives_is_not_listed(tmp_path: Path) -> None:
    async with tended([child("executor", "exit 3")], tmp_path / "processes.json") as watched:
        await until(lambda: watched.listed() == {})
        await until(lambda: len(watched.told) >= 2)
    assert watched.told[:2] == [
        "executor-0 ended (exit code 3); it starts again in 0.2 s",
        "executor-0 ended (exit code 3); it starts again in 0.4 s",
    ]


async def test_a_launch_that_fails_later_is_tried_again(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)

    def launch() -> subprocess.Popen[bytes]:
        return spawn([script], env={"PATH": "/usr/bin:/bin"})

    watching = [Child(service="executor", index=0, url="", launch=launch)]
    async with tended(watching, tmp_path / "processes.json") as watched:
        script.rename(tmp_path / "away")
        os.kill(watched.listed()["executor"], signal.SIGKILL)
        await until(lambda: any("does not start" in line for line in watched.told))
        (tmp_path / "away").rename(script)
        await until(lambda: "executor" in watched.listed())


async def test_services_are_stopped_in_order_and_servers_after_all(tmp_path: Path) -> None:
    order = tmp_path / "order"
    (tmp_path / "ready").mkdir()
    note = "trap 'sleep 0.05; echo {0} >> {1}; exit' TERM; touch {2}/{0}; while :; do sleep 0.01; done"
    names = ["nats", "auth", "executor", "notifier", "gateway"]
    children = [child(name, note.format(name, order, tmp_path / "ready")) for name in names]
    async with tended(children, tmp_path / "processes.json"):
        await until(lambda: len(list((tmp_path / "ready").iterdir())) == len(names))
    assert order.read_text().split() == ["gateway", "executor", "notifier", "auth", "nats"]


@pytest.mark.timeout(30)
async def test_who_does_not_listen_is_killed_when_the_user_is_in_a_hurry(tmp_path: Path) -> None:
    is_deaf = tmp_path / "deaf"
    deaf = child("gateway", f"trap '' TERM INT; : > {is_deaf}; while :; do sleep 0.01; done")
    watched = Watched([deaf], tmp_path / "processes.json")
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, watched.supervisor.wake)
    watched.supervisor.start()
    while not is_deaf.exists():  # noqa: ASYNC110  # a shell tells no other way
        await asyncio.sleep(0.01)
    began = time.monotonic()
    stopping = asyncio.create_task(watched.supervisor.stop())
    asyncio.get_running_loop().call_later(0.1, watched.supervisor.hurry)  # an echo of the first signal: not meant
    asyncio.get_running_loop().call_later(0.8, watched.supervisor.hurry)
    await stopping
    assert watched.listed() == {}
    assert 1.5 < time.monotonic() - began < 8
