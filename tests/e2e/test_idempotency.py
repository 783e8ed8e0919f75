"""`Idempotency-Key`: however often, wherever and in whatever state it is sent, it means one run."""

import asyncio

import pytest

from libs.runtime.ids import new_id
from tests.e2e.caller import Caller, assert_whole
from tests.e2e.flows import chain, http, output
from tests.e2e.target import Target


async def _deploy(caller: Caller, web: Target) -> str:
    return await caller.deploy(chain(http("a", web.url("/a")), output("{{ in.text }}")))


async def test_fifty_identical_calls_at_once_are_one_run_and_all_get_its_result(caller: Caller, web: Target) -> None:
    web.hold("/a")
    deployment, key = await _deploy(caller, web), new_id("key")
    calls = [asyncio.create_task(caller.start(deployment, key=key, gateway=n % 2)) for n in range(50)]
    await web.received("/a")
    web.release("/a")
    answers = await asyncio.gather(*calls)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.run_id for answer in answers}) == 1
    assert all(answer.body == answers[0].body for answer in answers)
    assert answers[0].body["status"] == "completed"
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(web.to("/a")) == 1
    assert_whole(await caller.events(answers[0].run_id), ["in", "a", "out"])


@pytest.mark.parametrize("gateway", [0, 1])
async def test_a_finished_run_is_answered_again_and_says_so(caller: Caller, web: Target, gateway: int) -> None:
    deployment, key = await _deploy(caller, web), new_id("key")
    first = await caller.start(deployment, key=key)
    again = await caller.start(deployment, key=key, gateway=gateway)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.status, again.body) == (200, first.body)
    assert len(web.to("/a")) == 1


async def test_an_asynchronous_call_is_answered_again_with_the_run_as_it_is(caller: Caller, web: Target) -> None:
    web.hold("/a")
    deployment, key = await _deploy(caller, web), new_id("key")
    first = await caller.start(deployment, mode="async", key=key)
    await web.received("/a")
    running = await caller.start(deployment, mode="async", key=key, gateway=1)
    web.release("/a")
    await caller.ended(first.run_id)
    ended = await caller.start(deployment, mode="async", key=key, gateway=1)
    assert [answer.status for answer in (first, running, ended)] == [202] * 3
    assert {answer.run_id for answer in (first, running, ended)} == {first.run_id}
    assert [answer.body["status"] for answer in (first, running, ended)] == ["queued", "running", "completed"]
    assert ended.headers["Location"] == f"/v1/runs/{first.run_id}"


async def test_a_stream_is_sent_again_from_its_beginning(caller: Caller, web: Target) -> None:
    deployment, key = await _deploy(caller, web), new_id("key")
    texts = []
    for gateway in (0, 1):
        url = f"{caller.stack.urls[gateway]}/v1/deployments/{deployment}/runs"
        body = {"input": {"text": "x"}, "mode": "stream"}
        async with caller.session.post(url, json=body, headers={"Idempotency-Key": key}) as stream:
            texts.append(await stream.text())
    assert texts[0] == texts[1]
    assert len(web.to("/a")) == 1


async def test_the_same_key_with_another_body_is_refused(caller: Caller, web: Target) -> None:
    deployment, key = await _deploy(caller, web), new_id("key")
    await caller.start(deployment, "x", key=key)
    for gateway in (0, 1):
        other = await caller.start(deployment, "y", key=key, gateway=gateway)
        assert (other.status, other.body["code"]) == (422, "idempotency_conflict")
    assert len(web.to("/a")) == 1


async def test_the_order_of_names_and_spaces_in_a_body_make_no_difference(caller: Caller, web: Target) -> None:
    deployment, key = await _deploy(caller, web), new_id("key")
    url = f"{caller.stack.url}/v1/deployments/{deployment}/runs"
    ids = set()
    for body in ('{"input": {"text": "x"}, "session_id": "s"}', '{ "session_id":"s","input":{"text":"\\u0078"} }'):
        async with caller.session.post(url, data=body, headers={"Idempotency-Key": key}) as response:
            ids.add(response.headers["Headgate-Run-Id"])
    assert len(ids) == 1


async def test_a_key_means_the_same_with_and_without_quotes(caller: Caller, web: Target) -> None:
    deployment, key = await _deploy(caller, web), new_id("key")
    answers = [await caller.start(deployment, key=each) for each in (key, f'"{key}"', f" {key} ")]
    assert len({answer.run_id for answer in answers}) == 1


async def test_a_key_belongs_to_its_deployment(caller: Caller, web: Target) -> None:
    key = new_id("key")
    answers = [await caller.start(await _deploy(caller, web), key=key) for _ in range(2)]
    assert answers[0].run_id != answers[1].run_id


@pytest.mark.parametrize(("length", "status"), [(1, 200), (255, 200), (256, 400), (4000, 400)])
async def test_a_key_has_one_to_255_characters(caller: Caller, web: Target, length: int, status: int) -> None:
    answer = await caller.start(await _deploy(caller, web), key="k" * length)
    assert answer.status == status
    if status == 400:
        assert answer.body["code"] == "invalid_input"
        assert web.requests == []


@pytest.mark.parametrize("key", ["", '""', "a\tb"])
async def test_what_is_no_key_is_refused(caller: Caller, web: Target, key: str) -> None:
    answer = await caller.start(await _deploy(caller, web), key=key)
    assert (answer.status, answer.body["code"]) == (400, "invalid_input")
