"""Flows: what is saved is what is read, whichever the gateway, by id and by slug, for every version."""

from typing import Any

import pytest

from tests.api.client import Caller
from tests.flows.documents import chain, greeter, node

DECORATED = {
    **greeter(),
    "description": "Größe, 価格, 😀 \u0000",
    "nodes": [
        {**greeter()["nodes"][0], "name": "Name", "position": {"x": 1.5, "y": -(10**20)}},
        {**greeter()["nodes"][1], "retry": {"max_attempts": 3, "backoff_seconds": 0.5}, "locked": ["text"]},
        {**greeter()["nodes"][2], "timeout_seconds": 10, "on_error": "continue", "tweakable": []},
    ],
}
SHOWN = ("name", "slug", "description", "settings", "nodes", "edges")


async def test_a_flow_is_read_as_it_was_saved_at_either_gateway_by_id_and_slug(caller: Caller) -> None:
    made = await caller.post("/v1/flows", DECORATED, expect=201)
    assert (made["version"], made["slug"]) == (1, "greeter")
    assert {key: made[key] for key in SHOWN} == {key: DECORATED[key] for key in SHOWN}
    await caller.settle()
    for gateway in (0, 1):
        for name in (made["id"], "greeter"):
            assert await caller.at(gateway).get(f"/v1/flows/{name}") == made


async def test_where_a_new_flow_is_is_said_in_its_location(caller: Caller) -> None:
    answer = await caller.call("POST", "/v1/flows", greeter())
    assert (await caller.get(answer.headers["Location"]))["id"] == answer.json["id"]


async def test_a_version_never_changes(caller: Caller) -> None:
    flow = await caller.post("/v1/flows", greeter(), expect=201)
    await caller.settle()
    documents = [greeter(), *({**greeter(), "description": f"version {number}"} for number in range(2, 6))]
    for number, document in enumerate(documents[1:], 2):
        saved = await caller.at(number % 2).put(f"/v1/flows/{flow['id']}", document)
        assert (saved["version"], saved["description"]) == (number, f"version {number}")
    await caller.settle()
    for number, document in enumerate(documents, 1):
        read = await caller.at(number % 2).get(f"/v1/flows/greeter/versions/{number}")
        assert {key: read[key] for key in SHOWN} == {"description": "", **document}
    assert (await caller.get("/v1/flows/greeter"))["version"] == 5
    numbers = [version["version"] for version in await caller.pages("/v1/flows/greeter/versions", 2)]
    assert numbers == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("version", ["0", "2", "-1", "x", "1.0", "9" * 20, "%00"])
async def test_a_version_that_is_not_there_is_a_404(caller: Caller, version: str) -> None:
    await caller.post("/v1/flows", greeter(), expect=201)
    await caller.get(f"/v1/flows/greeter/versions/{version}", expect=404)


async def test_an_export_imported_again_is_an_equal_document(caller: Caller) -> None:
    flow = await caller.post("/v1/flows", DECORATED, expect=201)
    exported = await caller.get("/v1/flows/greeter/export")
    assert exported == DECORATED
    second = await caller.at(1).post("/v1/flows/import", exported, expect=201)
    assert (second["slug"], second["version"]) == ("greeter-2", 1)
    third = await caller.post("/v1/flows/import", exported, expect=201)
    assert third["slug"] == "greeter-3"
    assert await caller.get(f"/v1/flows/{second['id']}/export") == {**exported, "slug": "greeter-2"}
    await caller.delete(f"/v1/flows/{flow['id']}")
    assert (await caller.post("/v1/flows/import", exported, expect=201))["slug"] == "greeter"
    await caller.settle()
    assert await caller.at(1).get("/v1/flows/greeter/export?format=json") == exported
    await caller.get("/v1/flows/greeter/export?format=exe", expect=400)


async def test_a_long_slug_that_is_taken_gets_a_suffix_that_fits(caller: Caller) -> None:
    document = {**greeter(), "slug": "a" * 63}
    assert [(await caller.post("/v1/flows/import", document, expect=201))["slug"] for _ in range(3)] == [
        "a" * 63,
        "a" * 55 + "-2",
        "a" * 55 + "-3",
    ]


