"""Flows that call out do so from their file as from the service: same requests, same reading of the answers."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from libs.flows import load, sample_input
from tests.export.engine import Ran, by_engine, performer
from tests.export.processes import by_file
from tests.export.target import Target, serving
from tests.flows.documents import chain, document, edge, node

_EXAMPLES = Path(__file__).parents[2] / "examples" / "flows"


def _called(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An input, one call, all that it gave."""
    return chain(
        node("in", "api_input"),
        node("call", "http_request", config, **more),
        node("out", "api_output", {"value": "{{ call }}"}),
    )


def _settled(ran: Ran) -> Ran:
    """Without what differs from answer to answer."""
    if isinstance(ran.output, dict) and isinstance(ran.output.get("headers"), dict):
        ran.output["headers"].pop("date", None)
    return ran


async def _both(directory: Path, doc: dict[str, Any], given: Any, target: Target) -> tuple[Ran, Ran]:
    """The flow's end in the service and from its file."""
    environment = {"OPENAI_BASE_URL": f"{target.url}/v1", "OPENAI_API_KEY": "sk-provider"}
    async with performer(environment) as performs:
        wanted = await by_engine(doc, given, performs)
    found = await by_file(directory, doc, json.dumps(given), environment=environment)
    return _settled(wanted), _settled(found)


@pytest.mark.parametrize("example", ["triage", "page-brief"])
async def test_examples_answer_as_the_service_does(example: str, target: Target, tmp_path: Path) -> None:
    text = (_EXAMPLES / f"{example}.json").read_text().replace("http://127.0.0.1:8080/", f"{target.url}/page?")
    doc = json.loads(text)
    wanted, found = await _both(tmp_path, doc, sample_input(load(doc)), target)
    assert found == wanted
    assert wanted.status == 0


_REQUESTS: dict[str, dict[str, Any]] = {
    "get": {"url": "URL/echo/ab{{ in.q }}/{{ in.q | urlencode }}?x={{ in.q }}"},
    "unusual path": {"url": "URL/echo/é/../x%7e%2f%2B+/%/?q=ü&r=%20+%2F%3d/?;%26[%40]@"},
    "host and query": {
        "url": "http://127.0.0.1:{{ in.port }}/echo",
        "query": {"a": [1, "{{ in.q }}"], "n": None, "o": {}},
    },
    "whole address": {"url": "{{ in.base }}/echo"},
    "headers": {"url": "URL/echo", "headers": {"X-Q": " {{ in.q }} ", "Accept": "x/y", "Idempotency-Key": "mine"}},
    "JSON": {"url": "URL/echo", "method": "POST", "body": {"a": "{{ in.q }}", "n": 1e16, "é": "ü"}},
    "text": {"url": "URL/echo", "method": "PUT", "body": "é{{ in.q }}"},
    "typed": {"url": "URL/echo", "method": "PATCH", "body": "{{ in.list }}", "headers": {"content-type": "x/z"}},
    "no body": {"url": "URL/echo", "method": "POST"},
    "delete": {"url": "URL/echo", "method": "DELETE"},
    "head": {"url": "URL/echo", "method": "HEAD"},
    "redirect": {"url": "URL/redirect/302/2", "method": "POST", "body": "x", "headers": {"X-Kept": "1"}},
    "redirect that keeps": {"url": "URL/redirect/307/0", "method": "POST", "body": {"a": 1}},
    "see other": {"url": "URL/redirect/303/0", "method": "PUT", "body": "x"},
    "other status": {"url": "URL/status/404"},
    "gzip": {"url": "URL/body/gzip"},
    "binary": {"url": "URL/body/binary"},
    "broken JSON": {"url": "URL/body/broken"},
    "plain text": {"url": "URL/body/text"},
    "empty": {"url": "URL/body/empty"},
}


@pytest.mark.parametrize("name", _REQUESTS)
async def test_a_call_asks_and_reads_as_the_service_does(name: str, target: Target, tmp_path: Path) -> None:
    config = json.loads(json.dumps(_REQUESTS[name]).replace("URL", target.url))
    given = {"q": "a/b c&ü%", "list": [1, 2.5], "base": target.url, "port": target.url.rpartition(":")[2]}
    wanted, found = await _both(tmp_path, _called(config), given, target)
    assert found == wanted
    assert wanted.status == 0


async def test_nothing_private_follows_a_redirect_to_a_stranger(target: Target, tmp_path: Path) -> None:
    async with serving() as stranger:
        config = {
            "method": "POST",
            "url": f"{target.url}/away",
            "query": {"to": f"{stranger.url}/echo"},
            "headers": {"Authorization": "Bearer mine", "Accept-Language": "de"},
            "body": {"a": 1},
        }
        wanted, found = await _both(tmp_path, _called(config), {}, target)
    assert found == wanted
    told = found.output["body"]
    assert (told["headers"].get("authorization"), told["keyed"]) == (None, False)
    assert (told["headers"]["accept-language"], told["body"]) == ("de", '{"a":1}')


