"""No hostile URL makes this process connect or look up a name, by any way in."""

from typing import Any

import pytest

from libs.egress import Egress, EgressRefused, Policy, check_url
from tests.egress.conftest import Serve, answering, http, request_to
from tests.egress.hostile_urls import HOSTILE_URLS


def test_the_corpus_is_large_and_holds_no_url_twice() -> None:
    assert len(set(HOSTILE_URLS)) == len(HOSTILE_URLS) >= 120


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=ascii)
def test_is_refused_from_its_text(url: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        check_url(url, Policy())
    assert refused.value.code == "egress_refused"


async def test_none_connects_or_is_looked_up(public: Egress, recorder: list[tuple[str, Any]]) -> None:
    for url in HOSTILE_URLS:
        with pytest.raises(EgressRefused):
            await public.fetch(request_to(url))
        with pytest.raises(EgressRefused):
            async with public.stream(request_to(url, method="POST", body=b"x")):
                pass
    assert recorder == []


async def test_none_is_reached_by_a_redirect(serve: Serve, recorder: list[tuple[str, Any]]) -> None:
    targets = [url for url in HOSTILE_URLS if "://" in url and url.isascii() and url.isprintable() and len(url) < 999]
    # Surrounding whitespace is no part of a header's value: what is left of these is harmless.
    targets = [url for url in targets if url == url.strip()]
    assert len(targets) >= 120
    policy = Policy(hosts=frozenset({"start.localhost"}))
    async with Egress(policy) as client:
        for target in targets:
            base = await serve(answering(http(b"", f"Location: {target}", status="302 Found")))
            start = base.replace("127.0.0.1", "start.localhost")
            recorder.clear()
            with pytest.raises(EgressRefused):
                await client.fetch(request_to(start))
            assert {address for event, address in recorder if event == "socket.connect"} == {
                ("127.0.0.1", int(base.rpartition(":")[2]))
            }, target


async def test_the_recorder_sees_a_connection_that_is_made(
    egress: Egress, serve: Serve, recorder: list[tuple[str, Any]]
) -> None:
    base = await serve(answering(http(b"seen")))
    await egress.fetch(request_to(base))
    assert ("socket.connect", ("127.0.0.1", int(base.rpartition(":")[2]))) in recorder


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com:8443/a?b=c#d",
        "HTTPS://EXAMPLE.com./",
        "http://xn--r8jz45g.jp/",
        "http://例え.jp/",
        "http://8.8.8.8/",
        "http://[2606:4700:4700::1111]:8080/",
        "http://a_b.example.com/p q?x={y}",
        "http://example.com:/",
        "http://1e100.net/",
        "http://0x7f.example/",
        "http://example.com/@127.0.0.1",
        "http://example.com?url=http://user@127.0.0.1/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    assert check_url(url, Policy()).host


@pytest.mark.parametrize("url", ["http://user:canary@example.com/", "canary://x", "http://127.0.0.1/canary?canary"])
def test_a_refusal_repeats_no_more_than_the_host(url: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        check_url(url, Policy())
    assert "canary" not in str(refused.value)
