"""Every route against another workspace's ids: answered as an id is that nobody has, in the same words.

The routes are asked of the product, so a new one is tried by itself; one that names its parameter in a new way fails
here until it is said what is to be put there.
"""

import json
import re
from typing import Any

import pytest

from libs.edge.run_events import events_route
from services.gateway.api import ROUTES
from tests.api.client import Caller
from tests.flows.documents import greeter
from tests.stack import Stack

OWN = {("PUT", "/v1/secrets/{name}")}
"""What makes one's own by whatever name: another workspace's has nothing to do with it."""

WISHES: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/flows/{flow_id}"): greeter(),
    ("POST", "/v1/collections/{name}/documents"): {"documents": [{"text": "x"}]},
    ("POST", "/v1/deployments/{deployment_id}/batch"): {"inputs": [{"name": "x"}]},
    ("POST", "/v1/deployments/{deployment_id}/runs"): {"input": {"name": "x"}},
    ("PATCH", "/v1/deployments/{deployment_id}"): {"name": "x"},
    ("PATCH", "/v1/keys/{key_id}"): {"name": "x"},
    ("PATCH", "/v1/workspaces/{workspace_id}"): {"plan": "free"},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"events": ["flow_started"]},
    ("POST", "/v1/webhooks/{webhook_id}/redeliver"): {"since": "2020-01-01T00:00:00Z", "which": "all"},
}
"""Bodies that are good, so that what is refused is the id; the others take an empty object or none."""

ADDRESSED_BY_QUERY = {"/flux/api-v2": "/flux/api-v2?flowId={flow_id}"}

TEMPLATES = [(route.method, ADDRESSED_BY_QUERY.get(route.path, route.path)) for route in ROUTES]
ABOUT_SOMETHING = [(method, path) for method, path in TEMPLATES if "{" in path and (method, path) not in OWN]
LISTS = [path for method, path in TEMPLATES if method == "GET" and "{" not in path]


async def one_of_everything(owner: Caller) -> dict[str, str]:
    """Ids of the owner's things, by the name that paths have for them."""
    deployment = await owner.deploy()
    runs = f"/v1/deployments/{deployment['id']}/runs"
    run = await owner.post(runs, {"input": {"name": "Ada"}, "session_id": "session-of-mine"})
    batch = await owner.post(f"/v1/deployments/{deployment['id']}/batch", {"inputs": [{"name": "Ada"}]}, expect=202)
    wish = {"url": "http://127.0.0.1:18999/", "events": ["flow_completed"]}
    webhook = await owner.post("/v1/webhooks", wish, expect=201)
    test = await owner.post(f"/v1/webhooks/{webhook['id']}/test", expect=202)
    await owner.post("/v1/collections", {"name": "collection-of-mine"}, expect=201)
    texts = {"documents": [{"text": "words of mine"}]}
    documents = await owner.post("/v1/collections/collection-of-mine/documents", texts, expect=201)
    await owner.call("PUT", "/v1/secrets/secret-of-mine", {"value": "hidden"})
    return {
        "flow_id": deployment["flow_id"],
        "workflow_id": deployment["flow_id"],
        "deployment_id": deployment["id"],
        "version": "1",
        "run_id": run["id"],
        "job_id": run["id"],
        "batch_id": batch["batch_id"],
        "session_id": "session-of-mine",
        "file_id": await upload(owner),
        "key_id": (await owner.get("/v1/keys"))["data"][0]["id"],
        "workspace_id": owner.workspace,
        "webhook_id": webhook["id"],
        "delivery_id": test["delivery_id"],
        "document_id": str(first_id(documents)),
        "letter_id": "1",
        "collections": "collection-of-mine",
        "secrets": "secret-of-mine",
    }


async def upload(owner: Caller) -> str:
    """A file's id."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nwords of mine\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await owner.call("POST", "/v1/files", raw=body, headers=headers)
    assert answer.status == 201, answer.content
    return str(answer.json["id"])


def first_id(answer: Any) -> Any:
    """The id of the first thing in an answer, however it is wrapped."""
    if isinstance(answer, dict):
        return answer.get("id") or next(found for value in answer.values() if (found := first_id(value)))
    return first_id(answer[0]) if isinstance(answer, list) and answer else (answer if isinstance(answer, str) else None)


def filled(template: str, ids: dict[str, str]) -> str:
    """The path of a thing; `{name}` is a collection's or a secret's."""

    def value(parameter: re.Match[str]) -> str:
        name = template.split("/")[2] if parameter[1] == "name" else parameter[1]
        return ids[name]

    return re.sub(r"{(\w+)}", value, template)


def nobodys(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same form that nobody has."""
    return {name: value[:-4] + value[-4:][::-1] + "x" if name != "version" else value for name, value in ids.items()}