@pytest.mark.parametrize("slug", ["", "A", "-a", "a b", "ä", "a_b", "a" * 64, "a/b", "a\n", None, 1, "../etc"])
async def test_a_slug_that_is_none_is_a_400(caller: Caller, slug: object) -> None:
    answer = await caller.call("POST", "/v1/flows", {**greeter(), "slug": slug})
    assert (answer.status, answer.pointers) == (400, ["/slug"])
    assert (await caller.get("/v1/flows"))["data"] == []


async def test_a_slug_is_one_flow_s_until_that_flow_leaves_it(caller: Caller, stranger: Caller) -> None:
    flow = await caller.post("/v1/flows", greeter(), expect=201)
    for gateway in (0, 1):
        answer = await caller.at(gateway).call("POST", "/v1/flows", greeter())
        assert (answer.status, answer.json["code"], answer.pointers) == (409, "conflict", ["/slug"])
    await stranger.post("/v1/flows", greeter(), expect=201)
    await caller.put(f"/v1/flows/{flow['id']}", {**greeter(), "slug": "other"})
    second = await caller.at(1).post("/v1/flows", greeter(), expect=201)
    await caller.settle()
    assert (await caller.get("/v1/flows/greeter"))["id"] == second["id"]
    await caller.put(f"/v1/flows/{flow['id']}", greeter(), expect=409)
    await caller.put("/v1/flows/other", {**greeter(), "slug": "other"})
    await caller.delete(f"/v1/flows/{second['id']}")
    assert (await caller.put("/v1/flows/other", greeter()))["slug"] == "greeter"


async def test_a_flow_keeps_its_slug_where_the_document_has_none(caller: Caller) -> None:
    document = {key: value for key, value in greeter().items() if key != "slug"}
    assert (await caller.post("/v1/flows", {**document, "name": "Erste Größe!"}, expect=201))["slug"] == "erste-grosse"
    await caller.post("/v1/flows", {**document, "name": "Erste Größe!"}, expect=409)
    await caller.post("/v1/flows", greeter(), expect=201)
    saved = await caller.put("/v1/flows/erste-grosse", {**document, "name": "Greeter"})
    assert (saved["slug"], saved["name"]) == ("erste-grosse", "Greeter")


async def test_a_list_of_flows_shows_each_once_newest_first(caller: Caller) -> None:
    ids = [
        (await caller.at(n % 2).post("/v1/flows", {**greeter(), "slug": f"flow-{n}"}, expect=201))["id"]
        for n in range(25)
    ]
    await caller.settle()
    for gateway in (0, 1):
        listed = await caller.at(gateway).pages("/v1/flows", 10)
        assert [flow["id"] for flow in listed] == ids[::-1]
        assert all("nodes" not in flow for flow in listed)
    page = await caller.get("/v1/flows?limit=25")
    assert page["next_cursor"] is None


async def test_what_is_added_or_deleted_while_a_list_is_read_moves_no_page(caller: Caller) -> None:
    ids = [(await caller.post("/v1/flows", {**greeter(), "slug": f"f-{n}"}, expect=201))["id"] for n in range(6)]
    first = await caller.get("/v1/flows?limit=3")
    await caller.post("/v1/flows", {**greeter(), "slug": "later"}, expect=201)
    await caller.delete("/v1/flows/f-3")
    await caller.delete("/v1/flows/f-1")
    await caller.settle()
    second = await caller.at(1).get(f"/v1/flows?limit=3&cursor={first['next_cursor']}")
    assert [flow["id"] for flow in first["data"]] == ids[:2:-1]
    assert [flow["id"] for flow in second["data"]] == [ids[2], ids[0]]


