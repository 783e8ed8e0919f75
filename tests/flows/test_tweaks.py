"""Tweaks: what a caller may change for one run, and what belongs to the flow's owner."""

from typing import Any

import pytest

from libs.flows import InvalidTweaks, apply_tweaks, compile_flow, load
from tests.flows.documents import chain, node, scope_with

MODEL = {"model": "openai/gpt-4o-mini", "prompt": "Say {{ in.x }}", "temperature": 0.9, "system": "{{ secret.tone }}"}
CALL = {"url": "https://api.test/x", "headers": {"Authorization": "Bearer {{ secret.key }}"}, "body": {"a": 1}}


def flow() -> Any:
    return load(
        chain(
            node("in", "api_input", {"fields": [{"name": "x"}]}),
            node("llm", "prompt", MODEL),
            node("call", "http_request", CALL),
            node("out", "api_output", {"value": "{{ llm.text }}", "callback_url": "https://cb.test/"}),
        )
    )


def tweaked(original: Any, tweaks: Any) -> Any:
    return apply_tweaks(original, tweaks)


def faults(tweaks: Any) -> dict[str, str]:
    with pytest.raises(InvalidTweaks) as caught:
        apply_tweaks(flow(), tweaks)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_settings_change_for_the_tweaked_node_alone() -> None:
    original = flow()
    changed = tweaked(original, {"llm": {"temperature": 0.2, "model": "openai/gpt-4o"}})
    assert (changed.nodes[1].config.temperature, changed.nodes[1].config.model) == (0.2, "openai/gpt-4o")
    assert changed.nodes[1].config.prompt == MODEL["prompt"]
    assert changed.nodes[2] is original.nodes[2]
    assert original.nodes[1].config.temperature == 0.9


def test_a_tweaked_template_is_the_one_that_runs() -> None:
    run = compile_flow(tweaked(flow(), {"out": {"value": "got {{ llm.text }}"}}))
    assert run.nodes["out"].evaluate(scope_with({"llm": {"text": "x"}})) == "got x"


@pytest.mark.parametrize(
    ("tweaks", "pointer"),
    [
        ({"nobody": {"x": 1}}, "/tweaks/nobody"),
        ({"llm": 3}, "/tweaks/llm"),
        ({"llm": {"colour": 1}}, "/tweaks/llm/colour"),
        ({"llm": {"temperature": 9}}, "/tweaks/llm/temperature"),
        ({"llm": {"prompt": "{{ out }}"}}, "/tweaks/llm/prompt"),
        ({"llm": {"prompt": "{{ open"}}, "/tweaks/llm/prompt"),
        ({"call": {"url": "https://evil.test"}}, "/tweaks/call/url"),
        ({"call": {"headers": {}}}, "/tweaks/call/headers"),
        ({"out": {"callback_url": "https://evil.test"}}, "/tweaks/out/callback_url"),
        ({"out": {"email": {"to": "a@b.c", "subject": "x"}}}, "/tweaks/out/email"),
        ({"in": {"fields": []}}, "/tweaks/in/fields"),
    ],
)
def test_what_may_not_be_tweaked_is_refused(tweaks: Any, pointer: str) -> None:
    assert list(faults(tweaks)) == [pointer]


def test_all_faults_are_told_at_once() -> None:
    assert set(faults({"llm": {"colour": 1, "size": 2}, "call": {"url": "x"}, "x": {}})) == {
        "/tweaks/llm/colour",
        "/tweaks/llm/size",
        "/tweaks/call/url",
        "/tweaks/x",
    }


def test_a_node_opens_and_closes_its_own_keys() -> None:
    opened = load(chain(node("call", "http_request", CALL, tweakable=["url"]), node("b", "template", {"text": "x"})))
    assert tweaked(opened, {"call": {"url": "https://b.test"}}).nodes[0].config.url == "https://b.test"
    closed = load(chain(node("t", "template", {"text": "x"}, locked=["text"]), node("b", "template", {"text": "x"})))
    with pytest.raises(InvalidTweaks, match="is locked"):
        tweaked(closed, {"t": {"text": "y"}})


@pytest.mark.parametrize(
    "tweaks", [{"llm": {"prompt": "{{ secret.key }}"}}, {"call": {"body": {"deep": ["{{ secret.key }}"]}}}]
)
def test_a_tweak_cannot_read_secrets(tweaks: Any) -> None:
    (detail,) = faults(tweaks).values()
    assert detail == "a tweak can't read secrets"


def test_the_owners_secrets_stay_where_they_are_when_something_else_is_tweaked() -> None:
    assert tweaked(flow(), {"llm": {"prompt": "x"}}).nodes[1].config.system == MODEL["system"]


def test_no_tweaks_change_nothing() -> None:
    original = flow()
    assert tweaked(original, {}) == original
    assert tweaked(original, {"llm": {}}) == original
