"""A run's input against the declared fields."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.flows import InvalidInput, input_schema, load, sample_input
from tests.flows.documents import compiled, document, node, scope_with


def reader(*fields: dict[str, Any]) -> Any:
    return compiled(document([node("in", "api_input", {"fields": list(fields)})], []))


def faults(flow: Any, raw: object, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        flow.read_input(raw, **more)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_every_fault_is_told_with_its_pointer() -> None:
    flow = reader(
        {"name": "name", "type": "string", "required": True, "max_length": 3},
        {"name": "a/b", "type": "integer", "minimum": 1},
        {"name": "kind", "type": "string", "enum": ["x", "y"]},
        {"name": "gone", "type": "string", "required": True},
    )
    assert faults(flow, {"name": "long", "a/b": 0, "kind": "z", "gone": None}) == {
        "/input/name": "must not be longer than 3",
        "/input/a~1b": "must be at least 1",
        "/input/kind": 'must be one of "x", "y"',
        "/input/gone": "is required",
    }


def test_the_pointer_begins_where_the_caller_put_the_input() -> None:
    flow = reader({"name": "name", "required": True})
    assert list(faults(flow, {}, pointer="")) == ["/name"]
    assert list(faults(flow, {}, pointer="/input_data")) == ["/input_data/name"]


@pytest.mark.parametrize("raw", [[], "x", 3, True, [{}]])
def test_an_input_is_an_object(raw: Any) -> None:
    assert faults(reader(), raw) == {"/input": "must be object"}


def test_no_input_is_an_empty_one() -> None:
    assert reader({"name": "x"}).read_input(None) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "string"}, 3),
        ({"type": "string"}, True),
        ({"type": "number"}, True),
        ({"type": "number"}, "3"),
        ({"type": "integer"}, 3.5),
        ({"type": "integer"}, False),
        ({"type": "boolean"}, 1),
        ({"type": "boolean"}, "true"),
        ({"type": "object"}, []),
        ({"type": "array"}, {}),
        ({"type": "array", "max_length": 1}, [1, 2]),
        ({"type": "object", "min_length": 1}, {}),
        ({"type": "string", "min_length": 2}, "ä"),
        ({"type": "string", "pattern": "^a+$"}, "b"),
        ({"type": "number", "maximum": 1.5}, 1.6),
        ({"type": "file"}, {}),
        ({"type": "file"}, {"url": "ftp://x"}),
        ({"type": "file"}, 3),
        ({"type": "file", "max_length": 5}, {"base64": "", "size": 6}),
    ],
)
def test_a_value_of_another_kind_is_refused(field: dict[str, Any], value: Any) -> None:
    assert all(pointer.startswith("/input/x") for pointer in faults(reader({"name": "x", **field}), {"x": value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "string", "max_length": 2}, "äö"),
        ({"type": "string", "pattern": "b"}, "abc"),
        ({"type": "number"}, 3),
        ({"type": "integer"}, 2**70),
        ({"type": "boolean"}, False),
        ({"type": "object"}, {"a": [1]}),
        ({"type": "array"}, []),
        ({"type": "file"}, {"file_id": "file_1"}),
        ({"type": "file", "max_length": 5}, {"url": "https://host/x"}),
        ({"type": "file"}, {"name": "a", "content_type": "text/plain", "size": 1, "text": "x", "base64": "eA=="}),
    ],
)
def test_a_value_that_fits_is_read_as_it_is(field: dict[str, Any], value: Any) -> None:
    assert reader({"name": "x", **field}).read_input({"x": value}) == {"x": value}


def test_an_integer_written_with_a_point_is_read_as_an_integer() -> None:
    given = reader({"name": "x", "type": "integer"}).read_input({"x": 3.0})
    assert msgspec.json.encode(given) == b'{"x":3}'


def test_a_file_may_be_a_plain_address_or_id() -> None:
    flow = reader({"name": "x", "type": "file"})
    assert flow.read_input({"x": "HTTP://host/x"}) == {"x": {"url": "HTTP://host/x"}}
    assert flow.read_input({"x": "file_7"}) == {"x": {"file_id": "file_7"}}
    assert list(flow.files) == ["x"]


def test_defaults_stand_in_for_what_is_absent_or_null() -> None:
    flow = reader({"name": "x", "type": "integer", "default": 5, "required": True}, {"name": "y"})
    assert flow.read_input({}) == {"x": 5}
    assert flow.read_input({"x": None, "y": None}) == {"x": 5, "y": None}
    assert flow.read_input({"x": 0}) == {"x": 0}


def test_undeclared_members_are_kept_and_the_callers_object_is_left_alone() -> None:
    raw = {"x": 2.0, "extra": {"a": 1}}
    assert reader({"name": "x", "type": "integer"}).read_input(raw) == {"x": 2, "extra": {"a": 1}}
    assert isinstance(raw["x"], float)


def test_hostile_patterns_take_linear_time() -> None:
    flow = reader({"name": "x", "pattern": "^(a+)+$"})
    assert "/input/x" in faults(flow, {"x": "a" * 50_000 + "b"})


def test_nesting_that_could_not_be_stored_is_refused() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert "levels" in faults(reader(), {"extra": deep})["/input/extra"]


def test_several_inputs_share_one_object_and_each_leaves_out_the_others_fields() -> None:
    fields_a = [{"name": "a"}, {"name": "both", "required": True}]
    fields_b = [{"name": "b", "type": "integer"}, {"name": "both", "max_length": 3}]
    nodes = [node("one", "api_input", {"fields": fields_a}), node("two", "api_input", {"fields": fields_b})]
    flow = compiled(document(nodes, []))
    given = flow.read_input({"a": "x", "b": 1, "both": "z", "extra": 0})
    scope = scope_with(given=given)
    assert flow.nodes["one"].evaluate(scope) == {"a": "x", "both": "z", "extra": 0}
    assert flow.nodes["two"].evaluate(scope) == {"b": 1, "both": "z", "extra": 0}
    assert set(faults(flow, {"both": "long", "b": "x"})) == {"/input/both", "/input/b"}
    assert set(faults(flow, {})) == {"/input/both"}


def test_the_schema_and_the_sample_describe_the_input() -> None:
    fields = [
        {"name": "name", "required": True, "description": "who", "test_value": "Ada"},
        {"name": "n", "type": "integer", "minimum": 1, "default": 2},
        {"name": "kind", "enum": ["x", "y"]},
        {"name": "doc", "type": "file"},
    ]
    flow = load(document([node("in", "api_input", {"fields": fields})], []))
    schema = input_schema(flow)
    assert schema["required"] == ["name"]
    assert schema["properties"]["name"] == {"type": "string", "description": "who", "examples": ["Ada"]}
    assert schema["properties"]["n"] == {"type": "integer", "default": 2, "minimum": 1}
    sample = sample_input(flow)
    assert sample["name"] == "Ada"
    assert sample["n"] == 2
    assert sample["kind"] == "x"
    assert compiled(document([node("in", "api_input", {"fields": fields})], [])).read_input(sample) == sample


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "url"]), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(raw: Any) -> None:
    flow = reader({"name": "x", "type": "integer", "maximum": 9}, {"name": "y", "type": "file", "required": True})
    with contextlib.suppress(InvalidInput):
        assert set(flow.read_input(raw)) >= {"y"}
