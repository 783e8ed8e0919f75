"""Flows of every shape that reach nothing outside, each with the inputs to try."""

from typing import Any

from tests.flows.documents import chain, document, edge, node

_FIELDS = [{"name": "n", "type": "number"}]


def _in(*fields: dict[str, Any]) -> dict[str, Any]:
    return node("in", "api_input", {"fields": list(fields)})


def _out(value: Any, node_id: str = "out") -> dict[str, Any]:
    return node(node_id, "api_output", {"value": value})


def _told(value: Any) -> dict[str, Any]:
    """The input, then one output of this value."""
    return chain(_in(), _out(value))


_BRANCHES = document(
    [
        _in({"name": "n", "type": "integer", "required": True}),
        node("which", "condition", {"cases": [
            {"port": "big", "when": "in.n > `10`"}, {"port": "odd", "when": "in.n == `7`"}]}),
        node("a", "template", {"text": "big {{ in.n }}"}),
        node("b", "template", {"text": "odd {{ in.n }}"}),
        node("c", "template", {"text": "else"}),
        node("behind-a", "template", {"text": "{{ a.text }}!"}),
        _out({"a": "{{ behind-a.text }}", "b": "{{ b.text }}", "c": "{{ c }}", "port": "{{ which.port }}"}),
    ],
    [
        edge("in", "which"), edge("which", "a", "big"), edge("which", "b", "odd"), edge("which", "c", "else"),
        edge("a", "behind-a"), edge("behind-a", "out"), edge("b", "out"), edge("c", "out"),
    ],
)  # fmt: skip

_OUTPUTS = document(
    [
        _in(),
        node("which", "condition", {"cases": [{"port": "x", "when": "in.x"}, {"port": "y", "when": "in.y"}]}),
        _out("{{ in.x }}", "first"),
        _out({"y": "{{ in.y }}"}, "second"),
        _out("always", "third"),
    ],
    [edge("in", "which"), edge("which", "first", "x"), edge("which", "second", "y"), edge("in", "third")],
)
_ONLY_BRANCH_OUTPUTS = document(
    [
        _in(),
        node("which", "condition", {"cases": [{"port": "x", "when": "in.x"}]}),
        _out("{{ in.x }}", "first"),
    ],
    [edge("in", "which"), edge("which", "first", "x")],
)
_SKIPPED_CHAIN = document(
    [
        _in(),
        node("which", "condition", {"cases": [{"port": "x", "when": "in.x"}]}),
        node("a", "template", {"text": "a"}),
        node("b", "template", {"text": "b {{ a.text }}"}),
        node("last", "template", {"value": {"b": "{{ b }}", "n": "{{ in.n }}"}}),
    ],
    [edge("in", "which"), edge("which", "a", "x"), edge("a", "b"), edge("b", "last"), edge("in", "last")],
)


def _failing(on_error: str) -> dict[str, Any]:
    return chain(
        _in(),
        node("sum", "transform", {"expression": "sum(in.items)"}, on_error=on_error),
        _out({"error": "{{ sum.error }}", "sum": "{{ sum }}"}),
    )


_FAILING_CONDITION = document(
    [
        _in(),
        node("which", "condition", {"cases": [{"port": "x", "when": "length(in.n) > `1`"}]}, on_error="continue"),
        node("a", "template", {"text": "x"}),
        node("b", "template", {"text": "{{ which.error.message }}"}),
    ],
    [edge("in", "which"), edge("which", "a", "x"), edge("which", "b", "else")],
)
_TWO_INPUTS = document(
    [
        node("one", "api_input", {"fields": [{"name": "a", "default": 'x"y'}, {"name": "both", "default": "1"}]}),
        node("two", "api_input", {"fields": [{"name": "b", "type": "integer"}, {"name": "both", "min_length": 2}]}),
        _out({"one": "{{ one }}", "two": "{{ two }}"}),
    ],
    [edge("one", "out"), edge("two", "out")],
)
_VALUES = {
    "text": 'q"\\\u00e9\u2028', "n": 1e16, "small": 0.00001234, "tiny": 1e-6, "none": None, "yes": True,
    "list": [1, {"k": "v"}, None], "0": "zero", "007": "bond", "a.b": {"c d": [1, 2, 3]}, "empty": "", "object": {},
}  # fmt: skip
_LOOKUPS = [
    "{{ in.text }}", "{{ in.n }}", "n={{ in.n }}, {{in.small}}, {{ in.tiny }}", "{{ in.none }}", "[{{ in.none }}]",
    "{{ in.list.1.k }}", "{{ in.list[1].k }}", "{{ in.list[-1] }}", "{{ in.list[-3] }}", "{{ in.list.9 }}",
    "{{ in.0 }}", '{{ in["007"] }}', "{{ in.007 }}", "{{ in[007] }}", "{{ in.list.00 }}", '{{ in["a.b"]["c d"][1] }}',
    "{{ in.text.x.y }}", "{{ in.list.name }}", "x {{ in }} y", '{{ in.missing | default:"d" | upper }}',
    "{{ in.empty | default:5 }}", "{{ in.empty | default:null }}", "{{ in.list | json }}", "{{ in.text | json }}",
    "{{ in.text | urlencode }}", "{{ in.text | length }}", "{{ in.list | length }}", "{{ in.object | length }}",
    "{{ in.none | length }}", "{{in.text|upper|lower|trim}}", "\\{{ in.text }}", "}} {{ in.yes }} \\{{", "{ { in } }",
    "line\none\n\ttwo {{ in.yes }}\r\n", '"""\\', "{{ run.input.n }}", "{{ session.id }}", "{{ session.turns }}",
    "{{ run.metadata }}", "{{ run.flow_id }}",
]  # fmt: skip

