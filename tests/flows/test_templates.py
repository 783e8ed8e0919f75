"""Templates: what lookups read, how they read inside a text, and that data stays data."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.flows.templates import InvalidTemplate, compile_template, compile_value
from libs.flows.weight import MAX_DEPTH
from libs.runtime.failures import Terminal
from tests.flows.documents import scope, scope_with

OUTPUTS: dict[str, Any] = {
    "in": {"name": "Ada", "n": 3, "ok": True, "none": None, "list": [1, {"x": "y"}], "größe": 5, "a b": 6, "f": 1.5},
    "OpenAI-xxxxx": {"text": "hi"},
    "1741675999864": {"text": "digits"},
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Hello, {{ in.name }}!", "Hello, Ada!"),
        ("{{in.name}}{{in.n}}", "Ada3"),
        ("{{ in.ok }} {{ in.f }} {{ in.none }}.", "true 1.5 ."),
        ("{{ in.list }}", '[1,{"x":"y"}]'),
        ("{{ in.list.0 }}{{ in.list[0] }}{{ in.list[-2] }}{{ in.list.1.x }}", "111y"),
        ("{{ in.list.9 }}{{ in.list[-9] }}{{ in.name.x }}{{ skipped.x.y }}", ""),
        ('{{ in.größe }}{{ in["a b"] }}', "56"),
        ("{{ OpenAI-xxxxx.text }} {{ 1741675999864.text }}", "hi digits"),
        ("{{ in.name | upper }} {{ in.name|lower|json }}", 'ADA "ada"'),
        ("{{ in.list | length }}{{ in.name | length }}{{ in.none | length }}", "230"),
        ('{{ in.none | default:"x y" }}{{ in.name | default: 1 }}{{ in.zip | default:7 }}', "x yAda7"),
        ('{{ in["a b"] | urlencode }}{{ in.list | urlencode }}', "6%5B1%2C%7B%22x%22%3A%22y%22%7D%5D"),
        (r"\{{ in.name }} and {{ in.name }}", "{{ in.name }} and Ada"),
        ('{"a":{"b":{{ in.n }}}}', '{"a":{"b":3}}'),
        ("no lookup } {", "no lookup } {"),
        ("{{ run.id }} {{ run.input.q }}", "run_1 "),
        ("", ""),
    ],
)
def test_a_text_reads(text: str, rendered: str) -> None:
    assert compile_template(text).render(scope_with(OUTPUTS)) == rendered


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("{{ in.n }}", 3),
        (" {{ in.n }}", " 3"),
        ("{{ in.list }}", [1, {"x": "y"}]),
        ("{{ in.none }}", None),
        ("{{ in.list | length }}", 2),
        (
            {"a": ["{{ in.ok }}", {"b": "{{ in.name }}{{ in.n }}"}], "c": 1.5, "d": None},
            {"a": [True, {"b": "Ada3"}], "c": 1.5, "d": None},
        ),
        ({"{{ in.name }}": 1}, {"{{ in.name }}": 1}),
    ],
)
def test_a_value_keeps_types_where_a_lookup_stands_alone(value: Any, rendered: Any) -> None:
    assert compile_value(value).render(scope_with(OUTPUTS)) == rendered


def test_data_is_never_read_as_a_template() -> None:
    reads = compile_template("{{ in.name }}").render
    assert reads(scope_with({"in": {"name": "{{ secret.key }}"}}, secrets={"key": "k"})) == "{{ secret.key }}"


def test_secrets_are_read_by_name_and_a_missing_one_fails_the_node() -> None:
    reads = compile_template("Bearer {{ secret.API_KEY }}").render
    assert reads(scope_with(secrets={"API_KEY": "k"})) == "Bearer k"
    with pytest.raises(Terminal, match="API_KEY"):
        reads(scope())


def test_the_session_is_readable() -> None:
    turns = [{"input": "a", "output": "b"}]
    assert compile_value("{{ session.turns[-1].output }}").render(scope_with(session={"turns": turns})) == "b"


@pytest.mark.parametrize(
    "text",
    ["{{", "{{ in", "{{ in.name", "{{ .x }}", "{{ in..x }}", "{{ in name }}", "{{ in.x | nope }}",
     "{{ a b.c }}", "{{ in.x | upper:1 }}", "{{ in[x] }}", "{{ in.x || y }}", "{{ secret }}",
     "{{ secret.a.b }}", "{{ " + "a" * 65 + " }}"],
)  # fmt: skip
def test_a_bad_lookup_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        compile_template(text)


def test_each_bad_lookup_of_a_text_is_told_with_its_position() -> None:
    with pytest.raises(InvalidTemplate) as caught:
        compile_template("{{ in.x }} {{ | }} and {{ in.x | nope }}")
    assert [fault.detail.split(":")[0] for fault in caught.value.faults] == ["at character 12", "at character 24"]


def test_references_name_what_is_read() -> None:
    references = compile_value({"a": "{{ in.name }} {{ secret.K }}", "b": ["{{ other }}"]}).references
    assert [(place, each.root, each.name) for place, each in references] == [
        ("/a", "in", "name"),
        ("/a", "secret", "K"),
        ("/b/0", "other", None),
    ]


def test_a_text_that_grows_too_large_fails_before_it_is_built() -> None:
    template = compile_template("{{ in }}" * 10_000)
    with pytest.raises(Terminal, match="larger"):
        template.render(scope_with({"in": "x" * 5_000_000}))


def test_sharing_does_not_smuggle_an_endless_value_through() -> None:
    doubling = compile_value(["{{ a }}", "{{ a }}"])
    value: Any = "x" * 100
    for _ in range(16):
        value = doubling.render(scope(a=value))
    with pytest.raises(Terminal, match="larger"):
        doubling.render(scope(a=value))


def test_nesting_cannot_grow_past_what_can_be_encoded() -> None:
    wrapping = compile_value({"a": "{{ a }}"})
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = wrapping.render(scope(a=value))
    msgspec.json.encode(value)
    with pytest.raises(Terminal, match="levels"):
        wrapping.render(scope(a=value))


@given(st.text(alphabet='{}\\ab.| "[]0:', max_size=40))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        assert isinstance(compile_template(text).render(scope_with(OUTPUTS)), str)
