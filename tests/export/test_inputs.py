"""An exported file takes the inputs that the service takes, and reads them the same."""

import re
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, RegexOptions

from libs.flows import InvalidFlow, InvalidInput, compile_flow, load
from libs.flows.export import export_python
from libs.flows.export.patterns import python_pattern
from tests.export.processes import in_this_process, requirements_of
from tests.flows.documents import chain, node

_PATTERNS = [
    r"^\d{3}$", r"^\w+$", r"\s", r"^[^\d\s]+$", r"^[\w.-]+@[\w-]+\.[a-z]{2,}$", r"^a|b$", r"(ab)+?c", r"^.$", r"\.",
    "é", r"^(?:a|[b-d])*$", r"[-a]", r"[a-]", r"^\S+$", r"^[A-Z]{2}\d{2} ?(?:\w{4} ?)*$", r"\/", r"[$^.|]", "x$",
]  # fmt: skip
_LEFT_TO_THE_ENGINE = [
    r"(?i)abc",
    r"\bé",
    r"\p{L}",
    r"[[:alpha:]]",
    r"a{2}{3}",
    "^*",
    r"\x{e9}",
    r"[a&&b]",
    "]",
    r"\cA",
]

_STRINGS = st.text("ab1 é\n", max_size=4)
_NUMBERS = st.integers(-5, 5) | st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e300])
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=4,
)
_OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": _STRINGS,
    "number": _NUMBERS,
    "integer": st.integers(-5, 5) | st.sampled_from([1.0, -3.0]),
    "boolean": st.booleans(),
    "object": st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3),
    "array": st.lists(_JSON, max_size=3),
}


@st.composite
def _field(draw: st.DrawFn) -> dict[str, Any]:
    """A field whose checks and values suit its type."""
    kind = draw(st.sampled_from(list(_OF_TYPE)))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "required": st.booleans(),
        "default": st.none() | _OF_TYPE[kind],
        "enum": st.lists(_OF_TYPE[kind], min_size=1, max_size=3),
    }
    if kind in ("string", "array", "object"):
        optional |= {"min_length": st.integers(0, 2), "max_length": st.integers(2, 4)}
    elif kind in ("number", "integer"):
        optional |= {"minimum": st.integers(-3, 0), "maximum": st.floats(0, 3)}
    if kind == "string":
        optional["pattern"] = st.sampled_from(_PATTERNS)
    name = draw(st.sampled_from(["a", "b", "c d"]))
    return {"name": name, "type": kind, **draw(st.fixed_dictionaries({}, optional=optional))}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    st.lists(_field(), max_size=3, unique_by=lambda field: field["name"]),
    st.lists(_JSON | st.dictionaries(st.sampled_from(["a", "b", "c d", "x"]), _JSON | _NUMBERS | _STRINGS), max_size=8),
)
def test_a_file_takes_what_the_service_takes(fields: list[dict[str, Any]], inputs: list[Any]) -> None:
    document = chain(node("in", "api_input", {"fields": fields}), node("out", "api_output", {"value": "{{ in }}"}))
    try:
        flow = compile_flow(load(document))
    except InvalidFlow:
        reject()
    module = in_this_process(document)
    for each in inputs:
        try:
            wanted: Any = flow.read_input(each, "")
        except InvalidInput as invalid:
            with pytest.raises(module.InvalidInput) as refused:
                module.run(each)
            wanted_names = {_name(fault.pointer) for fault in invalid.faults}
            assert {name for name, _ in refused.value.faults} == wanted_names
        else:
            assert repr(module.run(each)) == repr(wanted)  # which tells 1, 1.0 and true apart


def _name(pointer: str) -> str:
    """The field that a fault's pointer leads into."""
    return pointer.split("/")[1] if pointer else ""


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_plain_patterns_need_no_library(pattern: str) -> None:
    assert python_pattern(pattern) is not None


@pytest.mark.parametrize("pattern", _LEFT_TO_THE_ENGINE)
def test_other_patterns_are_left_to_the_engine_of_the_service(pattern: str) -> None:
    assert python_pattern(pattern) is None
    document = chain(node("in", "api_input", {"fields": [{"name": "a", "pattern": pattern}]}))
    flow, module = compile_flow(load(document)), in_this_process(document)
    assert requirements_of(export_python(load(document))) == ["jsonschema-rs"]
    for text in ("ABC", "é", "x", "aaaaaa", "]", "\x01", "b"):
        try:
            flow.read_input({"a": text})
        except InvalidInput:
            with pytest.raises(module.InvalidInput):
                module.run({"a": text})
        else:
            assert module.run({"a": text}) == {"a": text}


_PIECES = st.sampled_from(
    [
        *"ab1é-&|.^$()[]*+?{}~# ",
        *("(?:", "[^", "{2}", "{1,}", "[a-c]", "[^1]", r"[\w.-]", r"[\s|]"),
        *(rf"\{each}" for each in "dwsDWS.-nb"),
    ]
)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(_PIECES, min_size=1, max_size=7).map("".join),
    st.lists(st.text("ab1é-&|.^$\n\u00a0\u0660 ~]", max_size=5), max_size=4),
)
def test_a_translated_pattern_matches_what_the_engine_matches(pattern: str, texts: list[str]) -> None:
    translated = python_pattern(pattern)
    if translated is None:
        return
    try:
        engine = Draft202012Validator({"pattern": pattern}, pattern_options=RegexOptions())
    except ValueError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = re.compile(translated)
    for text in ["", *texts]:
        assert bool(compiled.search(text)) == engine.is_valid(text)
