"""A workspace with very many runs queued does not hold up one with few."""

import asyncio
from pathlib import Path

import aiohttp

from tests.e2e.caller import Caller, calling
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
            web.release("/slow")
            await web.received("/slow", QUEUED)
            assert set(web.calls("/slow").values()) == {1}


async def _flood(heavy: Caller, web: Target) -> None:
    slow = await heavy.deploy(chain(http("a", web.url("/slow")), output("x")))
    answer = await heavy.call("POST", f"/v1/deployments/{slow}/batch", {"inputs": [{"text": "x"}] * QUEUED})
    assert answer.status == 202, answer.body
    await web.received("/slow", CONCURRENCY)
