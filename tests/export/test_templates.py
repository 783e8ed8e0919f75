"""Templates as Python code render what the engine renders, whatever they hold."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.flows import InvalidFlow, load
from libs.flows.export.runtime.values import read_json, to_json, urlencode
from tests.export.engine import by_engine_alone
from tests.export.processes import in_this_process
from tests.flows.documents import chain, node

_KEYS = st.sampled_from(["a", "0", "x y", "é"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)
_STEPS = st.sampled_from([".a", ".0", "[0]", "[-1]", '["x y"]', ".é", '["0"]', ".00", "[01]", r'["\"\\"]', ".a.a"])
_NAMED = ("upper", "lower", "trim", "json", "length", "urlencode")
_FILTERS = st.sampled_from([*_NAMED, 'default:"d\\n\\""', "default: 1.50", "default:null", "default:true"])
_LOOKUPS = st.builds(
    lambda root, steps, filters, space: f"{{{{{space}{root}{''.join(steps)}{''.join(filters)}{space}}}}}",
    st.sampled_from(["in", "run.input", "session.id"]),
    st.lists(_STEPS, max_size=3),
    st.lists(_FILTERS.map(" | {}".format), max_size=2),
    st.sampled_from(["", " ", "\n\t"]),
)
_LITERALS = st.sampled_from(
    ["\\{{", "}}", "{", '"', '"""', "\\", "'", "\n", "é", "\u2028", "\x00", "{{{", "# ", "\U0001f600"]
) | st.text(max_size=3)
_TEXTS = st.lists(_LOOKUPS | _LITERALS, max_size=4).map("".join)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=120, deadline=None)
@given(_VALUES, _TEXTS, st.lists(st.dictionaries(_KEYS, _JSON, max_size=4), max_size=4))
def test_any_template_renders_as_in_the_engine(value: Any, text: str, inputs: list[Any]) -> None:
    document = chain(
        node("in", "api_input"),
        node("t", "template", {"text": text}),
        node("out", "api_output", {"value": {"value": value, "text": "{{ t.text }}"}}),
    )
    try:
        load(document)
    except InvalidFlow:
        return
    module = in_this_process(document)
    for given_input in inputs:
        wanted = by_engine_alone(document, given_input)
        assert wanted.status == 0
        assert repr(module.run(given_input)) == repr(wanted.output)


@settings(max_examples=300, deadline=None)
@given(_JSON)
def test_json_is_written_as_the_service_writes_it(value: Any) -> None:
    written = to_json(value)
    assert written == msgspec.json.encode(value).decode()
    assert repr(read_json(written)) == repr(json.loads(written))


def test_a_value_is_one_component_of_a_url() -> None:
    assert urlencode("a/b c&ü") == "a%2Fb%20c%26%C3%BC"
