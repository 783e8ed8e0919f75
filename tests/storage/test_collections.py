"""Collections through the API, and `retriever` nodes that search them."""

from typing import Any

import pytest

from tests.e2e.caller import Caller
from tests.storage.flows import chain, node

ASKS = [{"name": "text", "type": "string"}]
PLANETS = [
    {"text": "Mars is called the red planet; its soil is full of iron oxide.", "metadata": {"page": 4}},
    {"text": "Jupiter is the largest planet, and its red spot is a storm."},
    {"text": "Rust forms where iron meets water and air.", "metadata": {"page": 9, "tags": ["chemistry"]}},
    {"text": "Bees dance to tell the others where flowers are."},
]


async def fill(caller: Caller, name: str, documents: list[dict[str, Any]]) -> list[str]:
    made = await caller.call("POST", "/v1/collections", {"name": name})
    assert made.status == 201, made.body
    added = await caller.call("POST", f"/v1/collections/{name}/documents", {"documents": documents}, gateway=1)
    assert added.status == 201, added.body
    assert added.body["count"] == len(documents)
    ids: list[str] = added.body["ids"]
    return ids


async def ask(caller: Caller, name: str, text: str, **tweaks: Any) -> list[dict[str, Any]]:
    """What a retriever over the collection finds, in a flow that is made at the first question."""
    slug = f"asks-{name}"
    if (await caller.call("GET", f"/v1/deployments/{slug}")).status == 404:
        retriever = node("find", "retriever", collection=name, query="{{ in.text }}")
        await caller.deploy(chain(slug, node("in", "api_input", fields=ASKS), retriever))
    body = {"input": {"text": text}, "tweaks": {"find": tweaks}, "mode": "sync"}
    run = (await caller.call("POST", f"/v1/deployments/{slug}/runs", body)).body
    assert run["status"] == "completed", run
    documents: list[dict[str, Any]] = run["output"]["documents"]
    return documents


async def test_a_question_finds_what_fits_best_first(caller: Caller) -> None:
    await fill(caller, "planets", PLANETS)
    found = await ask(caller, "planets", "What is the soil of the red planet made of?")
    assert [set(each) for each in found] == [{"text", "score", "metadata"}] * len(found)
    assert found[0]["text"].startswith("Mars")
    assert found[0]["metadata"] == {"page": 4}
    assert found[1]["text"].startswith("Jupiter")
    assert found[1]["metadata"] == {}
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert not any("Bees" in each["text"] for each in found)


async def test_any_word_is_enough_and_all_words_are_better(caller: Caller) -> None:
    await fill(caller, "words", PLANETS)
    assert [each["text"][:4] for each in await ask(caller, "words", "dancing zebras")] == ["Bees"]
    found = await ask(caller, "words", '"iron meets water"')
    assert found[0]["text"].startswith("Rust")
    assert found[0]["score"] > 0.5 > found[1]["score"]
    assert await ask(caller, "words", "zebra") == []
    assert [each["text"][:4] for each in await ask(caller, "words", "to the others")] != []


@pytest.mark.parametrize("text", ["", "   ", "&|!()<->:*'\"\\", "a\u0000b", "x" * 100_000, "'; DROP TABLE documents"])
async def test_no_question_breaks_the_search(caller: Caller, text: str) -> None:
    if (await caller.call("GET", "/v1/collections/odd")).status == 404:
        await fill(caller, "odd", PLANETS)
    assert await ask(caller, "odd", text) == []


async def test_k_bounds_what_is_found_and_may_be_tweaked(caller: Caller) -> None:
    await fill(caller, "many", [{"text": f"apple number {n}"} for n in range(60)])
    assert len(await ask(caller, "many", "apple")) == 4
    assert len(await ask(caller, "many", "apple", k=50)) == 50
    body = {"input": {"text": "x"}, "tweaks": {"find": {"collection": "other"}}}
    assert (await caller.call("POST", "/v1/deployments/asks-many/runs", body)).status == 400


