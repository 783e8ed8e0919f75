"""What is sent and what comes back."""

import asyncio
import json
import traceback
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.egress import Egress, Policy, client, headers
from libs.egress.headers import outgoing_headers
from libs.runtime.failures import Retryable, Terminal
from tests.egress.conftest import Serve, answering, http, request_to


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "body": (await request.read()).decode(),
        },
        headers={"Set-Cookie": "session=1"},
    )


@pytest.fixture
async def echo() -> Any:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", _echo)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


async def _sent(egress: Egress, url: str, **changes: Any) -> dict[str, Any]:
    seen = json.loads((await egress.fetch(request_to(url, **changes))).body)
    seen["headers"] = dict(seen["headers"])
    return seen


async def test_method_target_headers_and_body_arrive(egress: Egress, echo: str) -> None:
    seen = await _sent(
        egress,
        f"{echo}/a b/%2F?q=ü&r={{x}}#fragment",
        method="patch",
        headers={"Content-Type": "application/json", "X-Name": "Zoë\t!"},
        body=b'{"a": 1}',
    )
    assert (seen["method"], seen["target"], seen["body"]) == (
        "PATCH",
        "/a%20b/%2F?q=%C3%BC&r=%7Bx%7D",
        '{"a": 1}',
    )
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["headers"]["x-name"] == "Zoë\t!"
    assert seen["headers"]["content-length"] == "8"


async def test_only_what_the_caller_wrote_and_what_http_needs_is_sent(egress: Egress, echo: str) -> None:
    seen = await _sent(egress, echo, method="POST", body=b"x", headers={"accept-encoding": "br"})
    assert set(seen["headers"]) == {"host", "user-agent", "accept", "accept-encoding", "content-length"}
    assert seen["headers"]["user-agent"] == "Headgate"
    assert seen["headers"]["accept-encoding"] == "gzip, deflate"


async def test_a_caller_may_name_its_own_user_agent(egress: Egress, echo: str) -> None:
    assert (await _sent(egress, echo, headers={"user-agent": "mine"}))["headers"]["user-agent"] == "mine"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-B: b"},
        {"X-A": "a\nb"},
        {"X-A": "a\x00b"},
        {"X-A": "a\x7f"},
        {"X-A": "\ud800"},
        {"X A": "a"},
        {"X-A:": "a"},
        {"X-A\r\nX-B": "a"},
        {"": "a"},
        {"Ünicode": "a"},
        {"Host": "127.0.0.1"},
        {"HOST": "127.0.0.1"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "upgrade"},
        {"Upgrade": "h2c"},
        {"Expect": "100-continue"},
        {"Proxy-Authorization": "Basic eA=="},
        {"TE": "trailers"},
        {"X-A": "a" * 70_000},
    ],
    ids=ascii,
)
async def test_a_header_that_cannot_be_sent_stops_the_request(
    headers: Mapping[str, str], egress: Egress, recorder: list[Any]
) -> None:
    with pytest.raises(Terminal) as failed:
        await egress.fetch(request_to("http://127.0.0.1:9/", headers=headers))
    assert failed.value.code == "invalid_input"
    assert recorder == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "G ET", "GET\r\n", ""])
async def test_other_methods_are_not_sent(method: str, egress: Egress, recorder: list[Any]) -> None:
    with pytest.raises(Terminal) as failed:
        await egress.fetch(request_to("http://127.0.0.1:9/", method=method))
    assert failed.value.code == "invalid_input"
    assert recorder == []


async def test_headers_come_back_lower_case_and_joined(egress: Egress, serve: Serve) -> None:
    lines = (b"HTTP/1.1 404 Nope", b"X-A: 1", b"x-a: 2", b"X-Latin: caf\xe9", b"X-Utf: caf\xc3\xa9")
    raw = b"\r\n".join((*lines, b"Content-Length: 2", b"", b"no"))
    answer = await egress.fetch(request_to(await serve(answering(raw))))
    assert (answer.status, answer.body) == (404, b"no")
    assert answer.headers == {"x-a": "1, 2", "x-latin": "café", "x-utf": "café", "content-length": "2"}


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answers_without_a_body(status: str, egress: Egress, serve: Serve) -> None:
    raw = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\n\r\n".encode()
    assert (await egress.fetch(request_to(await serve(answering(raw))))).body == b""


