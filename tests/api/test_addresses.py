"""Paths, methods, queries and headers that are wrong, absurd or hostile: each has its answer, none a 5xx."""

import base64
import json

import pytest

from tests.api.client import Answer, Caller
from tests.api.contract import Contract, check_problem
from tests.api.wire import Wire
from tests.stack import Stack

ABSURD = {
    "ten kilobytes": "a" * 4_000,
    "NUL": "%00",
    "NUL in the middle": "flow%00",
    "an emoji": "%F0%9F%98%80",
    "not UTF-8": "%ff%fe",
    "a lone surrogate": "%ED%A0%80",
    "a broken escape": "%zz",
    "a percent sign": "%",
    "traversal": "..",
    "traversal, escaped": "..%2f..%2f..%2fetc%2fpasswd",
    "traversal, escaped twice": "%252e%252e%252f",
    "a wildcard of the log": "*",
    "a subject of the log": "mgt.%3E",
    "a space": "%20",
    "line breaks": "a%0d%0aX-Evil:%201",
    "65 characters": "a" * 65,
    "unknown": "nobody",
}
QUERIES = {
    "limit=0": "/limit",
    "limit=101": "/limit",
    "limit=-1": "/limit",
    "limit=ten": "/limit",
    "limit=" + "9" * 5000: "/limit",
    "limit=": "/limit",
    "cursor=nonsense": "/cursor",
    "cursor=%00": "/cursor",
    "cursor=%ff": "/cursor",
    "cursor=" + "A" * 5000: "/cursor",
}
CURSORS = [
    ["2020-01-01T00:00:00", "flow_1"],
    ["2020-01-01T00:00:00Z", "a b"],
    ["2020-01-01T00:00:00Z", "\u0000"],
    ["2020-01-01T00:00:00Z", "²"],
    ["2020-01-01T00:00:00Z", "9" * 5000],
    ["9999-12-31T23:59:59-23:59", "flow_1"],
    ["0001-01-01T00:00:00+23:59", "flow_1"],
    ["2020-01-01T00:00:00Z"],
    {"at": 1},
    None,
]
LISTS = ["/v1/flows", "/v1/deployments", "/v1/runs", "/v1/keys", "/v1/flows/greeter/versions"]


def get(stack: Stack, target: str | bytes, **headers: str | bytes) -> Answer:
    """What a GET of the target, byte for byte, is answered; an error is held to be a problem."""
    with Wire(stack.url) as wire:
        answer = wire.request("GET", target, {**stack.headers, **headers})
    if answer.status >= 400:
        check_problem(answer.status, answer.headers, answer.content, str(target[:80]))
    return answer


@pytest.mark.parametrize("what", list(ABSURD))
def test_an_absurd_id_is_unknown_everywhere(stack: Stack, contract: Contract, what: str) -> None:
    templates = {path for method, path in contract.operations if method == "GET" and path.endswith("}")}
    assert len(templates) >= 5
    for template in templates:
        start = template[: template.index("{")]
        assert get(stack, start + ABSURD[what]).status == 404


@pytest.mark.parametrize(
    "target",
    ["/v1", "/v2/flows", "/V1/flows", "//v1/flows", "/v1//flows", "/v1/../v1/flows", "/v1/./flows", "/v1/%66low"],
)
def test_a_path_that_is_not_ours_is_a_404(stack: Stack, target: str) -> None:
    assert get(stack, target).status == 404


def test_a_trailing_slash_is_another_address(stack: Stack, contract: Contract) -> None:
    for method, path in contract.operations:
        if method == "GET" and "{" not in path and not path.endswith("/"):
            answer = get(stack, path + "/")
            assert (answer.status, answer.headers.get("Location")) == (404, None)


async def test_every_other_method_is_a_405_that_says_which_there_are(root: Caller, contract: Contract) -> None:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    for template in contract.document["paths"]:
        path = template.replace("{", "").replace("}", "")
        allowed = {method for method in methods if contract.template(method, path)}
        for method in set(methods) - allowed:
            answer = await root.call(method, path)
            assert answer.status == 405, (method, path)
            assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == allowed
            assert answer.json["title"] == "Method Not Allowed"


