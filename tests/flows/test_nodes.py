"""The behaviour of each node type; nodes with effects are led through their steps by hand."""

from typing import Any

import pytest

from libs.flows import HttpAnswer, HttpCall, ModelAnswer, ModelCall, Scope
from libs.flows.nodes.api_output import Deliveries, Email
from libs.runtime.failures import Retryable, Terminal
from tests.flows.documents import chain, faults_of, node, scope, scope_with, single

RUN = {"run": "run"}


def first(node: Any, given: Scope) -> Any:
    return next(node.steps(given))


def output(node: Any, given: Scope, *answers: Any) -> Any:
    """What the node returns when its effects are answered so."""
    steps = node.steps(given)
    next(steps)
    try:
        for answer in answers:
            steps.send(answer)
    except StopIteration as end:
        return end.value
    raise AssertionError("the node wants more answers")


def answer(status: int = 200, body: bytes = b"", **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status=status, headers=named, body=body, url="http://h/final")


def request(**config: Any) -> Any:
    return single("http_request", {"url": "http://h/x", **config})


def test_condition_takes_the_first_case_that_holds() -> None:
    cases = [{"port": "a", "when": "run.input.n > `5`"}, {"port": "b", "when": "run.input.n"}]
    node = single("condition", {"cases": cases})
    assert node.evaluate(scope_with(given={"n": 6})) == {"port": "a"}
    assert node.evaluate(scope_with(given={"n": 1})) == {"port": "b"}
    assert node.evaluate(scope_with(given={})) == {"port": "else"}


def test_template_outputs_its_text_or_its_value() -> None:
    assert single("template", {"text": "{{ run.id }}"}).evaluate(scope()) == {"text": "run_1"}
    assert single("template", {"value": {"a": "{{ run.input }}"}}).evaluate(scope_with(given={"x": 1})) == {
        "a": {"x": 1}
    }
    assert single("template", {"value": None}).evaluate(scope()) is None


def test_transform_outputs_the_result() -> None:
    assert single("transform", {"expression": "run.input.a"}).evaluate(scope_with(given={"a": [1]})) == [1]


def test_api_output_says_whom_else_to_tell() -> None:
    config = {
        "value": "{{ run.id }}",
        "callback_url": "https://cb.test/{{ run.input.path }}",
        "email": {"to": "{{ run.input.to }}", "subject": "Run\r\nBcc: x {{ run.id }}"},
    }
    node = single("api_output", config)
    given = scope_with(given={"path": "a/b", "to": "a@b.c"})
    assert node.evaluate(given) == "run_1"
    assert node.deliveries(given) == Deliveries(
        callback_url="https://cb.test/a%2Fb", email=Email(to="a@b.c", subject="Run Bcc: x run_1")
    )
    with pytest.raises(Terminal):
        node.deliveries(scope_with(given={"path": "x", "to": "a@b.c\r\nBcc: d@e.f"}))


def test_prompt_asks_with_system_history_and_prompt() -> None:
    config = {
        "model": "openai/gpt-4o",
        "system": "Be {{ run.input.mood }}",
        "prompt": "{{ run.input.q }}",
        "history": True,
    }
    turns = [{"input": {"input_value": "Hi"}, "output": "Hello"}, {"input": {"a": 1, "b": 2}, "output": {"n": 1}}]
    call = first(
        single("prompt", {**config, "temperature": 0.5, "max_tokens": 9}),
        scope_with(given={"mood": "kind", "q": "And?"}, session={"turns": turns}),
    )
    assert call == ModelCall(
        model="openai/gpt-4o",
        messages=[
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": '{"a":1,"b":2}'},
            {"role": "assistant", "content": '{"n":1}'},
            {"role": "user", "content": "And?"},
        ],
        temperature=0.5,
        max_tokens=9,
        stream=True,
    )


def test_prompt_without_history_or_system_sends_the_prompt_alone() -> None:
    call = first(
        single("prompt", {"model": "echo/echo", "prompt": "x"}), scope_with(session={"turns": [{"input": "a"}]})
    )
    assert call.messages == [{"role": "user", "content": "x"}]


