"""Anything at all at every documented call, with a good key: never a 5xx, always a documented answer, never a hang."""

import http.client
import json
import os
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.api.contract import Contract
from tests.flows.documents import greeter
from tests.stack import Stack

_TIMEOUT_SECONDS = 10.0

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
KNOWN_WORDS = [
    *("name", "slug", "nodes", "edges", "settings", "permissions", "deployment_ids", "expires_at", "active", "plan"),
    *("limits", "grace_seconds", "input", "mode", "session_id", "tweaks", "metadata", "version", "type", "hi"),
]
guesses = st.dictionaries(st.sampled_from(KNOWN_WORDS), values | st.sampled_from(["sync", "async", "stream", "read"]))
queries = st.dictionaries(
    st.sampled_from(["limit", "cursor", "since", "until", "status", "session_id", "format", "flow_id"]),
    texts | st.sampled_from(["1", "json", "failed", "2020-01-01T00:00:00Z"]),
    max_size=3,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A flow that was good, with something anywhere in it replaced or taken away."""
    document = deepcopy(greeter())
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.booleans()):
                place[key] = draw(values)
            else:
                del place[key]
            break
    return document


bodies = st.binary(max_size=200) | (values | guesses | mutated()).map(lambda value: json.dumps(value).encode())


class Sender:
    """A caller by plain blocking HTTP, which holds every answer to the contract."""

    def __init__(self, url: str, contract: Contract) -> None:
        self._host = urlsplit(url).netloc
        self._contract = contract
        self.key = ""
        self.ids: dict[str, str] = {}

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        self._contract.check(method, path, response.status, CIMultiDict(response.getheaders()), content)
        return json.loads(content) if content.startswith(b"{") else None


@pytest.fixture(scope="module")
def sender(stack: Stack, contract: Contract) -> Iterator[Sender]:
    """The admin of a workspace that has one of everything."""
    sender = Sender(stack.urls[1], contract)
    sender.key = stack.admin_key
    made = sender.send("POST", "/v1/workspaces", b'{"name": "anything", "plan": "enterprise"}')
    sender.key = made["admin_key"]
    flow = sender.send("POST", "/v1/flows", json.dumps(greeter()).encode())
    deployment = sender.send("POST", f"/v1/flows/{flow['id']}/deployments", b"{}")
    run = sender.send("POST", f"/v1/deployments/{deployment['id']}/runs", b'{"input": {"name": "Ada"}}')
    key = sender.send("POST", "/v1/keys", b'{"name": "x", "permissions": ["read"]}')
    sender.ids = {
        "flow_id": flow["id"],
        "deployment_id": deployment["id"],
        "run_id": run["id"],
        "key_id": key["id"],
        "version": "1",
    }
    yield sender
    for path in (f"/v1/flows/{flow['id']}", f"/v1/deployments/{deployment['id']}", f"/v1/runs/{run['id']}"):
        assert sender.send("GET", path, b"")["id"] in sender.ids.values()


@settings(
    max_examples=300,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_anything_at_all_has_a_documented_answer(sender: Sender, contract: Contract, data: st.DataObject) -> None:
    method, template = data.draw(st.sampled_from(contract.operations))
    real = method in ("GET", "PUT", "PATCH", "POST") and not template.endswith("/undeploy") and data.draw(st.booleans())

    def fill(name: re.Match[str]) -> str:
        if real and name[1] in sender.ids:
            return sender.ids[name[1]]
        return quote(data.draw(texts.filter(bool)), safe="")

    path = re.sub(r"{(\w+)}", fill, template)
    query = urlencode(data.draw(queries)) if method == "GET" else ""
    accept = data.draw(st.sampled_from(["*/*", "text/event-stream"]))
    sender.send(method, f"{path}?{query}", data.draw(bodies), {"Accept": accept})
