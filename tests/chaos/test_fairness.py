"""A workspace with very many runs queued does not hold up one with few."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from cli.children import spawn
from cli.ports import random_port
from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, http, output
from tests.e2e.target import Target, target
from tests.stack import Stack

CONCURRENCY = 16
QUEUED = 1000
FEW = 10


async def test_ten_runs_go_through_while_another_workspace_has_a_thousand_queued_and_no_slot_comes_free(
    tmp_path: Path,
) -> None:
    env = {"HEADGATE_CONCURRENCY": str(CONCURRENCY)}
    with Stack(tmp_path, env=env) as stack:
        async with calling(stack) as heavy, target() as web:
            web.hold("/slow")
            await _flood(heavy, web)
            made = await heavy.call("POST", "/v1/workspaces", {"name": "light", "plan": "enterprise"})
            headers = {"Authorization": f"Bearer {made.body['admin_key']}", "Content-Type": "application/json"}
            async with aiohttp.ClientSession(headers=headers) as session:
                light = Caller(stack, session)
                quick = await light.deploy(chain(http("a", web.url("/quick")), output("{{ a.body.path }}")))
                answers = await asyncio.gather(*[light.start(quick) for _ in range(FEW)])
            assert [answer.body["output"] for answer in answers] == ["/quick"] * FEW
            # Nothing has come free meanwhile, and what waits has not begun.
            assert len(web.to("/slow")) == CONCURRENCY
            with _another_executor(stack):
                await web.received("/slow", 2 * CONCURRENCY)
                web.release("/slow")
                await web.received("/slow", QUEUED)
                await until(lambda: _all_have_ended(heavy))
            assert set(web.calls("/slow").values()) == {1}


@contextmanager
def _another_executor(stack: Stack) -> Iterator[None]:
    """One beside those that the stack started: it takes its part of what waits."""
    environment = Path(f"/proc/{stack.process('executor')['pid']}/environ").read_text().split("\0")
    env = dict(line.split("=", 1) for line in environment if "=" in line)
    env |= {"HEADGATE_INDEX": "1", "HEADGATE_PORT": str(random_port())}
    env.pop("HEADGATE_PARENT_FD")
    process = spawn([sys.executable, "-m", "services.executor"], env=env, log=stack.data / "logs" / "executor-1.log")
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


async def _all_have_ended(heavy: Caller) -> bool:
    lists = [await heavy.call("GET", f"/v1/runs?status={status}&limit=1") for status in ("queued", "running")]
    return all(each.status == 200 and not each.body["data"] for each in lists)


async def _flood(heavy: Caller, web: Target) -> None:
    slow = await heavy.deploy(chain(http("a", web.url("/slow")), output("x")))
    answer = await heavy.call("POST", f"/v1/deployments/{slow}/batch", {"inputs": [{"text": "x"}] * QUEUED})
    assert answer.status == 202, answer.body
    await web.received("/slow", CONCURRENCY)
