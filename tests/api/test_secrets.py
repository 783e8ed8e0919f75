"""Where secrets never are: in any answer but the first, in a log, on the disk of the event log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.client import Caller
from tests.api.wire import Wire, head
from tests.flows.documents import greeter
from tests.stack import Stack

CANARY = "canary-3f9d1c-input"
MARK = "canary-3f9d1c-description"


async def test_keys_and_inputs_are_in_no_log_and_keys_on_no_disk(stack: Stack, caller: Caller) -> None:
    secrets = [caller.key, stack.admin_key]
    made = await caller.post("/v1/keys", {"name": "x", "permissions": ["read"]}, expect=201)
    rotated = await caller.post(f"/v1/keys/{made['id']}/rotate", {"grace_seconds": 60})
    deployment = await caller.deploy({**greeter(), "description": MARK})
    secrets += [made["key"], rotated["key"], deployment["api_key"], deployment["signing_secret"]]
    runs = f"/v1/deployments/{deployment['id']}/runs"
    await caller.having(deployment["api_key"]).post(runs, {"input": {"name": CANARY}, "metadata": {"note": CANARY}})
    await caller.post(runs, {"input": {"name": [CANARY]}, CANARY: 1}, expect=400)
    await caller.post(runs, raw=b'{"input": "%b' % CANARY.encode(), expect=400)
    for secret in secrets[2:]:
        await caller.having(secret + "x").call("GET", f"/v1/flows?key={secret}")
        _provoke(stack, secret)
    logged = _contents(stack.data / "logs")
    assert _without(secrets, logged)
    assert _without([CANARY], logged)
    stored = _contents(stack.data / "nats")
    assert any(MARK.encode() in content for content in stored.values()), "the log is not where this test looks"
    assert _without(secrets, stored)
    assert _without(secrets, _contents(stack.data / "postgres"))


def _provoke(stack: Stack, secret: str) -> None:
    """Have the gateway stumble over a key: in a broken header, and beside a request that it has to log."""
    for headers in ({"X-API-Key": f"{secret}\x01"}, {"X-API-Key ": secret}, {"X-API-Key": secret * 200}):
        with Wire(stack.url) as wire:
            wire.send(head("GET", "/v1/flows", {**headers}))
            wire.answer()


@pytest.fixture
async def answers(caller: Caller) -> list[str]:
    """Every answer there is about a workspace's things, but those that made them."""
    made = await caller.post("/v1/keys", {"name": "x", "permissions": ["read"]}, expect=201)
    await caller.post(f"/v1/keys/{made['id']}/rotate", {"grace_seconds": 60})
    deployment = await caller.deploy()
    run = await caller.post(f"/v1/deployments/{deployment['id']}/runs", {"input": {"name": "Ada"}})
    one = f"/v1/deployments/{deployment['id']}"
    reads = ["/v1/flows", "/v1/flows/greeter", "/v1/flows/greeter/versions", "/v1/flows/greeter/export"]
    reads += ["/v1/deployments", one, "/v1/runs", f"/v1/runs/{run['id']}", f"/v1/runs/{run['id']}/events"]
    reads += ["/v1/keys", f"/v1/keys/{made['id']}"]
    shown = [(await caller.call("GET", path)).content.decode() for path in reads]
    changes = [("PATCH", one, {"name": "y"}), ("POST", f"{one}/undeploy", None), ("POST", f"{one}/redeploy", None)]
    changes.append(("PATCH", f"/v1/keys/{made['id']}", {"name": "y"}))
    return shown + [(await caller.call(method, path, body)).content.decode() for method, path, body in changes]


def test_no_answer_but_the_first_holds_a_secret(answers: list[str]) -> None:
    for answer in answers:
        assert "whsec_" not in answer
        assert '"key":' not in answer
        assert '"hash"' not in answer
        for found in answer.split("sk-")[1:]:
            assert found[5:13] == "********", answer


def _without(needles: list[str], contents: dict[Path, bytes]) -> bool:
    for path, content in contents.items():
        for text in needles:
            assert text.encode() not in content, (path.name, text[:8])
    return bool(contents)


def _contents(directory: Path) -> dict[Path, bytes]:
    return dict(_read(directory))


def _read(directory: Path) -> Iterator[tuple[Path, bytes]]:
    for path in directory.rglob("*"):
        try:
            if path.is_file():
                yield path, path.read_bytes()
        except OSError:
            continue  # a server has taken it away meanwhile
