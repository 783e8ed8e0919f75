"""The flows that are run: nothing but pure nodes, effects in a row and side by side, branches, failures, a model."""

from typing import Any

from tests.flows.documents import chain, document, edge, node

_FIELDS = {"fields": [{"name": "n", "type": "integer", "required": True}]}
_RETRY = {"max_attempts": 3, "backoff_seconds": 0.5}


def _call(node_id: str, **more: Any) -> dict[str, Any]:
    config = {"url": "http://well.example/" + node_id, "method": "POST"}
    return node(node_id, "http_request", config, retry=_RETRY, **more)


def _broken(node_id: str, **more: Any) -> dict[str, Any]:
    config = {"url": "http://broken.example/" + node_id, "method": "POST"}
    return node(node_id, "http_request", config, retry={"max_attempts": 2, "backoff_seconds": 0.5}, **more)


_PURE = chain(
    node("in", "api_input", _FIELDS),
    node("say", "template", {"text": "number {{ in.n }}"}),
    node("out", "api_output", {"value": "{{ say.text }}"}),
)

_FRAIL = chain(
    node("in", "api_input", _FIELDS),
    node(
        "odd",
        "transform",
        {"expression": "abs(in.n == `2` && 'even' || in.n)"},
        retry={"max_attempts": 2, "backoff_seconds": 1.5},
    ),
    node("out", "api_output", {"value": "{{ odd }}"}),
)
"""Runs of it are asked for together, and those of an even number leave the others."""

_ROW = chain(
    node("in", "api_input", _FIELDS),
    _call("first"),
    node("say", "template", {"text": "{{ first.body.heard }}"}),
    _call("second"),
    node("out", "api_output", {"value": "{{ second.body.heard }} after {{ say.text }}"}),
)

_SIDE_BY_SIDE = document(
    [
        node("in", "api_input", _FIELDS),
        _call("left"),
        _call("middle"),
        _call("right"),
        node("out", "api_output", {"value": "{{ left.status }} {{ middle.status }} {{ right.status }}"}),
    ],
    [edge("in", each) for each in ("left", "middle", "right")]
    + [edge(each, "out") for each in ("left", "middle", "right")],
)

_BRANCHES = document(
    [
        node("in", "api_input", _FIELDS),
        node("odd", "condition", {"cases": [{"port": "yes", "when": "in.n == `1`"}]}),
        _call("one"),
        _broken("other", on_error="continue"),
        node("out", "api_output", {"value": "{{ one.status }} {{ other.status }}"}),
    ],
    [
        edge("in", "odd"),
        edge("odd", "one", "yes"),
        edge("odd", "other", "else"),
        edge("one", "out"),
        edge("other", "out"),
    ],
)

_FAILS = chain(
    node("in", "api_input", _FIELDS), _broken("never"), _call("after"), node("out", "api_output", {"value": "x"})
)

_TALKS = chain(
    node("in", "api_input", _FIELDS),
    node("talk", "prompt", {"model": "talker/slow", "prompt": "{{ in.n }}", "stream": True, "history": True}),
    node("out", "api_output", {"value": "{{ talk.text }}"}),
)

_RESTS = chain(
    node("in", "api_input", _FIELDS),
    node("wait", "delay", {"seconds": 4}),
    node("call", "http_request", {"url": "http://well.example/call"}, retry={"max_attempts": 3, "backoff_seconds": 2}),
    node("again", "delay", {"seconds": 0.5}),
    node("out", "api_output", {"value": "{{ call.status }}"}),
)

_HURRIES: dict[str, Any] = {
    **chain(
        node("in", "api_input", _FIELDS),
        node(
            "call", "http_request", {"url": "http://well.example/call"}, retry={"max_attempts": 9, "backoff_seconds": 2}
        ),
        node("wait", "delay", {"seconds": 5}),
        node("out", "api_output", {"value": "{{ call.status }}"}),
    ),
    "settings": {"timeout_seconds": 7},
}

FRAIL = "frail"

DOCUMENTS: dict[str, dict[str, Any]] = {
    "pure": _PURE,
    FRAIL: _FRAIL,
    "row": _ROW,
    "side-by-side": _SIDE_BY_SIDE,
    "branches": _BRANCHES,
    "fails": _FAILS,
    "talks": _TALKS,
    "rests": _RESTS,
    "hurries": _HURRIES,
}
