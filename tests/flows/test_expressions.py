"""Expressions: JMESPath over outputs, with an end to what they may cost."""

import contextlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.flows.expressions import InvalidExpression, compile_expression
from libs.runtime.failures import Terminal
from tests.flows.documents import scope, scope_with

OUTPUTS: dict[str, Any] = {
    "in": {"n": 3, "items": [{"name": "a", "price": 1}, {"name": "b", "price": 5}], "empty": ""},
    "llm-1": {"text": "hi"},
    "a": ["x", "y"],
}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("in.items[?price > `3`].name", ["b"]),
        ('"llm-1".text', "hi"),
        ('{n: in.n, t: "llm-1".text}', {"n": 3, "t": "hi"}),
        ("@.in.n", 3),
        ("@ | in.n", 3),
        ("in.n == `3` && length(in.items) == `2`", True),
        ("sort_by(in.items, &price)[-1].name", "b"),
        ("in.items[*].price | sum(@)", 6),
        ("join(', ', a)", "x, y"),
        ("a[] | [0]", "x"),
        ("nobody.x", None),
        ("run.id", "run_1"),
        ("to_string(in.items[0])", '{"name":"a","price":1}'),
        ("in.items == in.items", True),
        ("in.items != `[]`", True),
        ("in.n < `2`", False),
        ("[in.n, `2`][?@ > `2`]", [3]),
    ],
)
def test_an_expression_reads(expression: str, result: Any) -> None:
    assert compile_expression(expression).evaluate(scope_with(OUTPUTS), "t") == result


@pytest.mark.parametrize(
    ("expression", "holds"),
    [("in.n", True), ("`0`", True), ("in.empty", False), ("nobody", False), ("`[]`", False), ("`{}`", False),
     ("`false`", False), ("in.items", True), ("!in.n", False)],
)  # fmt: skip
def test_what_is_true(expression: str, holds: bool) -> None:
    assert compile_expression(expression).holds(scope_with(OUTPUTS), "c") is holds


@pytest.mark.parametrize(
    ("expression", "roots"),
    [
        ("{a: x.y, b: z[*].q}", {"x", "z"}),
        ("x[?p == 'q'].r | s", {"x"}),
        ("sort_by(x, &y)", {"x"}),
        ("x.y || z", {"x", "z"}),
        ("length('abc')", set()),
        ("x[].{a: b}", {"x"}),
        ("x[0:2].b", {"x"}),
        ("x.*.b", {"x"}),
        ("map(&p, x)", {"x"}),
    ],
)
def test_references_are_the_roots_alone(expression: str, roots: set[str]) -> None:
    assert {reference.root for reference in compile_expression(expression).references} == roots


def test_failures_hold_no_data() -> None:
    with pytest.raises(Terminal) as caught:
        compile_expression("abs(in.key)").evaluate(scope_with({"in": {"key": "sk-very-secret"}}), "transform")
    assert caught.value.message == "transform: abs() expects number, not string"


@pytest.mark.parametrize(
    "expression", ["ceil(to_number('inf'))", "to_number('1e999')", '`"\\ud800"`', "&a", "avg(in.big)"]
)
def test_a_result_that_is_no_json_fails_the_node(expression: str) -> None:
    with pytest.raises(Terminal):
        compile_expression(expression).evaluate(scope_with({"in": {"big": [10**400, 10**400]}}), "transform")


@pytest.mark.parametrize(
    "expression",
    [
        "in" + "|[@,@]" * 60,
        "in" + "|[@,@][]" * 60,
        "in" + "|[@,@][*][]" * 60,
        "in|to_string(@)" + "|join(@,[@,@])" * 60,
        "in" + "|[@,@]" * 60 + "|to_string(@)",
        "in" + "|[@,@]" * 28 + "|[@]|contains(@,`[1]`)",
        "[in" + "|[@,@]" * 27 + ", in" + "|[@,@]" * 27 + "] | [0] == [1]",
        "in|{a:@,b:@}" + "|{a:@,b:@}" * 50 + "|values(@)",
    ],
)
def test_doubling_ends_in_a_failure_not_in_a_hang(expression: str) -> None:
    begin = time.perf_counter()
    with pytest.raises((Terminal, InvalidExpression)):
        compile_expression(expression).evaluate(scope(**{"in": ["x"]}), "t")
    assert time.perf_counter() - begin < 8


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab.[]*?|&@{}:,()`'\"!=<>0 \\", max_size=30))
def test_any_text_compiles_or_is_refused_and_evaluates_or_fails(text: str) -> None:
    try:
        expression = compile_expression(text)
    except InvalidExpression as invalid:
        str(invalid).encode()
        return
    with contextlib.suppress(Terminal):
        msgspec.json.encode(expression.evaluate(scope_with({"a": [1, {"b": "x"}], "b": {"a": None}}), "t"))
