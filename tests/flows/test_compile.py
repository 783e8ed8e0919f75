"""A flow made ready to run, and run by hand."""

from typing import Any

import msgspec

from libs.flows import Frontier, compile_flow, finished, load, node_types, outcome
from libs.flows.schemas import validator
from tests.flows.documents import chain, compiled, greeter, node, scope_with


def test_the_greeter_greets() -> None:
    flow = compiled(greeter())
    given = flow.read_input({"name": "Ada"})
    scope = scope_with(given=given)
    frontier = Frontier(flow)
    steps = frontier.ready()
    settled = {}
    while not steps.done:
        (each,) = steps.start
        scope.outputs[each.id] = each.evaluate(scope)
        settled[each.id] = finished(each, scope.outputs[each.id])
        steps = frontier.settle(each.id, settled[each.id])
    assert outcome(flow, settled) == "Hello, Ada!"


def test_order_and_links_follow_the_edges() -> None:
    doc = greeter()
    doc["nodes"].reverse()
    flow = compiled(doc)
    assert list(flow.nodes) == ["in", "hi", "out"]
    assert [each.source for each in flow.incoming["out"]] == ["hi"]
    assert [each.target for each in flow.outgoing["in"]] == ["hi"]
    assert flow.downstream("in") == {"hi", "out"}


def test_a_flow_says_which_secrets_it_reads_and_whether_it_reads_the_session() -> None:
    headers = {"Authorization": "Bearer {{ secret.TOKEN }}"}
    flow = compiled(
        chain(
            node("call", "http_request", {"url": "{{ secret.BASE }}/x", "headers": headers}),
            node("llm", "prompt", {"model": "echo/echo", "prompt": "x", "history": True}),
        )
    )
    assert flow.secrets == {"BASE", "TOKEN"}
    assert flow.uses_session
    assert not compiled(greeter()).uses_session


def test_compiling_twice_reuses_what_the_nodes_hold() -> None:
    flow = load(greeter())
    compile_flow(flow)
    program = flow.nodes[1].program
    assert compile_flow(flow).nodes["hi"].program is program


def test_the_catalogue_has_every_type_with_a_schema_that_accepts_its_config() -> None:
    examples: dict[str, Any] = {
        "api_input": {"fields": [{"name": "x"}]},
        "template": {"text": "x"},
        "transform": {"expression": "a"},
        "condition": {"cases": [{"port": "a", "when": "b"}]},
        "prompt": {"model": "echo/echo", "prompt": "x"},
        "http_request": {"url": "https://h.test"},
        "web_scraper": {"url": "https://h.test"},
        "retriever": {"collection": "docs", "query": "x"},
        "delay": {"seconds": 5},
        "api_output": {"value": 1},
    }
    listed = {each["type"]: each for each in node_types()}
    assert list(listed) == list(examples)
    msgspec.json.encode(list(listed.values()))
    for name, config in examples.items():
        check = validator(listed[name]["config_schema"])
        assert check.is_valid(config)
        assert not check.is_valid({**config, "surplus": 1})
        assert listed[name]["title"]
        assert listed[name]["description"]
    assert [name for name in listed if listed[name]["effects"]] == [
        "prompt",
        "http_request",
        "web_scraper",
        "retriever",
    ]