async def test_deleting_a_flow_takes_its_deployments_and_their_keys_with_it(caller: Caller) -> None:
    kept = await caller.deploy({**greeter(), "slug": "kept"})
    deployment = await caller.deploy()
    runs = f"/v1/deployments/{deployment['id']}/runs"
    run = await caller.post(runs, {"input": {"name": "Ada"}})
    await caller.delete("/v1/flows/greeter")
    await caller.settle()
    for gateway in (caller.at(0), caller.at(1)):
        await gateway.get("/v1/flows/greeter", expect=404)
        await gateway.get(f"/v1/flows/{deployment['flow_id']}/versions/1", expect=404)
        await gateway.get(f"/v1/deployments/{deployment['id']}", expect=404)
        await gateway.post(runs, {"input": {"name": "Ada"}}, expect=404)
        await gateway.post("/v1/deployments/greeter/runs", {"input": {"name": "Ada"}}, expect=404)
        await gateway.having(deployment["api_key"]).post(runs, {"input": {"name": "Ada"}}, expect=401)
        assert [each["id"] for each in (await gateway.get("/v1/deployments"))["data"]] == [kept["id"]]
        assert (await gateway.get(f"/v1/runs/{run['id']}"))["output"] == "Hello, Ada!"
    assert deployment["api_key"][-5:] not in str(await caller.get("/v1/keys"))
    await caller.delete(f"/v1/flows/{deployment['flow_id']}", expect=404)


FAULTY: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a cycle": (
        {
            "name": "Ring",
            "nodes": [node(name, "template", {"text": "x"}) for name in ("in", "loop-a", "loop-b", "loop-c")],
            "edges": [
                {"source": source, "target": target}
                for source, target in (
                    ("in", "loop-a"),
                    ("loop-a", "loop-b"),
                    ("loop-b", "loop-c"),
                    ("loop-c", "loop-a"),
                )
            ],
        },
        {"/edges": "loop-a"},
    ),
    "a template that names a missing node": (
        chain(node("in", "api_input"), node("t", "template", {"text": "{{ nobody.text }}"})),
        {"/nodes/1/config/text": "nobody"},
    ),
    "a template that names a later node": (
        chain(node("a", "template", {"text": "{{ b.text }}"}), node("b", "template", {"text": "x"})),
        {"/nodes/0/config/text": "'b' does not come before 'a'"},
    ),
    "a dangling edge": (
        {**chain(node("a", "template", {"text": "x"})), "edges": [{"source": "a", "target": "nobody"}]},
        {"/edges/0/target": "nobody"},
    ),
    "one id twice": (
        {"name": "x", "nodes": [node("a", "delay", {"seconds": 1}), node("a", "delay", {"seconds": 1})]},
        {"/nodes/1/id": "/nodes/0"},
    ),
    "an expression that is none": (
        chain(node("in", "api_input"), node("t", "transform", {"expression": "in.["})),
        {"/nodes/1/config/expression": ""},
    ),
    "an unknown node type": ({"name": "x", "nodes": [node("a", "teleport")]}, {"/nodes/0/type": "teleport"}),
    "no nodes": ({"name": "x", "nodes": []}, {"/nodes": ""}),
    "10,000 nodes": (
        {"name": "x", "nodes": [node(f"n{number}", "delay", {"seconds": 1}) for number in range(10_000)]},
        {"/nodes": "500"},
    ),
    "10,000 edges": (
        {
            "name": "x",
            "nodes": [node("a", "delay", {"seconds": 1}), node("b", "delay", {"seconds": 1})],
            "edges": [{"source": "a", "target": "b"}] * 10_000,
        },
        {"/edges": "2000"},
    ),
}


@pytest.mark.parametrize("what", list(FAULTY))
async def test_a_faulty_flow_is_a_400_that_names_the_place(caller: Caller, what: str) -> None:
    document, places = FAULTY[what]
    flow = await caller.post("/v1/flows", greeter(), expect=201)
    for method, path in (("POST", "/v1/flows"), ("PUT", f"/v1/flows/{flow['id']}"), ("POST", "/v1/flows/import")):
        answer = await caller.call(method, path, document)
        assert answer.status == 400
        for pointer, words in places.items():
            details = [fault["detail"] for fault in answer.json["errors"] if fault["pointer"] == pointer]
            assert any(words in detail for detail in details), answer.json
    assert [(each["id"], each["version"]) for each in (await caller.get("/v1/flows"))["data"]] == [(flow["id"], 1)]


async def test_a_cycle_is_told_node_by_node(caller: Caller) -> None:
    answer = await caller.call("POST", "/v1/flows", FAULTY["a cycle"][0])
    (fault,) = answer.json["errors"]
    assert all(name in fault["detail"] for name in ("loop-a", "loop-b", "loop-c"))
    assert "in " not in fault["detail"]