_EXPRESSION = """{
    a: in.items[?price > `3`].name, b: sort_by(in.items, &price)[0], c: run.input.items[].price, d: session.id,
    e: max_by(in.items, &price).name, f: join(',', in.items[*].name), g: `"{{ in.x }}"`, h: to_string(in)
}"""

PURE: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "branches": (_BRANCHES, [{"n": 11}, {"n": 7.0}, {"n": 1}, {"n": "x"}, {}, None, [1]]),
    "several outputs": (_OUTPUTS, [{}, {"x": 1}, {"x": 1, "y": 2}, {"y": [0]}, {"x": []}]),
    "the only output skipped": (_ONLY_BRANCH_OUTPUTS, [{}, {"x": {"a": 1}}]),
    "no output node": (_SKIPPED_CHAIN, [{}, {"x": True, "n": 3}]),
    "nothing but an input": (document([_in()], []), [{"a": [1, {"b": None}]}]),
    "no input node": (chain(node("a", "template", {"value": [1, 2]})), [{}, {"x": 1}]),
    "failure": (_failing("fail"), [{"items": [1, 2.5]}, {"items": "x"}, {"items": ["x"]}, {}]),
    "failure that continues": (_failing("continue"), [{"items": [1]}, {"items": "x"}, {}]),
    "failing condition": (_FAILING_CONDITION, [{"n": 5}, {"n": "xyz"}, {"n": "x"}]),
    "two inputs": (_TWO_INPUTS, [{"both": "22"}, {"both": "2"}, {"b": 4.0, "z": 1, "both": None}, {"a": 1, "b": "x"}]),
    "lookups": (_told(_LOOKUPS), [_VALUES]),
    "text": (_told(" | ".join(_LOOKUPS)), [_VALUES]),
    "lone lookup": (_told("{{ in.list }}"), [_VALUES, {}]),
    "constant": (_told({"a": [1, 2.5, "x", None, True, "\\{{ kept }}"], "b": "\\{{ in }}"}), [{}]),
    "constant beside a lookup": (_told({"a": ["\\{{ x"], "b": "{{ in.n }}", "c": "\\{{ x"}), [{"n": 1}]),
    "empty": (_told(""), [{}]),
    "null": (_told(None), [{}]),
    "template value": (
        chain(_in(), node("t", "template", {"value": {"a": "{{ in }}"}}), _out("{{ t.a }}")), [{"q": 1}],
    ),
    "names that are keywords": (
        chain(
            node("class", "api_input"), node("1741675999864", "template", {"text": "{{ class.x }}"}),
            node("a-b", "template", {"text": "{{ 1741675999864.text }}2"}),
            node("a_b", "template", {"text": "{{ a-b.text }}3"}), _out("{{ a_b.text }}", "print"),
        ),
        [{"x": 1}],
    ),
    "quoted in expressions": (
        chain(_in(), node("a-b", "template", {"text": "x"}), node("t", "transform", {"expression": '"a-b".text'})),
        [{}],
    ),
    "expressions": (
        chain(_in(), node("t", "transform", {"expression": _EXPRESSION})),
        [{"items": [{"name": "é", "price": 2.5}, {"name": "b", "price": 4}]}, {"items": []}, {}],
    ),
    "no JSON out of an expression": (
        chain(_in(), node("t", "transform", {"expression": "to_number(in.x)"}, on_error="continue"), _out("{{ t }}")),
        [{"x": "nan"}, {"x": "1e5"}, {"x": "-inf"}],
    ),
    "echo": (
        chain(_in(), node("m", "prompt", {"model": "echo/x", "system": "Be {{ in.mood }}", "prompt": "{{ in.q }}\n"})),
        [{"mood": "kind and good", "q": "a  b\tc"}, {}],
    ),
    "history without a session": (
        chain(_in(), node("m", "prompt", {"model": "echo/x", "prompt": "{{ in }}", "history": True})), [{"a": 1}],
    ),
}  # fmt: skip
"""Document and inputs by name. `echo` is asked of nobody outside, so it belongs here."""
