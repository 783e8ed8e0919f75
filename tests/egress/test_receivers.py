"""Posting to receivers that do not behave: each is bounded, and none costs another anything."""

import asyncio
import time
from typing import Any

import pytest

from libs.egress import Egress, Policy
from libs.runtime.failures import Retryable
from tests.egress.conftest import Serve, answering, http, request_to


def post_to(url: str, **changes: Any) -> Any:
    """A delivery: what it says is small, and a redirect of it is never followed."""
    settings: dict[str, Any] = {"body": b"{}", "follow_redirects": False, "max_body_bytes": 65_536, **changes}
    return request_to(url, method="POST", **settings)


@pytest.mark.parametrize("status", ["500 Oops", "410 Gone", "429 Slow Down", "301 Moved", "308 Moved", "503 Away"])
async def test_whatever_is_answered_is_an_answer_and_nobody_is_sent_elsewhere(
    status: str, egress: Egress, serve: Serve, recorder: list[Any]
) -> None:
    elsewhere = await serve(answering(http(b"followed")))
    base = await serve(answering(http(b"told", f"Location: {elsewhere}", "Retry-After: 7", status=status)))
    recorder.clear()
    answer = await egress.fetch(post_to(base))
    assert (answer.status, answer.body) == (int(status[:3]), b"told")
    assert answer.headers["retry-after"] == "7"
    assert [address[1] for event, address in recorder if event == "socket.connect"] == [int(base.rpartition(":")[2])]


async def test_a_receiver_that_hangs_keeps_no_other_waiting(serve: Serve) -> None:
    """However much there is for it: it gets its share of the connections and no more."""

    async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    async def quick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"{}"):
            writer.write(http())
            await writer.drain()

    stuck, other = await serve(hanging), await serve(quick)
    async with Egress(Policy.parse("127.0.0.0/8"), connections=16, connections_per_host=4) as client:
        held = [asyncio.create_task(client.fetch(post_to(stuck, timeout_seconds=60.0))) for _ in range(200)]
        await asyncio.sleep(0)
        began = time.monotonic()
        answers = await asyncio.gather(*[client.fetch(post_to(other)) for _ in range(50)])
        assert time.monotonic() - began < 1
        assert {answer.status for answer in answers} == {200}
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_a_receiver_that_closes_between_two_posts_is_not_posted_to_twice(egress: Egress, serve: Serve) -> None:
    """A POST may have been taken before the connection broke: whether it is sent again is the caller's decision."""
    posts = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        await reader.readuntil(b"{}")
        posts += 1
        if posts == 1:
            writer.write(http())
            await writer.drain()
            await reader.readuntil(b"{}")
            posts += 1
        writer.transport.abort()

    base = await serve(once)
    assert (await egress.fetch(post_to(base))).status == 200
    with pytest.raises(Retryable):
        await egress.fetch(post_to(base))
    assert posts == 2
