"""Snippets as text: no value breaks out of its literal, whatever it holds."""

import ast
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.events.managed import Mode
from libs.flows import compile_flow, load
from services.gateway.endpoints import endpoints_of
from services.gateway.snippets import snippets_of
from services.gateway.snippets.calls import CALLS, Sample, input_of
from services.gateway.snippets.literals import fill, prose, python, shell, shell_json

HOSTILE = "'\"`$(id) ${HOME} \\ \\n %s {} {{ in.x }} «key» «url» \n\r\t\u2028\u0000 ''' \"\"\" */ <!-- ü 😀"

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def document(*fields: dict[str, Any], name: str = "F") -> dict[str, Any]:
    return {
        "name": name,
        "nodes": [
            {"id": "in", "type": "api_input", "config": {"fields": list(fields)}},
            {"id": "t", "type": "template", "config": {"text": "x"}},
        ],
        "edges": [{"source": "in", "target": "t"}],
    }


def sample(*fields: dict[str, Any], mode: Mode = "sync", name: str = "F", key: str = "sk-k") -> Sample:
    flow = compile_flow(load(document(*fields)))
    endpoints = endpoints_of("http://127.0.0.1:8080", "dep")
    return Sample(name=name, mode=mode, endpoints=endpoints, key=key, flow=flow, input=input_of(flow))


@given(json_values)
@settings(max_examples=150, deadline=None)
def test_a_python_literal_is_the_value(value: Any) -> None:
    assert ast.literal_eval(python(value)) == value


@given(texts.filter(lambda text: "\0" not in text))
@settings(max_examples=20, deadline=None)
def test_a_shell_word_is_the_text(text: str) -> None:
    done = subprocess.run(["sh", "-c", f"printf '%s' {shell(text)}"], capture_output=True, check=True, timeout=10)
    assert done.stdout == text.encode()


def test_shell_json_is_the_value() -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf '%s' {shell_json(HOSTILE)}"], capture_output=True, check=True, timeout=10
    )
    assert json.loads(done.stdout) == HOSTILE


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert fill("a «x» «y»", x="«y»", y="2") == "a «y» 2\n"


def test_further_lines_are_indented_like_the_line_they_begin_on() -> None:
    assert fill("f(\n    «x»,\n)", x="[\n  1\n]") == "f(\n    [\n      1\n    ],\n)\n"


def test_prose_ends_no_comment_and_no_docstring() -> None:
    assert set(prose(HOSTILE)).isdisjoint('"\\`\n\r\u2028\0')


@pytest.mark.parametrize("mode", ["sync", "async", "stream"])
def test_python_snippets_hold_the_input_and_compile_whatever_the_values(mode: Mode) -> None:
    field = {"name": "te\"'xt", "type": "string", "test_value": HOSTILE}
    snippets = snippets_of(sample(field, mode=mode, name=HOSTILE, key=HOSTILE))
    assert list(snippets) == list(CALLS)
    for dialect, languages in snippets.items():
        assert list(languages) == ["curl", "python", "javascript"]
        constants = [node.value for node in ast.walk(ast.parse(languages["python"])) if isinstance(node, ast.Constant)]
        assert HOSTILE in constants, dialect
        checked = subprocess.run(["sh", "-n"], input=languages["curl"], text=True, timeout=10, check=False)
        assert checked.returncode == 0, dialect


def test_values_come_from_tests_defaults_and_choices() -> None:
    flow = compile_flow(
        load(
            document(
                {"name": "tested", "test_value": "t", "default": "d"},
                {"name": "defaulted", "default": "d"},
                {"name": "chosen", "enum": ["c", "e"]},
                {"name": "count", "type": "integer"},
            )
        )
    )
    assert input_of(flow) == {"tested": "t", "defaulted": "d", "chosen": "c", "count": 1}


def test_a_field_that_may_be_left_out_is_where_no_good_value_is_known() -> None:
    flow = compile_flow(
        load(
            document(
                {"name": "code", "pattern": "^[0-9]+$"},
                {"name": "a/b~c", "min_length": 50},
                {"name": "file", "type": "file"},
                {"name": "none", "test_value": None},
                {"name": "kept", "required": True, "pattern": "^[0-9]+$"},
                {"name": "sent", "type": "file", "test_value": "https://example.org/a.txt"},
            )
        )
    )
    assert input_of(flow) == {"kept": "<kept>", "sent": "https://example.org/a.txt"}


def test_langflow_takes_the_webhook_where_one_text_is_not_enough() -> None:
    one = CALLS["langflow"](sample({"name": "q", "required": True, "test_value": "?"}))
    assert (one.url.rpartition("/")[2], one.body) == ("run", {"input_value": "?"})
    two = {"name": "n", "type": "integer", "required": True, "test_value": 3}
    both = CALLS["langflow"](sample({"name": "q", "test_value": "?"}, two))
    assert both.url.endswith("/api/v1/webhook/dep")
    assert both.body == {"q": "?", "n": 3}


def test_fluxprompt_says_values_as_text_and_files_by_address() -> None:
    fields = (
        {"name": "s", "test_value": "x"},
        {"name": "n", "type": "number", "test_value": 1.5},
        {"name": "o", "type": "object", "test_value": {"url": "x"}},
        {"name": "f", "type": "file", "test_value": {"url": "https://example.org/a"}},
    )
    assert CALLS["fluxprompt"](sample(*fields)).body["variableInputs"] == [
        {"inputId": "s", "inputText": "x"},
        {"inputId": "n", "inputText": "1.5"},
        {"inputId": "o", "inputText": '{"url":"x"}'},
        {"inputId": "f", "fileUrl": "https://example.org/a"},
    ]