_FAILURES: dict[str, dict[str, Any]] = {
    "passing status": {"url": "URL/status/503"},
    "too many redirects": {"url": "URL/redirect/302/9"},
    "too large": {"url": "URL/body/large"},
    "too large inside": {"url": "URL/body/bomb"},
    "no answer in time": {"url": "URL/slow", "timeout_seconds": 0.2},
    "no address": {"url": "{{ in.q }}/x"},
    "broken out of the host": {"url": "http://{{ in.q }}/x"},
    "broken out of a header": {"url": "URL/echo", "headers": {"X": "{{ in.line }}"}},
}


@pytest.mark.parametrize("name", _FAILURES)
async def test_a_call_fails_as_in_the_service(name: str, target: Target, tmp_path: Path) -> None:
    config = json.loads(json.dumps(_FAILURES[name]).replace("URL", target.url))
    wanted, found = await _both(tmp_path, _called(config), {"q": "a/b@c", "line": "a\r\nb"}, target)
    assert found == wanted
    assert wanted.status == 1


async def test_a_refused_connection_may_be_outlived(target: Target, tmp_path: Path) -> None:
    doc = _called({"url": "http://127.0.0.1:9/x"}, on_error="continue")
    doc["nodes"][2]["config"]["value"] = "{{ call.error.code }}"
    assert (await by_file(tmp_path, doc, "{}")).output == "node_failed"


async def test_attempts_are_repeated_with_the_same_key(target: Target, tmp_path: Path) -> None:
    target.failures_left = 2
    doc = _called({"url": f"{target.url}/flaky"}, retry={"max_attempts": 3, "backoff_seconds": 0.01})
    found = await by_file(tmp_path, doc, "{}")
    assert found.output["body"] == {"up": True}
    keys = [call["key"] for call in target.calls]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0].endswith(":call")


async def test_attempts_end(target: Target, tmp_path: Path) -> None:
    target.failures_left = 9
    doc = _called({"url": f"{target.url}/flaky"}, retry={"max_attempts": 2, "backoff_seconds": 0})
    found = await by_file(tmp_path, doc, "{}")
    assert (found.status, found.said) == (1, "node call: node_failed: the other side answered 503\n")
    assert len(target.calls) == 2


async def test_a_node_and_a_run_take_no_longer_than_they_may(target: Target, tmp_path: Path) -> None:
    doc = _called({"url": f"{target.url}/slow"}, timeout_seconds=0.2)
    assert (await by_file(tmp_path, doc, "{}")).said == "node call: node_timeout: the node took longer than 0.2 s\n"
    doc = {**_called({"url": f"{target.url}/slow"}), "settings": {"timeout_seconds": 0.3}}
    assert (await by_file(tmp_path, doc, "{}")).said == "run_timeout: the run took longer than 0.3 s\n"


async def test_a_file_waits_as_long_as_it_is_told_and_no_longer_than_it_may(tmp_path: Path) -> None:
    doc = chain(node("in", "api_input"), node("wait", "delay", {"seconds": "{{ in.n }}"}, timeout_seconds=0.5))
    began = time.monotonic()
    assert (await by_file(tmp_path, doc, '{"n": 0.3}')).output == {}
    assert time.monotonic() - began >= 0.3
    late = await by_file(tmp_path, doc, '{"n": 60}')
    assert late.said == "node wait: node_timeout: the node took longer than 0.5 s\n"
    assert "seconds must be a number" in (await by_file(tmp_path, doc, '{"n": -1}')).said


async def test_nodes_that_reach_outside_run_beside_each_other(target: Target, tmp_path: Path) -> None:
    slow = [
        node(f"s{at}", "http_request", {"url": f"{target.url}/slow"}, timeout_seconds=1, on_error="continue")
        for at in range(4)
    ]
    doc = document(
        [
            node("in", "api_input"),
            *slow,
            node("out", "api_output", {"value": ["{{ s0.error.code }}", "{{ s3.error.code }}"]}),
        ],
        [edge("in", each["id"]) for each in slow] + [edge(each["id"], "out") for each in slow],
        settings={"timeout_seconds": 3},
    )
    assert (await by_file(tmp_path, doc, "{}")).output == ["node_timeout", "node_timeout"]


@pytest.mark.parametrize("config", [{}, {"format": "links"}, {"format": "markdown", "selector": "p, td"}])
async def test_a_page_reads_as_in_the_service(config: dict[str, Any], target: Target, tmp_path: Path) -> None:
    doc = chain(node("in", "api_input"), node("page", "web_scraper", {"url": f"{target.url}/page", **config}))
    wanted, found = await _both(tmp_path, doc, {}, target)
    assert found == wanted
    assert wanted.output["title"] == "A page"


