"""A real page, read and given to a model over the network: the whole way of the example `page-brief`."""

import asyncio
import json
import pydoc
from pathlib import Path
from typing import Any

import pytest

from libs.runtime.ids import new_id
from tests.e2e.caller import Caller, assert_whole
from tests.e2e.flows import branches, prompt
from tests.e2e.model import model
from tests.e2e.target import Prepared, Target

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "flows"
PAGES = ("/usr/share/doc/nodejs/api/http.html", "/usr/share/doc/git/html/git-config.html")
"""Pages that distributions bring along."""
ANSWER = ["The ", "page ", "describes ", "an ", "interface – ", "in ", "détail."]
THOUGHT = ["Let me ", "read… ", "done."]


def _page() -> bytes:
    """A real HTML page of some hundred kB: one of the distribution's, else what Python says of its own library."""
    found = next((Path(page) for page in PAGES if Path(page).exists()), None)
    return found.read_bytes() if found else pydoc.html.page("asyncio", pydoc.html.document(asyncio)).encode()


def _page_brief() -> dict[str, Any]:
    """The example as it is shipped, with a model that has a price."""
    document: dict[str, Any] = json.loads((EXAMPLES / "page-brief.json").read_text())
    document["slug"] = new_id("flow").replace("_", "-")
    next(node for node in document["nodes"] if node["id"] == "brief")["config"]["model"] = "openai/gpt-4o"
    return document


async def test_a_large_page_reaches_the_model_and_its_answer_comes_back_word_by_word(
    caller: Caller, web: Target, model_port: int
) -> None:
    page = _page()
    assert len(page) > 200_000
    web.answer("/page", [Prepared(body=page, headers={"Content-Type": "text/html; charset=utf-8"})])
    deployment = await caller.deploy(_page_brief())
    body = {"input": {"url": web.url("/page")}}
    async with model(model_port, ANSWER, reasoning=THOUGHT, pause_seconds=0.05) as speaker:
        answer = await caller.call("POST", f"/v1/deployments/{deployment}/runs", body)
    assert answer.body["status"] == "completed", answer.body
    assert answer.body["output"]["brief"] == "".join(ANSWER)
    assert answer.body["output"]["url"] == web.url("/page")
    events = await caller.events(answer.run_id)
    assert_whole(events, ["in", "page", "brief", "out"])
    finished = {e["node"]: e["data"] for e in events if e["type"] == "node.finished"}

    read = finished["page"]["output"]
    (asked,) = speaker.asked
    assert len(read["text"]) > 50_000
    assert read["title"] == answer.body["output"]["title"] != ""
    assert "<" not in read["title"]
    assert asked["messages"][-1] == {"role": "user", "content": f"{read['title']}\n\n{read['text']}"}
    assert asked["messages"][0]["role"] == "system"
    assert (asked["model"], asked["stream"], asked["temperature"]) == ("gpt-4o", True, 0.2)
    assert speaker.authorizations == ["Bearer sk-of-the-model-server"]

    deltas = [e["data"] for e in events if e["type"] == "node.delta"]
    said = finished["brief"]["output"]
    assert len(deltas) > 2
    assert "".join(delta.get("text", "") for delta in deltas) == said["text"] == "".join(ANSWER)
    assert "".join(delta.get("reasoning", "") for delta in deltas) == said["reasoning"] == "".join(THOUGHT)
    assert said["usage"] == {"input_tokens": 1000, "output_tokens": len(ANSWER)}
    assert said["cost_usd"] > 0
    assert answer.body["usage"] == {**said["usage"], "cost_usd": said["cost_usd"]}


async def test_a_run_adds_up_what_its_models_used(caller: Caller, model_port: int) -> None:
    nodes = [prompt("one", "openai/gpt-4o"), prompt("two", "openai/gpt-4o-mini"), prompt("three", "openai/unheard-of")]
    document = branches(*nodes, value=["{{ one.cost_usd }}", "{{ two.cost_usd }}", "{{ three.cost_usd }}"])
    deployment = await caller.deploy(document)
    async with model(model_port, ANSWER):
        answer = await caller.start(deployment)
    one, two, three = answer.body["output"]
    assert one > two > three == 0
    assert answer.body["usage"]["input_tokens"] == 3000
    assert answer.body["usage"]["output_tokens"] == 3 * len(ANSWER)
    assert abs(answer.body["usage"]["cost_usd"] - one - two) < 1e-9


async def test_a_model_that_says_all_at_once_is_heard_to_its_last_word(caller: Caller) -> None:
    text = "So much, and all of it in a moment; 東京 too."
    deployment = await caller.deploy(branches(prompt("llm", "echo/echo"), value="{{ llm.text }}"))
    answer = await caller.start(deployment, text)
    deltas = [e["data"]["text"] for e in await caller.events(answer.run_id) if e["type"] == "node.delta"]
    assert answer.body["output"] == "".join(deltas) == text


async def test_a_model_that_is_not_there_fails_the_run_by_name(caller: Caller) -> None:
    answer = await caller.start(await caller.deploy(branches(prompt("llm", "openai/gpt-4o"), value="{{ llm.text }}")))
    assert answer.body["status"] == "failed"
    assert (answer.body["error"]["node"], answer.body["error"]["code"]) == ("llm", "node_failed")
    assert "sk-of-the-model-server" not in json.dumps(answer.body)


@pytest.mark.parametrize(
    ("example", "given", "output"),
    [
        ("chat", {"input": "Are you there?"}, "Are you there?"),
        (
            "write",
            {"topic": "Logs"},
            {"topic": "Logs", "text": "Write this as article, in a matter-of-fact tone: Logs"},
        ),
        ("translate", {"text": "Hi"}, {"language": "German", "translation": "Into German:\n\nHi"}),
        ("teach", {"question": "Why?"}, {"answer": "For a beginner: Why?", "thinking": None}),
    ],
)
async def test_d38_an_example_of_each_application_works_as_it_is_shipped(
    caller: Caller, example: str, given: dict[str, Any], output: Any
) -> None:
    document = json.loads((EXAMPLES / f"{example}.json").read_text())
    document["slug"] = new_id("flow").replace("_", "-")
    deployment = await caller.deploy(document)
    answer = await caller.call("POST", f"/v1/deployments/{deployment}/runs", {"input": given})
    assert (answer.body["status"], answer.body["output"]) == ("completed", output)
