"""Bad bodies: refused with a clear 400 or 413 that names each place, and nothing is lost or left behind by them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import Caller
from tests.api.contract import check_problem
from tests.api.wire import Wire, head
from tests.flows.documents import greeter
from tests.stack import Stack

LIMIT = 10 * 1024 * 1024
MEGABYTE = 1024 * 1024
DEEP = 100_000

NOT_JSON = {
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": json.dumps({"name": "Ada"}).encode("utf-16"),
    "truncated": b'{"name": "Ada", "nodes": [',
    "two values": b"{} {}",
    "nested 100,000 deep": b'{"name": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nested 100,000 deep, never closed": b"[" * DEEP,
    "nested 300 deep": b'{"name": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "beyond a double": b'{"name": 1e999}',
    "beyond any integer": b'{"name": ' + b"9" * 100_000 + b"}",
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\udfff": 1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a form": b"name=Ada&nodes=1",
    "an array": b"[]",
    "a string": b'"name"',
    "a number": b"1",
    "null": b"null",
}


@pytest.fixture
async def targets(caller: Caller) -> dict[str, str]:
    """The calls that take a body, by name."""
    deployment = await caller.deploy()
    return {
        "runs": f"/v1/deployments/{deployment['id']}/runs",
        "flows": "/v1/flows",
        "keys": "/v1/keys",
        "deployments": f"/v1/flows/{deployment['flow_id']}/deployments",
    }


@pytest.mark.parametrize("name", ["runs", "flows", "keys", "deployments"])
@pytest.mark.parametrize("what", list(NOT_JSON))
async def test_a_body_that_is_no_json_object_is_a_400(
    caller: Caller, targets: dict[str, str], name: str, what: str
) -> None:
    refused = await caller.post(targets[name], raw=NOT_JSON[what], expect=400)
    assert refused["code"] == "invalid_input"
    assert (await caller.get("/v1/runs"))["data"] == []


@pytest.mark.parametrize(
    "value",
    [json.dumps("\ud800")[1:-1], "\\ud800\\ud800", "abc\\udc00def", "\\ud83d"],
)
async def test_half_a_surrogate_pair_never_enters_a_flow_or_a_run(
    caller: Caller, targets: dict[str, str], value: str
) -> None:
    document = json.dumps({**greeter(), "slug": "other"}).replace("Hello", value).encode()
    await caller.post("/v1/flows", raw=document, expect=400)
    await caller.post(targets["runs"], raw=b'{"input": {"name": "%b"}}' % value.encode(), expect=400)
    await caller.post(targets["runs"], raw=b'{"input": {"name": "Ada", "%b": 1}}' % value.encode(), expect=400)


@pytest.mark.parametrize(
    "name",
    ["\x00", "😀" * 100, "\u202e", "\ufffe\uffff", "{{ in.name }}", "</script>", "'; DROP TABLE runs; --"],
)
async def test_strange_text_comes_through_unchanged(caller: Caller, targets: dict[str, str], name: str) -> None:
    run = await caller.post(targets["runs"], {"input": {"name": name}})
    assert run["output"] == f"Hello, {name}!"
    (listed,) = (await caller.get("/v1/runs"))["data"]
    assert listed == run


@pytest.mark.parametrize("value", [10**30, -(10**400), 2**64, 1.5e308, 5e-324, 0.1])
async def test_a_number_that_json_has_is_kept_to_its_last_digit(
    caller: Caller, targets: dict[str, str], value: float
) -> None:
    run = await caller.post(targets["runs"], {"input": {"name": "Ada", "n": value}, "metadata": {"n": value}})
    again = await caller.get(f"/v1/runs/{run['id']}")
    assert again["status"] == "completed"
    assert again["input"]["n"] == again["metadata"]["n"] == value


@pytest.mark.parametrize("depth", [100, 200, 900, 950, 970, 975, 980, 985, 990, 1000, 1100])
async def test_what_is_nested_deep_completes_or_is_refused(caller: Caller, targets: dict[str, str], depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    for body in (
        b'{"input": {"name": "Ada"}, "metadata": %b}' % nested,
        b'{"input": {"name": "Ada", "x": %b}}' % nested,
        b'{"input": {"name": "Ada"}, "tweaks": {"hi": {"text": %b}}}' % nested,
    ):
        answer = await caller.call("POST", targets["runs"], raw=body)
        assert answer.status == 400 or answer.json["status"] == "completed"
        assert answer.status == 400 or depth <= 200


async def test_of_two_members_with_one_name_the_last_counts(caller: Caller, targets: dict[str, str]) -> None:
    run = await caller.post(targets["runs"], raw=b'{"input": {"name": "Ada"}, "input": {"name": "x", "name": "Bob"}}')
    assert run["output"] == "Hello, Bob!"


async def test_every_fault_of_a_body_is_named_at_once(caller: Caller, targets: dict[str, str]) -> None:
    async def pointers(path: str, body: Any) -> list[str]:
        answer = await caller.call("POST", path, body)
        assert answer.status == 400
        return answer.pointers

    bad_run = {"mode": "later", "session_id": 5, "tweaks": [], "metadata": 1, "surplus": 1}
    assert await pointers(targets["runs"], bad_run) == ["/metadata", "/mode", "/session_id", "/surplus", "/tweaks"]
    assert await pointers(targets["keys"], {}) == ["/name", "/permissions"]
    assert await pointers(targets["keys"], {"name": 1, "permissions": "read"}) == ["/name", "/permissions"]
    bad_deployment = {"type": "staging", "mode": 1, "version": 0, "sync_timeout_seconds": -1}
    assert await pointers(targets["deployments"], bad_deployment) == sorted(f"/{name}" for name in bad_deployment)
    bad_flow = {"name": "", "nodes": [{"id": "a b", "type": "template"}, {"type": "nope"}], "edges": [{}]}
    found = await pointers(targets["flows"], bad_flow)
    assert {"/name", "/nodes/0/id", "/nodes/1/type", "/edges/0/source", "/edges/0/target"} <= set(found)


async def test_every_fault_of_an_input_is_named_at_once(caller: Caller) -> None:
    document = greeter()
    document["nodes"][0]["config"]["fields"] += [
        {"name": "age", "type": "integer", "required": True, "minimum": 0},
        {"name": "mail", "type": "string", "pattern": "^.+@.+$"},
        {"name": "kind", "type": "string", "enum": ["a", "b"]},
    ]
    deployment = await caller.deploy(document)
    sent = {"input": {"name": 7, "mail": "nobody", "kind": "c", "free": 1}}
    answer = await caller.call("POST", f"/v1/deployments/{deployment['id']}/runs", sent)
    assert answer.status == 400
    assert answer.pointers == ["/input/age", "/input/kind", "/input/mail", "/input/name"]
    answer = await caller.call("POST", f"/v1/deployments/{deployment['id']}/runs", {"input": []})
    assert (answer.status, answer.pointers) == (400, ["/input"])


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary", "?", "a/b; charset=x"]
)
async def test_the_content_type_does_not_matter(caller: Caller, targets: dict[str, str], kind: str) -> None:
    run = await caller.post(targets["runs"], {"input": {"name": "Ada"}}, headers={"Content-Type": kind})
    assert run["output"] == "Hello, Ada!"


async def test_a_missing_body_is_an_empty_object(caller: Caller, targets: dict[str, str]) -> None:
    answer = await caller.call("POST", targets["runs"])
    assert (answer.status, answer.pointers) == (400, ["/input/name"])
    await caller.post(targets["deployments"], expect=201)


async def test_a_compressed_body_is_read_and_a_broken_one_refused(caller: Caller, targets: dict[str, str]) -> None:
    packed = gzip.compress(b'{"input": {"name": "Ada"}}')
    gzipped = {"Content-Encoding": "gzip"}
    assert (await caller.post(targets["runs"], raw=packed, headers=gzipped))["output"] == "Hello, Ada!"
    for broken in (b'{"input": {"name": "Ada"}}', packed[:-9], packed[:4] + b"\xff" * 20):
        await caller.post(targets["runs"], raw=broken, headers=gzipped, expect=400)
    bomb = gzip.compress(b" " * (200 * MEGABYTE))
    await caller.post(targets["runs"], raw=bomb, headers=gzipped, expect=413)


async def test_a_body_of_just_the_limit_is_read_and_one_byte_more_refused(
    caller: Caller, targets: dict[str, str]
) -> None:
    body = b'{"input": {"name": "Ada"}}'
    run = await caller.post(targets["runs"], raw=body.ljust(LIMIT))
    assert run["status"] == "completed"
    await caller.post(targets["runs"], raw=body.ljust(LIMIT + 1), expect=413)


async def test_bodies_of_50_mb_are_refused_while_memory_stays_flat(
    stack: Stack, caller: Caller, targets: dict[str, str]
) -> None:
    memory = _memory(stack)
    for path in targets.values():
        await caller.post(path, raw=b"x" * (50 * MEGABYTE), expect=413)
        await caller.post(path, raw=b'{"name": "' + b"x" * (50 * MEGABYTE) + b'"}', expect=413)
    grown = _memory(stack) - memory
    assert grown < 60 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB more"
    run = await caller.post(targets["runs"], {"input": {"name": "Ada"}})
    assert run["status"] == "completed"


def test_a_body_that_announces_too_much_is_refused_before_it_comes(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("POST", "/v1/flows", {**stack.headers, "Content-Length": str(50 * MEGABYTE)}))
        assert _code(wire) == (413, "payload_too_large")


def test_a_chunked_body_that_never_ends_is_cut_off_at_the_limit(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("POST", "/v1/flows", {**stack.headers, "Transfer-Encoding": "chunked"}))
        for _ in range(LIMIT // MEGABYTE + 1):
            wire.send(b"100000\r\n" + b" " * MEGABYTE + b"\r\n")
        assert _code(wire) == (413, "payload_too_large")


def test_after_a_body_that_was_too_large_the_connection_serves_the_next_request(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        refused = wire.request("POST", "/v1/flows", {**stack.headers}, b"x" * (LIMIT + MEGABYTE))
        assert refused.status == 413
        assert wire.request("GET", "/v1/flows", {**stack.headers}).status == 200


def test_a_chunked_body_without_a_length_is_read(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("POST", "/v1/flows", {**stack.headers, "Transfer-Encoding": "chunked"}))
        wire.send(b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in b'{"name": "x"}') + b"0\r\n\r\n")
        answer = wire.answer()
    assert (answer.status, answer.pointers) == (400, ["/nodes"])


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Length": "50000000"}, b"", 413),
        ({"Content-Length": "2", "Authorization": "Bearer sk-" + "x" * 40}, b"", 401),
    ],
)
def test_a_client_that_waits_is_not_asked_for_a_body_that_is_refused(
    stack: Stack, headers: dict[str, str | bytes], body: bytes, status: int
) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("POST", "/v1/flows", {**stack.headers, **headers, "Expect": "100-continue"}) + body)
        answer = wire.answer()
    assert answer.status == status
    assert answer.headers["Connection"] == "close"


def test_a_client_that_waits_is_asked_for_a_body_that_is_read(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("POST", "/v1/flows", {**stack.headers, "Expect": "100-Continue", "Content-Length": "2"}))
        assert wire.answer().status == 100
        wire.send(b"{}")
        assert wire.answer().status == 400
        other = {**stack.headers, "Expect": "the unexpected"}
        assert wire.request("POST", "/v1/flows", other, b"{}").status == 400


def _code(wire: Wire) -> tuple[int, str]:
    answer = wire.answer()
    problem = check_problem(answer.status, answer.headers, answer.content, str(answer))
    return answer.status, problem["code"]


def _memory(stack: Stack) -> int:
    """What the first gateway has resident, in bytes."""
    status = Path(f"/proc/{stack.process('gateway')['pid']}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
