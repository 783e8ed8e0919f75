"""A real Prometheus scrapes the stack: all is well, a service is killed, the alerts fire, it is back, they go out.

The rules are those of production with every time thirty times shorter (`monitoring.rules.faster`), and none below six
seconds. The thresholds are the same.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, output, template
from tests.observability.prometheus import Prometheus, installed, watching
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not installed(), reason="prometheus (Debian's package) is not installed")

SERVICES = ("gateway", "auth", "executor", "notifier")


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    with watching(stack, tmp_path) as found:
        yield found


async def asked(prometheus: Prometheus, holds: Callable[[Prometheus], bool]) -> bool:
    return await asyncio.to_thread(holds, prometheus)


@asynccontextmanager
async def kept_down(stack: Stack, service: str) -> AsyncIterator[None]:
    """Killed, and killed again whenever its supervisor has started it."""

    async def kill() -> None:
        while True:
            await asyncio.to_thread(stack.kill, service)

            async def gone_and_back(old: int = stack.process(service)["pid"]) -> bool:
                return await asyncio.to_thread(lambda: stack.process(service)["pid"]) != old

            await until(gone_and_back, 30)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)


async def test_alerts_fire_when_a_service_is_killed_and_go_out_when_it_is_back(
    stack: Stack, prometheus: Prometheus
) -> None:
    async with calling(stack) as caller:
        deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
        await caller.start(deployment)
        await until(lambda: asked(prometheus, lambda p: p.value('count(up{job="headgate"} == 1)') == len(SERVICES)))
        await until(lambda: asked(prometheus, lambda p: p.value("headgate:consumer_pending:max") is not None))
        assert await asyncio.to_thread(prometheus.faults) == []
        well = {name for name, _ in await asyncio.to_thread(prometheus.firing)}
        assert well <= {"HeadgateDeadLetters"}, well

        executor = stack.process("executor")["url"].removeprefix("http://")
        async with kept_down(stack, "executor"):
            run_id = await caller.submit(deployment)
            wanted = {
                ("HeadgateServiceDown", executor),
                ("HeadgateServiceMissing", "executor"),
            }
            await until(lambda: asked(prometheus, lambda p: wanted <= p.firing()), 60)
            await until(lambda: missed(caller), 60)

        await until(lambda: completed(caller, run_id), 60)
        alerts = {"HeadgateServiceDown", "HeadgateServiceMissing"}
        await until(lambda: asked(prometheus, lambda p: not alerts & {name for name, _ in p.firing()}), 60)


async def missed(caller: Caller) -> bool:
    """Whether people are told so too."""
    status = (await caller.call("GET", "/v1/operations/status")).body
    return any("No executor answers" in each["what"] for each in status["findings"])


async def completed(caller: Caller, run_id: str) -> bool:
    return bool((await caller.call("GET", f"/v1/runs/{run_id}")).body.get("status") == "completed")


async def test_people_are_told_of_a_broker_that_stands_still(stack: Stack) -> None:
    """Without it no key can be verified: all that is known is what the gateway lacks."""

    async def told(code: int, mark: str) -> bool:
        words = [sys.executable, "-m", "cli", "status"]
        done = await asyncio.to_thread(
            subprocess.run, words, env=stack.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode == code and mark in done.stdout

    stack.kill("nats", number=signal.SIGSTOP)
    try:
        await until(lambda: told(1, "The gateway is"), 60)
    finally:
        stack.kill("nats", number=signal.SIGCONT)
    await until(lambda: told(0, "executor-0\tready"), 60)