def test_prompt_outputs_text_usage_and_cost() -> None:
    reply = ModelAnswer(text="t", reasoning=None, model="echo/echo", input_tokens=2, output_tokens=3, cost_usd=0.1)
    assert output(single("prompt", {"model": "echo/echo", "prompt": "x"}), scope(), reply) == {
        "text": "t",
        "reasoning": None,
        "model": "echo/echo",
        "usage": {"input_tokens": 2, "output_tokens": 3},
        "cost_usd": 0.1,
    }


def test_request_sends_what_was_templated() -> None:
    node = request(
        method="POST",
        url="http://h/users/{{ run.input.id }}?v=1",
        headers={"X-Name": "{{ run.input.name }}"},
        query={"q": "{{ run.input.q }}", "tags": ["a", "b"], "none": "{{ run.input.gone }}", "n": 1},
        body={"all": "{{ run.input }}"},
        timeout_seconds=2.5,
    )
    given = {"id": "../admin?x", "name": "Ada", "q": "a&b=c é"}
    assert first(node, scope_with(given=given)) == HttpCall(
        method="POST",
        url="http://h/users/..%2Fadmin%3Fx?v=1&q=a%26b%3Dc+%C3%A9&tags=a&tags=b&n=1",
        headers={"X-Name": "Ada", "Idempotency-Key": "run_1:x", "Content-Type": "application/json"},
        body=b'{"all":{"id":"../admin?x","name":"Ada","q":"a&b=c \xc3\xa9"}}',
        timeout_seconds=2.5,
        max_body_bytes=10 * 1024 * 1024,
        follow_redirects=True,
    )


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ("a {{ run.id }}", b"a run_1", "text/plain; charset=utf-8"),
        ([1, None], b"[1,null]", "application/json"),
        ("{{ run.input.n }}", b"7", "application/json"),
        (False, b"false", "application/json"),
        (None, None, None),
        ("{{ run.input.gone }}", None, None),
    ],
)
def test_a_body_is_encoded_by_its_type(body: Any, sent: Any, content_type: Any) -> None:
    call = first(request(body=body), scope_with(given={"n": 7}))
    assert call.body == sent
    assert call.headers.get("Content-Type") == content_type


def test_own_headers_win_whatever_their_case() -> None:
    call = first(request(headers={"content-type": "text/csv", "IDEMPOTENCY-KEY": "mine"}, body="a,b"), scope())
    assert call.headers == {"content-type": "text/csv", "IDEMPOTENCY-KEY": "mine"}


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b"])
def test_a_header_value_cannot_smuggle_a_header(value: str) -> None:
    with pytest.raises(Terminal):
        first(request(headers={"X-A": "{{ run.input.v }}"}), scope_with(given={"v": value}))


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (answer(body=b'{"a":[1]}', content_type="application/json"), {"a": [1]}),
        (answer(body=b'{"a":1}', Content_Type="application/problem+json; charset=utf-8"), {"a": 1}),
        (answer(body=b"{bad", content_type="application/json"), "{bad"),
        (answer(body=b"[" * 5000 + b"]" * 5000, content_type="application/json"), "[" * 5000 + "]" * 5000),
        (answer(body="é".encode("latin-1"), content_type="text/plain; charset=ISO-8859-1"), "é"),
        (answer(body=b"\xff", content_type="text/plain"), "\ufffd"),
        (answer(body=b"x", content_type="text/plain; charset=base64"), "x"),
        (answer(body=b"\xff\xd8\xff", content_type="image/jpeg"), "/9j/"),
        (answer(body=b"<svg/>", content_type="image/svg+xml"), "<svg/>"),
        (answer(body=b"a\0b", content_type="application/octet-stream"), "YQBi"),
        (answer(body=b"plain"), "plain"),
        (answer(), ""),
    ],
)
def test_an_answers_body_is_read_by_its_type(reply: HttpAnswer, body: Any) -> None:
    assert output(request(), scope(), reply)["body"] == body


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 418])
def test_other_statuses_are_outputs(status: int) -> None:
    result = output(request(), scope(), answer(status, X_A="1"))
    assert result == {"status": status, "headers": {"x-a": "1"}, "body": ""}


