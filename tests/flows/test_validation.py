"""`load`: every fault at once, each where it is, and nothing but `InvalidFlow` whatever the JSON."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.flows import InvalidFlow, deployable, load, slug_of
from libs.flows.nodes import NODE_TYPES
from tests.flows.documents import chain, document, edge, faults_of, greeter, node

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(list(NODE_TYPES)) | st.text(max_size=5)
KEYS = st.sampled_from(["fields", "text", "value", "expression", "cases", "url", "headers", "query", "model", "prompt"])
SNIPPETS = st.text(alphabet="{}ab.[]|\"'\\ :&@`0!*?", max_size=20)
NODES = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c", "run", "ä"]), "type": TYPES},
    optional={
        "config": st.dictionaries(KEYS, JSON | SNIPPETS, max_size=3),
        "retry": JSON,
        "locked": st.lists(KEYS, max_size=2),
    },
)
EDGES = st.fixed_dictionaries(
    {"source": st.sampled_from(["a", "b", "c"]), "target": st.sampled_from(["a", "b", "c"])},
    optional={"source_port": JSON},
)
NEARLY = st.fixed_dictionaries({"name": st.text(max_size=5), "nodes": st.lists(NODES), "edges": st.lists(EDGES)})


def test_a_valid_document_becomes_a_flow_that_says_the_same() -> None:
    flow = load(greeter())
    again = load(msgspec.json.decode(msgspec.json.encode(flow)))
    assert again == flow
    assert [each.id for each in flow.nodes] == ["in", "hi", "out"]
    assert flow.settings.timeout_seconds == 300


def test_all_faults_are_told_at_once() -> None:
    doc = {
        "name": "",
        "slug": "No Slug",
        "surplus": 1,
        "nodes": [
            node("a b", "template", {"text": "x"}),
            node("c", "template", {"txt": "x", "text": "{{ nobody.x }}"}),
            node("c", "teleport"),
            node("run", "transform", {"expression": "a["}),
            {"id": "d", "type": "prompt", "config": {"model": "gpt"}, "colour": "red"},
            7,
        ],
        "edges": [edge("c", "ghost"), {"source": "c", "target": "run", "colour": 1}],
    }
    faults = faults_of(doc)
    assert set(faults) == {
        "/name",
        "/slug",
        "/surplus",
        "/nodes/0/id",
        "/nodes/1/config/txt",
        "/nodes/1/config/text",
        "/nodes/2/id",
        "/nodes/2/type",
        "/nodes/3/id",
        "/nodes/3/config/expression",
        "/nodes/4/config/model",
        "/nodes/4/config/prompt",
        "/nodes/4/colour",
        "/nodes/5",
        "/edges/0/target",
        "/edges/1/colour",
    }
    assert faults["/nodes/4/config/prompt"] == "is required"
    assert faults["/nodes/1/config/txt"] == "is not a known key"
    assert "web_scraper" in faults["/nodes/2/type"]
    assert "character" in faults["/nodes/3/config/expression"]


@pytest.mark.parametrize("name", ["session", "run", "secret"])
def test_reserved_names_are_no_node_ids(name: str) -> None:
    assert "reserved" in faults_of(document([node(name, "template", {"text": "x"})], []))["/nodes/0/id"]


@pytest.mark.parametrize("node_id", ["OpenAI-xxxxx", "1741675999864", "a" * 64])
def test_ids_of_other_editors_are_accepted_and_referred_to(node_id: str) -> None:
    doc = chain(node(node_id, "template", {"text": "x"}), node("b", "template", {"text": f"{{{{ {node_id}.text }}}}"}))
    assert not faults_of(doc)


def test_a_cycle_is_shown_as_the_nodes_along_it() -> None:
    doc = chain(*(node(name, "template", {"text": "x"}) for name in "abc"))
    doc["edges"].append(edge("c", "a"))
    (detail,) = faults_of(doc).values()
    assert detail == "cycle: a → b → c → a"


def test_two_cycles_are_both_shown() -> None:
    nodes = [node(name, "template", {"text": "x"}) for name in "abcd"]
    doc = document(nodes, [edge("a", "b"), edge("b", "a"), edge("c", "d"), edge("d", "c"), edge("b", "c")])
    with pytest.raises(InvalidFlow) as caught:
        load(doc)
    details = [fault.detail for fault in caught.value.faults]
    assert len(details) == 2
    assert all(detail.startswith("cycle: ") for detail in details)


def test_ten_thousand_nodes_are_refused_quickly() -> None:
    nodes = [node(f"n{at}", "template", {"text": "x"}) for at in range(10_000)]
    doc = document(nodes, [edge(f"n{at}", f"n{(at + 1) % 10_000}") for at in range(10_000)])
    begin = time.perf_counter()
    assert set(faults_of(doc)) == {"/nodes", "/edges"}
    assert time.perf_counter() - begin < 2


def test_a_cycle_of_every_node_is_told_in_few_words() -> None:
    nodes = [node(f"n{at}", "template", {"text": "x"}) for at in range(500)]
    doc = document(nodes, [edge(f"n{at}", f"n{(at + 1) % 500}") for at in range(500)])
    (detail,) = faults_of(doc).values()
    assert detail.endswith("(500 nodes)")
    assert len(detail) < 200


def test_edges_dangling_repeated_and_to_oneself_are_faults() -> None:
    nodes = [node("a", "template", {"text": "x"}), node("b", "template", {"text": "x"})]
    doc = document(nodes, [edge("a", "b"), edge("a", "b"), edge("a", "a"), edge("x", "b")])
    faults = faults_of(doc)
    assert faults == {
        "/edges/1": "repeats /edges/0",
        "/edges/2": "leads from a node to itself",
        "/edges/3/source": "there is no node 'x'",
    }


def test_ports_must_fit_the_node_they_leave() -> None:
    cases = [{"port": "yes", "when": "a.text"}]
    nodes = [node("a", "template", {"text": "x"}), node("c", "condition", {"cases": cases})]
    nodes += [node(name, "template", {"text": "x"}) for name in "def"]
    edges = [edge("a", "c", "yes"), edge("c", "d"), edge("c", "e", "no"), edge("c", "f", "else"), edge("c", "f", "yes")]
    faults = faults_of(document(nodes, edges))
    assert set(faults) == {"/edges/0/source_port", "/edges/1/source_port", "/edges/2/source_port"}
    assert "yes, else" in faults["/edges/2/source_port"]


def test_a_reference_must_name_a_node_that_comes_before() -> None:
    nodes = [
        node("a", "template", {"text": "{{ b.text }}"}),
        node("b", "template", {"value": {"deep": ["{{ nobody.x }}", "{{ a.text }}"]}}),
        node("c", "transform", {"expression": "{x: a.text}"}),
        node("d", "transform", {"expression": "{x: run.id, y: ghost.z}"}),
    ]
    faults = faults_of(document(nodes, [edge("a", "b")]))
    assert faults == {
        "/nodes/0/config/text": "'b' does not come before 'a'",
        "/nodes/1/config/value/deep/0": "there is no node 'nobody'",
        "/nodes/2/config/expression": "'a' does not come before 'c'",
        "/nodes/3/config/expression": "there is no node 'ghost'",
    }


def test_a_lookup_that_is_broken_does_not_hide_one_that_is_wrong() -> None:
    with pytest.raises(InvalidFlow) as caught:
        load(document([node("a", "template", {"text": "{{ nobody.x }} {{ open"})], []))
    assert len(caught.value.faults) == 2


def test_locked_and_tweakable_name_config_keys() -> None:
    doc = document([node("a", "template", {"text": "x"}, locked=["text", "colour"], tweakable=["size"])], [])
    assert set(faults_of(doc)) == {"/nodes/0/locked/1", "/nodes/0/tweakable/0"}


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({}, ""),
        ({"text": "x", "value": 1}, ""),
        ({"text": 1}, "/text"),
        ({"text": "{{ open"}, "/text"),
        ({"text": "{{ session.turns | shout }}"}, "/text"),
        ({"text": "{{ secret }}"}, "/text"),
        ({"text": "x{{ run.id | default:}}"}, "/text"),
        ({"value": {"a/b~c": "{{"}}, "/value/a~1b~0c"),
    ],
)
def test_a_faulty_template_names_its_place(config: dict[str, Any], pointer: str) -> None:
    assert set(faults_of(document([node("a", "template", config)], []))) == {f"/nodes/0/config{pointer}"}


@pytest.mark.parametrize(
    "expression",
    ["a[", "", "a b", "nope(a)", "abs(run, run)", "@", "*", "keys(@)", "secret.x", "(" * 500, "!" * 500 + "run"],
)
def test_a_bad_expression_is_a_fault(expression: str) -> None:
    assert "/nodes/0/config/expression" in faults_of(document([node("t", "transform", {"expression": expression})], []))


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "string", "pattern": "(?=a)"}, "pattern"),
        ({"type": "string", "pattern": "(a)\\1"}, "pattern"),
        ({"type": "integer", "default": "x"}, "default"),
        ({"type": "string", "max_length": 2, "test_value": "xyz"}, "test_value"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum"),
        ({"type": "string", "min_length": 3, "max_length": 2}, "min_length"),
        ({"type": "number", "pattern": "a"}, "pattern"),
        ({"type": "boolean", "maximum": 1}, "maximum"),
        ({"type": "integer", "enum": [1, "two"]}, "enum/1"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "default"),
        ({"type": "date"}, "type"),
        ({"type": "string", "maxlength": 1}, "maxlength"),
    ],
)
def test_a_field_that_contradicts_itself_is_a_fault(field: dict[str, Any], pointer: str) -> None:
    doc = document([node("in", "api_input", {"fields": [{"name": "x", **field}]})], [])
    assert list(faults_of(doc)) == [f"/nodes/0/config/fields/0/{pointer}"]


def test_a_field_declared_twice_is_a_fault() -> None:
    doc = document([node("in", "api_input", {"fields": [{"name": "x"}, {"name": "x"}]})], [])
    assert list(faults_of(doc)) == ["/nodes/0/config/fields/1/name"]


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"retry": {"max_attempts": 11}}, "/retry/max_attempts"),
        ({"retry": {"attempts": 2}}, "/retry/attempts"),
        ({"timeout_seconds": 0}, "/timeout_seconds"),
        ({"timeout_seconds": "5"}, "/timeout_seconds"),
        ({"on_error": "ignore"}, "/on_error"),
        ({"colour": 1}, "/colour"),
    ],
)
def test_what_every_node_carries_is_checked(more: dict[str, Any], pointer: str) -> None:
    assert list(faults_of(document([node("a", "template", {"text": "x"}, **more)], []))) == [f"/nodes/0{pointer}"]


def test_editors_may_keep_names_and_positions() -> None:
    doc = chain(
        node("a", "template", {"text": "x"}, name="Größe", position={"x": 1, "y": 2.5, "z": "front"}),
        node("b", "template", {"text": "x"}),
    )
    doc["edges"][0]["id"] = "edge-1"
    assert not faults_of(doc)


@pytest.mark.parametrize(
    ("node_type", "config", "pointer"),
    [
        ("http_request", {"url": "ftp://host/x"}, "/url"),
        ("http_request", {"url": "http://h", "headers": {"a b": "x"}}, "/headers/a b"),
        ("http_request", {"url": "http://h", "headers": {"Content-Length": "3"}}, "/headers/Content-Length"),
        ("http_request", {"url": "http://h", "method": "STEAL"}, "/method"),
        ("web_scraper", {"url": "http://h", "selector": "a["}, "/selector"),
        ("web_scraper", {"url": "http://h", "format": "pdf"}, "/format"),
        ("prompt", {"model": "gpt-4o", "prompt": "x"}, "/model"),
        ("prompt", {"model": "openai/gpt-4o", "prompt": "x", "temperature": 3}, "/temperature"),
        ("condition", {"cases": [{"port": "else", "when": "run.id"}]}, "/cases/0/port"),
        ("condition", {"cases": [{"port": "a", "when": "run"}, {"port": "a", "when": "run"}]}, "/cases/1/port"),
        ("condition", {"cases": []}, "/cases"),
        ("api_output", {}, "/value"),
        ("api_output", {"value": 1, "email": {"to": "a@b.c"}}, "/email/subject"),
        ("api_output", {"value": 1, "callback_url": "mailto:x"}, "/callback_url"),
    ],
)
def test_each_node_type_checks_its_config(node_type: str, config: dict[str, Any], pointer: str) -> None:
    assert list(faults_of(document([node("x", node_type, config)], []))) == [f"/nodes/0/config{pointer}"]


def test_the_list_of_faults_is_bounded_and_says_how_many_more() -> None:
    doc = document([node("a", "template", {"text": "x"})], [{"source": "a", "target": f"x{at}"} for at in range(300)])
    with pytest.raises(InvalidFlow) as caught:
        load(doc)
    assert len(caught.value.faults) == 101
    assert caught.value.faults[-1].detail == "and 200 more faults"


def test_a_missing_slug_is_made_of_the_name() -> None:
    assert load(document([node("a", "template", {"text": "x"})], [])).slug == "test"
    assert slug_of("Größe & Preis") == "grosse-preis"
    assert slug_of("日本") == "flow"
    assert len(slug_of("x" * 200)) == 63


def test_only_a_flow_that_takes_input_and_does_something_is_deployable() -> None:
    assert deployable(load(greeter())) == []
    idle = load(chain(node("in", "api_input"), node("out", "api_output", {"value": 1})))
    assert [fault.pointer for fault in deployable(idle)] == ["/nodes"]
    deaf = load(document([node("a", "template", {"text": "x"})], []))
    assert "api_input" in deployable(deaf)[0].detail


def test_patterns_cannot_add_up_to_minutes() -> None:
    slow = [{"name": f"f{at}", "pattern": r"\d{1000}{1000}" + str(at)} for at in range(200)]
    doc = document([node(f"in{at}", "api_input", {"fields": slow}) for at in range(100)], [])
    begin = time.perf_counter()
    assert faults_of(doc) == {"/nodes": "declares more than 200 fields"}
    assert time.perf_counter() - begin < 2


def test_endless_nesting_is_refused() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert list(faults_of(document([node("a", "template", {"value": deep})], []))) == [""]


@pytest.mark.parametrize("value", [float("nan"), "\ud800", b"x", {1: 2}, object()])
def test_what_is_not_json_is_refused(value: Any) -> None:
    assert list(faults_of(document([node("a", "template", {"value": value})], []))) == [""]


@settings(max_examples=200, deadline=None)
@given(JSON | NEARLY)
def test_any_json_is_a_flow_or_has_faults_that_can_be_sent(doc: Any) -> None:
    faults = faults_of(doc)
    if not faults:
        flow = load(doc)
        assert load(msgspec.json.decode(msgspec.json.encode(flow))) == flow
    msgspec.json.encode(faults)