async def test_what_is_no_page_fails_as_in_the_service(target: Target, tmp_path: Path) -> None:
    for path in ("/echo", "/status/404"):
        doc = chain(node("in", "api_input"), node("page", "web_scraper", {"url": target.url + path}))
        wanted, found = await _both(tmp_path, doc, {}, target)
        assert found == wanted
        assert wanted.status == 1


async def test_a_model_is_asked_as_by_the_service(target: Target, tmp_path: Path) -> None:
    config = {"model": "openai/gpt-4o", "system": "Be {{ in.mood }}", "prompt": "{{ in.q }}", "temperature": 0.5}
    doc = chain(
        node("in", "api_input"), node("llm", "prompt", config),
        node("out", "api_output", {"value": ["{{ llm.text }}", "{{ llm.reasoning }}", "{{ llm.usage }}"]}),
    )  # fmt: skip
    wanted, found = await _both(tmp_path, doc, {"mood": "kind", "q": "why"}, target)
    assert found == wanted
    assert wanted.output[:2] == ["answer to why", "hm"]
    assert target.models[0] == target.models[1]
    assert target.models[1]["key"] == "Bearer sk-provider"


async def test_what_a_model_cost_is_told_where_it_is_read(target: Target, tmp_path: Path) -> None:
    doc = chain(node("in", "api_input"), node("llm", "prompt", {"model": "openai/gpt-4o", "prompt": "x"}))
    wanted, found = await _both(tmp_path, doc, {}, target)
    assert found == wanted
    assert wanted.output["cost_usd"] > 0


async def test_a_model_that_refuses_fails_the_run(target: Target, tmp_path: Path) -> None:
    doc = chain(
        node("in", "api_input"),
        node("llm", "prompt", {"model": "openai/none", "prompt": "x"}),
        node("o", "api_output", {"value": 1}),
    )
    wanted, found = await _both(tmp_path, doc, {}, target)
    assert found == wanted
    assert "no such model" in found.said


async def test_further_providers_are_found_in_the_environment(target: Target, tmp_path: Path) -> None:
    doc = chain(
        node("in", "api_input"), node("llm", "prompt", {"model": "my-llm/m", "prompt": "x"}),
        node("o", "api_output", {"value": "{{ llm.model }}"}),
    )  # fmt: skip
    environment = {"HEADGATE_PROVIDER_MY_LLM_BASE_URL": f"{target.url}/v1"}
    assert (await by_file(tmp_path, doc, "{}", environment=environment)).output == "my-llm/m"
    assert "HEADGATE_PROVIDER_MY_LLM_BASE_URL" in (await by_file(tmp_path, doc, "{}")).said


async def test_secrets_come_from_the_environment(target: Target, tmp_path: Path) -> None:
    doc = _called(
        {"url": f"{target.url}/echo", "headers": {"X-Key": '{{ secret["my-key"] }}', "X-Other": "{{ secret.my_key }}"}}
    )
    environment = {"HEADGATE_SECRET_MY_KEY": "one", "HEADGATE_SECRET_MY_KEY_2": "two"}
    headers = (await by_file(tmp_path, doc, "{}", environment=environment)).output["body"]["headers"]
    assert (headers["x-key"], headers["x-other"]) == ("one", "two")
    assert (await by_file(tmp_path, doc, "{}")).said == "node call: node_failed: the secret 'my-key' is not set\n"


async def test_files_are_read_from_a_path_an_address_or_the_input(target: Target, tmp_path: Path) -> None:
    fields = [{"name": "doc", "type": "file", "required": True, "max_length": 1000}]
    doc = chain(node("in", "api_input", {"fields": fields}), node("out", "api_output", {"value": "{{ in.doc }}"}))
    (tmp_path / "a.txt").write_text("ü")
    wanted = {
        "name": "a.txt",
        "content_type": "text/plain",
        "size": 2,
        "text": "ü",
        "base64": base64.b64encode("ü".encode()).decode(),
    }
    assert (await by_file(tmp_path, doc, json.dumps({"doc": str(tmp_path / "a.txt")}))).output == wanted
    found = (await by_file(tmp_path, doc, json.dumps({"doc": {"url": f"{target.url}/latin"}}))).output
    assert (found["name"], found["text"]) == ("latin", "<title>é</title><p>ü")
    given = {"name": "x", "base64": "eA=="}
    assert (await by_file(tmp_path, doc, json.dumps({"doc": given}))).output == given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("/nowhere", "is not the path of a file that can be read"),
        ({"name": "x"}, "must be a path, an address, or an object with `base64`"),
        (5, "must be file"),
        (__file__, "must not be longer than 1000"),
    ],
)
async def test_what_is_no_file_is_refused(given: Any, said: str, tmp_path: Path) -> None:
    fields = [{"name": "doc", "type": "file", "max_length": 1000}]
    doc = chain(node("in", "api_input", {"fields": fields}), node("out", "api_output", {"value": "{{ in.doc }}"}))
    assert await by_file(tmp_path, doc, json.dumps({"doc": given})) == Ran(status=2, said=f"doc: {said}\n")