async def test_an_unknown_collection_fails_the_node(caller: Caller) -> None:
    document = chain(
        "asks-nothing",
        node("in", "api_input", fields=ASKS),
        node("find", "retriever", collection="nowhere", query="{{ in.text }}"),
    )
    run = (await caller.start(await caller.deploy(document), "x")).body
    assert (run["error"]["code"], run["error"]["node"]) == ("node_failed", "find")
    assert "nowhere" in run["error"]["message"]


async def test_collections_and_documents_are_listed_counted_and_deleted(caller: Caller) -> None:
    ids = await fill(caller, "kept", PLANETS)
    assert (await caller.call("POST", "/v1/collections", {"name": "kept"})).status == 409
    one = await caller.call("GET", "/v1/collections/kept")
    assert (one.body["name"], one.body["documents"]) == ("kept", 4)
    assert "kept" in [each["name"] for each in (await caller.call("GET", "/v1/collections?limit=100")).body["data"]]
    first = (await caller.call("GET", "/v1/collections/kept/documents?limit=3")).body
    rest = (await caller.call("GET", f"/v1/collections/kept/documents?limit=3&cursor={first['next_cursor']}")).body
    assert sorted(each["id"] for each in first["data"] + rest["data"]) == sorted(ids)
    assert rest["next_cursor"] is None
    assert (await caller.call("DELETE", f"/v1/collections/kept/documents/{ids[0]}")).status == 204
    assert (await caller.call("DELETE", f"/v1/collections/kept/documents/{ids[0]}")).status == 404
    assert (await caller.call("GET", "/v1/collections/kept")).body["documents"] == 3
    assert (await caller.call("DELETE", "/v1/collections/kept")).status == 204
    for path in ("/v1/collections/kept", "/v1/collections/kept/documents"):
        assert (await caller.call("GET", path)).status == 404


async def test_documents_that_do_not_fit_are_refused_whole(caller: Caller) -> None:
    await caller.call("POST", "/v1/collections", {"name": "strict"})
    good = {"text": "good"}
    for bad, pointer in (
        ({"text": ""}, "/documents/1/text"),
        ({"text": "x" * 100_001}, "/documents/1/text"),
        ({"text": "a\x00b"}, "/documents/1/text"),
        ({"text": "x", "metadata": []}, "/documents/1/metadata"),
        ({"text": "x", "metadata": {"a": "x" * 100_001}}, "/documents/1/metadata"),
        ({}, "/documents/1"),
    ):
        answer = await caller.call("POST", "/v1/collections/strict/documents", {"documents": [good, bad]})
        assert answer.status == 400
        assert answer.body["errors"][0]["pointer"].startswith(pointer)
    for documents in ([], [good] * 1_001):
        answer = await caller.call("POST", "/v1/collections/strict/documents", {"documents": documents})
        assert answer.status == 400
    assert (await caller.call("GET", "/v1/collections/strict")).body["documents"] == 0
    for name in ("", "a b", "a/b", "ä", "x" * 65):
        assert (await caller.call("POST", "/v1/collections", {"name": name})).status == 400
    answer = await caller.call("POST", "/v1/collections/nowhere/documents", {"documents": [good]})
    assert answer.status == 404


async def test_a_collection_is_its_workspaces_own(caller: Caller) -> None:
    await fill(caller, "private", PLANETS)
    made = await caller.call("POST", "/v1/workspaces", {"name": "Other", "plan": "pro"})
    foreign = {"Authorization": f"Bearer {made.body['admin_key']}"}
    assert (await caller.call("GET", "/v1/collections", headers=foreign)).body["data"] == []
    for path in ("/v1/collections/private", "/v1/collections/private/documents"):
        assert (await caller.call("GET", path, headers=foreign)).status == 404
    assert (await caller.call("POST", "/v1/collections", {"name": "private"}, headers=foreign)).status == 201
