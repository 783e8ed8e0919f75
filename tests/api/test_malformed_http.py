"""What is no HTTP at all, or too much of it: a 400, nothing of it repeated, and the gateway goes on."""

import pytest

from tests.api.contract import check_problem
from tests.api.wire import Wire, head
from tests.stack import Stack

KEY = "sk-" + "planted" * 6
CHUNKED: dict[str, str | bytes] = {"Transfer-Encoding": "chunked"}

MALFORMED = {
    "garbage": b"GARBAGE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown method": b"FETCH /v1/flows HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes for a method": b"G\xffT /v1/flows HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /v1/flows HTTP/1.1\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n",
    "HTTP/3.0": b"GET /v1/flows HTTP/3.0\r\nHost: x\r\n\r\n",
    "a space in a header's name": head("GET", "/v1/flows", {"Authorization ": f"Bearer {KEY}"}),
    "a control character in a key": head("GET", "/v1/flows", {"X-API-Key": f"{KEY}\x01"}),
    "a key of 9 kB": head("GET", "/v1/flows", {"X-API-Key": KEY * 200}),
    "a path of 10 kB": head("GET", f"/v1/flows/{KEY * 250}", {}),
    "a header of 100 kB": head("GET", "/v1/flows", {"X-Bomb": "a" * 100_000}),
    "5,000 headers": head("GET", "/v1/flows", {f"X-{number}": "a" for number in range(5000)}),
    "a length that is none": head("POST", "/v1/flows", {"Content-Length": "many"}),
    "a negative length": head("POST", "/v1/flows", {"Content-Length": "-1"}),
    "length and chunks": head("POST", "/v1/flows", {"Content-Length": "3", **CHUNKED}) + b"0\r\n\r\n",
    "chunks that are none": head("POST", "/v1/flows", {**CHUNKED}) + b"zz\r\n{}\r\n0\r\n\r\n",
    "a query of bytes": head("GET", b"/v1/runs?session_id=\xff\xfe", {"X-API-Key": KEY}),
    "an encoding that is not known here": head("POST", "/v1/flows", {"Content-Encoding": "br", **CHUNKED}),
}


@pytest.mark.parametrize("what", list(MALFORMED))
def test_malformed_http_is_a_400_that_repeats_nothing(stack: Stack, what: str) -> None:
    with Wire(stack.url) as wire:
        wire.send(MALFORMED[what])
        answer = wire.answer()
        check_problem(answer.status, answer.headers, answer.content, what)
        assert (answer.status, answer.json["code"]) == (400, "invalid_input")
        assert KEY.encode() not in answer.content
        assert wire.closed
    with Wire(stack.url) as wire:
        assert wire.request("GET", "/v1/flows", {**stack.headers}).status == 200
    assert KEY not in stack.log("gateway")