async def asked(caller: Caller, method: str, path: str, wish: Any) -> tuple[int, bytes]:
    """Status and body; the dialects' errors have envelopes of their own."""
    headers = {"Authorization": f"Bearer {caller.key}"}
    url = caller.urls[len(path) % 2] + path
    async with caller.session.request(method, url, headers=headers, json=wish) as answer:
        return answer.status, await answer.read()


def words(content: bytes, ids: dict[str, str]) -> str:
    """An answer without what differs from call to call: its request's id, and the ids themselves."""
    text = re.sub(r"req_[0-9a-z]+", "req", content.decode())
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "id") if len(value) > 3 else text
    return text


async def test_a_foreign_id_is_answered_as_one_that_nobody_has(owner: Caller, stranger: Caller) -> None:
    ids = await one_of_everything(owner)
    unknown = nobodys(ids)
    before = await everything(owner, ids)
    assert len(ABOUT_SOMETHING) >= 45
    for method, template in ABOUT_SOMETHING:
        wish = WISHES.get((method, template), {} if method in ("POST", "PUT", "PATCH") else None)
        theirs = await asked(stranger, method, filled(template, ids), wish)
        nothing = await asked(stranger, method, filled(template, unknown), wish)
        what = f"{method} {template}: {theirs}"
        # What is the installation's is nobody's: only its operator hears more than that.
        expected = 403 if template.startswith("/v1/operations") else 404
        assert theirs[0] == expected, what
        assert nothing[0] == expected, f"{method} {template}: {nothing}"
        assert words(theirs[1], ids) == words(nothing[1], unknown), what
    assert await everything(owner, ids) == before


async def test_no_list_holds_another_workspaces_anything(owner: Caller, stranger: Caller) -> None:
    ids = await one_of_everything(owner)
    secret = [value for name, value in ids.items() if len(value) > 3]
    filters = [
        f"{name}={ids[name]}" for name in ("deployment_id", "flow_id", "session_id", "run_id", "key_id", "webhook_id")
    ]
    assert "/v1/runs" in LISTS
    for path in LISTS:
        for query in ("", "?group_by=key", *[f"?{each}" for each in filters]):
            answer = await stranger.call("GET", path + query)
            text = answer.content.decode()
            for value in secret:
                assert value not in text.replace(query.partition("=")[2] or "\0", ""), f"GET {path}{query}"


async def test_a_notifier_tells_no_stranger_of_a_run(stack: Stack, owner: Caller, stranger: Caller) -> None:
    ids = await one_of_everything(owner)
    url = stack.process("notifier")["url"]
    for route in (events_route(),):
        for accept in ("application/json", "text/event-stream"):
            told = []
            for known in (ids, nobodys(ids)):
                headers = {"Authorization": f"Bearer {stranger.key}", "Accept": accept}
                async with stranger.session.get(url + filled(route.path, known), headers=headers) as answer:
                    told.append((answer.status, words(await answer.read(), known)))
            assert told[0] == told[1]
            assert told[0][0] == 404


@pytest.mark.parametrize("key", [None, "sk-" + "x" * 40])
async def test_without_a_good_key_every_route_is_closed(owner: Caller, key: str | None) -> None:
    ids = await one_of_everything(owner)
    for method, template in TEMPLATES:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        wish = WISHES.get((method, template), {} if method in ("POST", "PUT", "PATCH") else None)
        url = owner.urls[0] + filled(template, ids)
        async with owner.session.request(method, url, headers=headers, json=wish) as answer:
            assert answer.status == 401, f"{method} {template}: {answer.status} {await answer.read()!r}"


async def everything(owner: Caller, ids: dict[str, str]) -> list[str]:
    """What the owner has, as it is shown."""
    paths = [path for path in LISTS if "audit" not in path and "usage" not in path and "node-types" not in path]
    paths += [
        filled(template, ids) for method, template in ABOUT_SOMETHING if method == "GET" and "stats" not in template
    ]
    shown = [await owner.call("GET", path) for path in paths]
    return [json.dumps(re.sub(r"req_[0-9a-z]+", "req", each.content.decode())) for each in shown]