async def test_head_of_something_large_is_no_large_answer(egress: Egress, serve: Serve) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    answer = await egress.fetch(request_to(await serve(answering(raw)), method="HEAD"))
    assert answer.headers["content-length"] == "99999999999"


async def test_cookies_are_not_kept(egress: Egress, echo: str) -> None:
    url = echo.replace("127.0.0.1", "localhost")
    await _sent(egress, url)
    assert "cookie" not in (await _sent(egress, url))["headers"]


async def test_proxies_of_the_environment_are_not_used(
    egress: Egress, echo: str, refused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{refused_port}")
    assert (await _sent(egress, echo))["method"] == "GET"


async def test_connections_are_used_again(egress: Egress, echo: str, recorder: list[Any]) -> None:
    for _ in range(5):
        await _sent(egress, echo, method="POST", body=b"x" * 200_000)
    assert len([event for event, _ in recorder if event == "socket.connect"]) == 1


async def test_a_url_that_was_judged_is_sent_as_it_was_the_first_time(egress: Egress, echo: str) -> None:
    for _ in range(3):
        assert (await _sent(egress, f"{echo}/a b?q=ü#c"))["target"] == "/a%20b?q=%C3%BC"
        with pytest.raises(Terminal, match="loopback"):
            await egress.fetch(request_to("http://[::1]/a"))


async def test_what_is_remembered_of_urls_and_names_is_bounded(egress: Egress, echo: str) -> None:
    for number in range(client._MAX_JUDGED + 10):
        egress._judge(f"{echo}/{number}")
    assert len(egress._judged) == client._MAX_JUDGED
    egress._judge(f"{echo}/{'x' * client._MAX_JUDGED_CHARACTERS}")
    assert max(map(len, egress._judged)) <= client._MAX_JUDGED_CHARACTERS
    names = {f"X-{number}": "1" for number in range(1_500)} | {"X-" + "n" * 4_000: "1"}
    assert len(outgoing_headers(names, 1_000_000)) == len(names) + 1
    assert headers._may_be_set.cache_info().currsize <= headers._KEPT_NAMES


async def test_no_more_connections_than_allowed(echo: str, recorder: list[Any]) -> None:
    async with Egress(Policy.parse("127.0.0.1"), connections=3, connections_per_host=2) as client:
        await asyncio.gather(*(_sent(client, echo) for _ in range(20)))
    assert len([event for event, _ in recorder if event == "socket.connect"]) == 2


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


@pytest.mark.parametrize(
    "handler",
    [
        _hang_up,
        answering(b""),
        answering(b"SSH-2.0-OpenSSH_9.9\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\nhello\r\n0\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nX\r\n\r\n"),
    ],
    ids=["reset", "closed", "not http", "two lengths", "cut short", "chunks cut short", "bad chunk", "bad header"],
)
async def test_a_broken_answer_may_be_tried_again_and_names_no_secret(
    handler: Any, egress: Egress, serve: Serve
) -> None:
    request = request_to(f"{await serve(handler)}/?key=canary", headers={"Authorization": "canary"})
    with pytest.raises(Retryable, match=r"127\.0\.0\.1") as failed:
        await egress.fetch(request)
    assert failed.value.code == "node_failed"
    assert "canary" not in failed.value.message
    assert "canary" not in "".join(traceback.format_exception(failed.value))
    assert failed.value.__cause__ is None


async def test_a_closed_port_may_be_tried_again(egress: Egress, refused_port: int) -> None:
    with pytest.raises(Retryable, match=r"127\.0\.0\.1 could not be connected to") as failed:
        await egress.fetch(request_to(f"http://127.0.0.1:{refused_port}/?key=canary"))
    assert failed.value.code == "node_failed"
    assert "canary" not in failed.value.message


async def test_the_clients_of_two_policies_share_nothing(serve: Serve, egress: Egress, public: Egress) -> None:
    base = await serve(answering(http(b"inside")))
    await egress.fetch(request_to(base))
    with pytest.raises(Terminal, match="loopback"):
        await public.fetch(request_to(base))