@pytest.mark.parametrize(
    ("status", "header", "after"),
    [
        (429, "7", 7.0),
        (503, "Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        (503, "Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        (500, "soon", None),
        (408, "", None),
        (425, "9" * 30, None),
        (502, "999999999", 86_400.0),
    ],
)
def test_passing_failures_are_tried_again_when_the_other_side_says(status: int, header: str, after: Any) -> None:
    with pytest.raises(Retryable) as caught:
        output(request(), scope(), answer(status, Retry_After=header))
    assert caught.value.code == "node_failed"
    assert caught.value.after == after


@pytest.mark.parametrize(
    ("url", "given", "called"),
    [
        (
            "{{ run.input.base }}/x/{{ run.input.v }}",
            {"base": "https://h.test:8443/api", "v": "a b"},
            "https://h.test:8443/api/x/a%20b",
        ),
        ("{{ run.input.base }}", {"base": " http://h/p?q=1#frag "}, "http://h/p?q=1"),
        ("http://{{ run.input.base }}/x", {"base": "127.0.0.1:9"}, "http://127.0.0.1:9/x"),
        ("http://h/{{ run.input.v | urlencode }}", {"v": "a/b"}, "http://h/a%2Fb"),
        ("http://h?q={{ run.input.v }}", {"v": "a&b#c"}, "http://h?q=a%26b%23c"),
    ],
)
def test_a_value_stays_in_its_place_of_the_url(url: str, given: dict[str, Any], called: str) -> None:
    assert first(request(url=url), scope_with(given=given)).url == called


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("{{ run.input.v }}", "file:///etc/passwd"),
        ("{{ run.input.v }}", ""),
        ("{{ run.input.v }}", "http://"),
        ("{{ run.input.v }}", "http://h:99999/"),
        ("{{ run.input.v }}", "http://h/a b"),
        ("{{ run.input.v }}", "http://[::1"),
        ("{{ run.input.v }}", "http://h/\r\nX: y"),
        ("http://{{ run.input.v }}.api.test/", "evil.test/"),
        ("http://{{ run.input.v }}.api.test/", "user@evil"),
    ],
)
def test_an_address_that_is_none_fails_without_being_repeated(url: str, value: str) -> None:
    with pytest.raises(Terminal) as caught:
        first(request(url=url), scope_with(given={"v": value}))
    assert not value or value not in caught.value.message


@pytest.mark.parametrize(
    ("seconds", "given", "pause"),
    [(0, {}, 0.0), (2.5, {}, 2.5), ("{{ run.input.n }}", {"n": 3}, 3.0), ("{{ run.input.n }}0", {"n": "6"}, 60.0)],
)
def test_delay_says_how_long_it_waits_and_then_gives_nothing(seconds: Any, given: dict[str, Any], pause: float) -> None:
    node = single("delay", {"seconds": seconds})
    assert node.pause(scope_with(given=given)) == pause
    assert node.evaluate(scope_with(given=given)) == {}


@pytest.mark.parametrize("value", [None, -1, True, "soon", "", "nan", "inf", 604_801, [], {}, 10**400])
def test_a_delay_of_what_is_no_time_fails_without_being_repeated(value: Any) -> None:
    node = single("delay", {"seconds": "{{ run.input.n }}"})
    with pytest.raises(Terminal, match="seconds must be a number"):
        node.pause(scope_with(given={"n": value}))


@pytest.mark.parametrize("seconds", [-1, "soon", "", None, True, 604_801, "-1", "{{ nowhere.n }}", "{{ x"])
def test_a_delay_that_can_only_fail_is_refused(seconds: Any) -> None:
    doc = chain(node("in", "api_input"), node("wait", "delay", {"seconds": seconds}))
    assert list(faults_of(doc)) == ["/nodes/1/config/seconds"]
