"""Sessions over two gateways: no turn is lost, and what was said is forgotten when it should be."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.stack import Stack

CHAT = {
    "name": "Chat",
    "slug": "chat",
    "settings": {"session_ttl_seconds": 3},
    "nodes": [
        {"id": "in", "type": "api_input", "config": {"fields": [{"name": "text", "type": "string"}]}},
        {"id": "said", "type": "transform", "config": {"expression": "length(session.turns)"}},
        {"id": "llm", "type": "prompt", "config": {"model": "echo/echo", "prompt": "{{ in.text }}", "history": True}},
        {
            "id": "out",
            "type": "api_output",
            "config": {
                "value": {"turns": "{{ said }}", "text": "{{ llm.text }}", "tokens": "{{ llm.usage.input_tokens }}"}
            },
        },
    ],
    "edges": [
        {"source": "in", "target": "said"},
        {"source": "said", "target": "llm"},
        {"source": "llm", "target": "out"},
    ],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("sessions"), gateways=2, executors=2) as running:
        yield running


@pytest.fixture
async def call(stack: Stack) -> AsyncIterator["Chat"]:
    async with aiohttp.ClientSession(headers=stack.headers) as session:
        chat = Chat(stack, session)
        async with session.get(f"{stack.url}/v1/flows/chat") as answer:
            known = answer.status == 200
        if not known:
            for path, body in (("/v1/flows", CHAT), ("/v1/flows/chat/deployments", {})):
                async with session.post(stack.url + path, json=body) as answer:
                    assert answer.status == 201, await answer.text()
        yield chat


class Chat:
    """Says things to the flow."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.session = session

    async def say(self, text: str, session_id: str | None, gateway: int = 0) -> dict:
        body = {"input": {"text": text}, **({"session_id": session_id} if session_id else {})}
        url = f"{self.stack.urls[gateway]}/v1/deployments/chat/runs"
        async with self.session.post(url, json=body) as answer:
            run = await answer.json()
            assert run["status"] == "completed", run
            return run

    async def get(self, session_id: str, gateway: int = 0) -> tuple[int, dict]:
        async with self.session.get(f"{self.stack.urls[gateway]}/v1/sessions/{session_id}") as answer:
            return answer.status, await answer.json()

    async def clear(self, session_id: str, gateway: int = 0) -> int:
        async with self.session.delete(f"{self.stack.urls[gateway]}/v1/sessions/{session_id}") as answer:
            return answer.status


async def test_the_next_call_knows_what_was_said_on_the_other_gateway(call: Chat) -> None:
    turns = [(await call.say(f"word {n}", "s-next", gateway=n % 2))["output"]["turns"] for n in range(6)]
    assert turns == [0, 1, 2, 3, 4, 5]
    status, session = await call.get("s-next")
    assert status == 200
    assert [turn["input"]["text"] for turn in session["turns"]] == [f"word {n}" for n in range(6)]


async def test_the_model_is_sent_the_turns(call: Chat) -> None:
    first = await call.say("my name is Alice", "s-model")
    second = await call.say("what is it", "s-model")
    assert second["output"]["tokens"] > first["output"]["tokens"]


async def test_runs_that_end_at_the_same_moment_all_keep_their_turn(call: Chat) -> None:
    await asyncio.gather(*[call.say(f"t{n}", "s-same", gateway=n % 2) for n in range(30)])
    _, session = await call.get("s-same")
    assert sorted(turn["input"]["text"] for turn in session["turns"]) == sorted(f"t{n}" for n in range(30))


async def test_a_call_without_a_session_is_given_one_where_the_flow_remembers(call: Chat) -> None:
    run = await call.say("hello", None)
    assert run["session_id"]
    assert (await call.say("again", run["session_id"]))["output"]["turns"] == 1


async def test_sessions_do_not_meet(call: Chat) -> None:
    await call.say("a", "s-one")
    assert (await call.say("b", "s-two"))["output"]["turns"] == 0


async def test_a_cleared_session_is_gone_and_begins_anew(call: Chat) -> None:
    await call.say("a", "s-clear")
    assert await call.clear("s-clear", gateway=1) == 204
    assert (await call.get("s-clear"))[0] == 404
    assert (await call.say("b", "s-clear", gateway=1))["output"]["turns"] == 0
    assert await call.clear("s-never") == 404


async def test_a_session_ends_when_nobody_speaks(call: Chat) -> None:
    await call.say("a", "s-quiet")
    began = asyncio.get_running_loop().time()
    while (await call.get("s-quiet"))[0] != 404:
        assert asyncio.get_running_loop().time() - began < 10
    assert (await call.say("b", "s-quiet"))["output"]["turns"] == 0


async def test_another_workspace_does_not_find_it(call: Chat) -> None:
    await call.say("a", "s-mine")
    body = {"name": "other", "plan": "pro"}
    async with call.session.post(f"{call.stack.url}/v1/workspaces", json=body) as answer:
        key = (await answer.json())["admin_key"]
    async with aiohttp.ClientSession(headers={"X-API-Key": key}) as other:
        async with other.get(f"{call.stack.url}/v1/sessions/s-mine") as answer:
            assert answer.status == 404
        async with other.delete(f"{call.stack.url}/v1/sessions/s-mine") as answer:
            assert answer.status == 404
    assert (await call.get("s-mine"))[0] == 200