@pytest.mark.parametrize("path", ["/v1/flows", "/v1/deployments", "/v1/runs", "/v1/keys"])
@pytest.mark.parametrize("query", list(QUERIES))
async def test_a_bad_page_is_a_400_at_its_parameter(caller: Caller, path: str, query: str) -> None:
    answer = await caller.call("GET", f"{path}?{query}")
    assert (answer.status, answer.pointers) == (400, [QUERIES[query]])


@pytest.mark.parametrize("place", CURSORS)
async def test_a_cursor_that_no_list_gave_is_a_400(caller: Caller, place: object) -> None:
    await caller.deploy()
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
    for path in LISTS:
        answer = await caller.call("GET", f"{path}?cursor={cursor}")
        assert (answer.status, answer.pointers) == (400, ["/cursor"]), path


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("session_id=%00", 400),
        ("deployment_id=a%00b", 400),
        ("flow_id=%ff", 200),
        ("status=done", 400),
        ("since=yesterday", 400),
        ("since=2020-01-01", 400),
        ("since=2020-01-01T00:00:00", 400),
        ("since=9999-12-31T23:59:59-23:59", 400),
        ("until=0001-01-01T00:00:00%2B23:59", 400),
        ("since=0001-01-01T00:00:00Z", 200),
        ("until=9999-12-31T23:59:59Z", 200),
        ("session_id=" + "x" * 5000, 200),
        ("session_id='%20OR%201=1;--", 200),
        ("unknown=1", 200),
    ],
)
async def test_a_filter_of_the_runs_is_read_or_refused(caller: Caller, query: str, status: int) -> None:
    answer = await caller.call("GET", f"/v1/runs?{query}")
    assert answer.status == status
    if status == 400:
        assert answer.pointers == ["/" + query.partition("=")[0]]


@pytest.mark.parametrize("host", ["a b", b"\xff\xfe", "a/b", "<script>", "a\\b", "user@host"])
def test_a_host_that_is_none_is_a_400(stack: Stack, host: str | bytes) -> None:
    assert get(stack, "/v1/deployments", Host=host).status == 400


def test_links_are_made_for_the_host_that_was_asked(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        answer = wire.request("GET", "/v1/deployments", {**stack.headers, "Host": "api.example.com:444"})
    assert answer.status == 200


@pytest.mark.parametrize("value", [b"\xff\xfe", "00-0-0-00", "\t", "x" * 8000])
async def test_a_trace_header_that_is_none_does_no_harm(stack: Stack, caller: Caller, value: str | bytes) -> None:
    deployment = await caller.deploy()
    with Wire(stack.url) as wire:
        path = f"/v1/deployments/{deployment['id']}/runs"
        headers: dict[str, str | bytes] = {"Authorization": f"Bearer {caller.key}", "traceparent": value}
        answer = wire.request("POST", path, headers, b'{"input": {"name": "Ada"}}')
    assert (answer.status, answer.json["status"]) == (200, "completed")


@pytest.mark.parametrize(
    ("value", "status"),
    [("k" * 255, 200), ("k" * 256, 400), ("", 400), ('""', 400), ('"quoted"', 200), (b"\xff", 400), ("a\tb", 400)],
)
async def test_an_idempotency_key_is_1_to_255_characters(
    stack: Stack, caller: Caller, value: str | bytes, status: int
) -> None:
    deployment = await caller.deploy()
    with Wire(stack.url) as wire:
        path = f"/v1/deployments/{deployment['id']}/runs"
        headers: dict[str, str | bytes] = {"Authorization": f"Bearer {caller.key}", "Idempotency-Key": value}
        assert wire.request("POST", path, headers, b'{"input": {"name": "Ada"}}').status == status


def test_a_request_id_is_taken_over_where_it_is_one_and_made_where_not(stack: Stack) -> None:
    cases: list[tuple[str | bytes, bool]] = [("my-id_1", True), ("a b", False), ("x" * 65, False), (b"\xff", False)]
    for given, kept in [*cases, ("", False)]:
        answer = get(stack, "/v1/nothing", **{"X-Request-Id": given})
        assert (answer.headers["X-Request-Id"] == given) is kept
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_head_is_get_without_a_body(stack: Stack) -> None:
    with Wire(stack.url) as wire:
        answer = wire.request("HEAD", "/v1/flows", {**stack.headers})
        assert (answer.status, answer.content) == (200, b"")
        assert wire.request("GET", "/v1/flows", {**stack.headers}).status == 200
