"""Redirects: judged hop by hop, and what they carry along."""

import asyncio
import json
from typing import Any

import pytest

from libs.egress import Answer, Egress, EgressRefused
from libs.runtime.failures import Terminal
from tests.egress.conftest import Handler, Names, Serve, answering, http, request_to

SECRETS = {
    "Authorization": "Bearer x",
    "Cookie": "a=b",
    "X-Api-Key": "x",
    "api-key": "x",
    "X-Goog-Api-Key": "x",
    "X-Auth-Token": "x",
    "Idempotency-Key": "run:node",
    "X-Whatever": "x",
}
HARMLESS = {"Accept": "application/json", "Content-Type": "text/plain", "User-Agent": "mine"}


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (header.split(": ", 1) for header in rest)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    seen = {"method": line.split()[0], "target": line.split()[1], "headers": headers, "body": body.decode()}
    writer.write(http(json.dumps(seen).encode(), "Connection: close"))
    await writer.drain()


def _sending_to(location: str, status: int = 302) -> Handler:
    return answering(http(b"", f"Location: {location}", "Connection: close", status=f"{status} Elsewhere"))


def _seen(answer: Answer) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(answer.body)
    return seen


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (302, "PUT", "PUT"),
        (301, "GET", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ],
)
async def test_method_and_body_change_as_in_browsers(
    status: int, method: str, then: str, egress: Egress, serve: Serve
) -> None:
    base = await serve(_sending_to(f"{await serve(_echo)}/there?a=b", status))
    answer = await egress.fetch(request_to(base, method=method, body=b"hi", headers={"Content-Type": "text/plain"}))
    seen = _seen(answer)
    kept = method == then != "GET" or (method == "GET" and status == 301)
    assert (seen["method"], seen["target"]) == (then, "/there?a=b")
    assert seen["body"] == ("hi" if kept else "")
    assert ("content-type" in seen["headers"]) is kept
    assert answer.url.endswith("/there?a=b")


async def test_what_could_be_a_secret_stays_with_its_origin(egress: Egress, serve: Serve) -> None:
    base = await serve(_sending_to(await serve(_echo), 307))
    answer = await egress.fetch(request_to(base, method="POST", body=b"hi", headers={**SECRETS, **HARMLESS}))
    headers = _seen(answer)["headers"]
    assert not {name.lower() for name in SECRETS} & set(headers)
    assert {name.lower(): value for name, value in HARMLESS.items()}.items() <= headers.items()


async def test_the_same_origin_keeps_every_header(egress: Egress, serve: Serve) -> None:
    async def first_then_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"", "Location: ../up?x=1#y", status="302 Found"))
        await _echo(reader, writer)

    answer = await egress.fetch(request_to(f"{await serve(first_then_echo)}/a/b/c", headers=SECRETS))
    assert _seen(answer)["target"] == "/a/up?x=1"
    assert {name.lower() for name in SECRETS} <= set(_seen(answer)["headers"])


async def test_headers_dropped_on_the_way_do_not_come_back(egress: Egress, serve: Serve, names: Names) -> None:
    names["other.example.com"] = ["127.0.0.1"]
    home = await serve(_echo)
    away = await serve(_sending_to(f"{home}/back"))
    start = await serve(_sending_to(away.replace("127.0.0.1", "other.example.com")))
    assert "authorization" not in _seen(await egress.fetch(request_to(start, headers=SECRETS)))["headers"]


async def test_a_redirect_can_be_left_to_the_caller(egress: Egress, serve: Serve) -> None:
    base = await serve(_sending_to("http://169.254.169.254/"))
    answer = await egress.fetch(request_to(base, follow_redirects=False))
    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/")


async def test_a_redirect_without_a_target_is_an_answer(egress: Egress, serve: Serve) -> None:
    answer = await egress.fetch(request_to(await serve(answering(http(b"", status="302 Found")))))
    assert answer.status == 302


async def test_redirects_end(egress: Egress, serve: Serve) -> None:
    visits = 0

    async def around(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        await _sending_to("/again")(reader, writer)

    with pytest.raises(Terminal, match="more than 5 redirects") as failed:
        await egress.fetch(request_to(await serve(around)))
    assert failed.value.code == "node_failed"
    assert visits == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "//169.254.169.254/latest/",
        "http://rebind.example.com/",
        "file:///etc/passwd",
        "http://user:canary@example.com/",
        "http://[::1]/",
    ],
)
async def test_every_hop_is_judged(location: str, egress: Egress, serve: Serve, names: Names, recorder: Any) -> None:
    names["rebind.example.com"] = ["8.8.8.8", "10.0.0.1"]
    base = await serve(_sending_to(await serve(_sending_to(location))))
    with pytest.raises(EgressRefused) as refused:
        await egress.fetch(request_to(base))
    assert {address[0] for event, address in recorder if event == "socket.connect"} == {"127.0.0.1"}
    assert "canary" not in refused.value.message
