"""What a caller gets of a run: the three modes, the answer's headers, and what a run costs the log."""

import asyncio
import json

import pytest

from tests.e2e.broker import broker_of, messages
from tests.e2e.caller import Caller, assert_whole
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Target


async def test_a_flow_of_pure_nodes_costs_two_appends(caller: Caller) -> None:
    nodes = [template("a", "{{ in.text }}a"), template("b", "{{ a.text }}b"), output("{{ b.text }}")]
    answer = await caller.start(await caller.deploy(chain(*nodes)), "x")
    assert answer.body["output"] == "xab"
    assert_whole(await caller.events(answer.run_id), ["in", "a", "b", "out"])
    async with broker_of(caller.stack) as broker:
        assert await messages(broker, answer.run_id) == {"requested": 1, "ended": 1}


async def test_a_node_with_effects_is_on_the_log_before_it_begins(caller: Caller, web: Target) -> None:
    web.hold("/a")
    deployment = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}")))
    run_id = await caller.submit(deployment)
    await web.received("/a")
    assert (await caller.events(run_id))[-1]["node"] == "a"
    web.release("/a")
    await caller.ended(run_id)
    async with broker_of(caller.stack) as broker:
        assert await messages(broker, run_id) == {"requested": 1, "progress": 1, "ended": 1}


async def test_a_synchronous_run_that_takes_too_long_is_answered_as_running_and_goes_on(
    caller: Caller, web: Target
) -> None:
    web.hold("/a")
    deployment = await caller.deploy(
        chain(http("a", web.url("/a")), output("{{ a.body.path }}")), sync_timeout_seconds=0.6
    )
    answer = await caller.start(deployment)
    assert answer.status == 202
    assert 0.6 <= answer.seconds < 2
    assert answer.body["status"] == "running"
    assert answer.body["started_at"] is not None
    assert answer.headers["Location"] == f"/v1/runs/{answer.run_id}"
    web.release("/a")
    assert (await caller.ended(answer.run_id))["output"] == "/a"


async def test_an_asynchronous_run_is_found_at_once_on_the_other_gateway(caller: Caller, web: Target) -> None:
    web.hold("/a")
    deployment = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}")))
    for asked, seen in [(0, 1), (1, 0)] * 5:
        answer = await caller.start(deployment, mode="async", gateway=asked)
        found = await caller.run(answer.run_id, gateway=seen)
        listed = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=1", gateway=seen)
        assert answer.status == 202
        assert answer.headers["Location"] == f"/v1/runs/{answer.run_id}"
        assert answer.body["status"] == "queued"
        assert found["status"] in ("queued", "running")
        assert [run["id"] for run in listed.body["data"]] == [answer.run_id]
    web.release("/a")


async def test_every_answer_about_a_run_names_it(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}")))
    done = await caller.start(deployment)
    run_id = done.body["id"]
    path = f"/v1/runs/{run_id}"
    async with caller.session.get(
        f"{caller.stack.url}{path}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.headers["Headgate-Run-Id"] == run_id
    answers = [
        done,
        await caller.call("GET", path),
        await caller.call("GET", f"{path}/events"),
        await caller.call("POST", f"{path}/cancel"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 409]
    assert {answer.run_id for answer in answers} == {run_id}
    streamed = {"input": {}, "mode": "stream"}
    url = f"{caller.stack.url}/v1/deployments/{deployment}/runs"
    async with caller.session.post(url, data=json.dumps(streamed)) as stream:
        text = await stream.text()
    assert f'"run_id":"{stream.headers["Headgate-Run-Id"]}"' in text


@pytest.mark.parametrize("gateway", [0, 1])
async def test_many_callers_at_once_each_get_their_own_run(caller: Caller, web: Target, gateway: int) -> None:
    nodes = chain(http("a", web.url("/a")), output("{{ in.text }}"))
    deployment = await caller.deploy(nodes)
    answers = await asyncio.gather(*[caller.start(deployment, f"t{n}", gateway=gateway) for n in range(40)])
    assert [answer.body["output"] for answer in answers] == [f"t{n}" for n in range(40)]
    assert len({answer.run_id for answer in answers}) == len(web.calls("/a")) == len(web.to("/a")) == 40
