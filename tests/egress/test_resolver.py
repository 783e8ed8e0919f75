"""The guard under the client: every address that a name resolves to is judged, once, and that one is called."""

import socket
from typing import Any

import pytest

from libs.egress import Egress, EgressRefused, Policy
from libs.egress.resolver import GuardedResolver
from libs.runtime.failures import Retryable
from tests.egress.conftest import Names, Serve, answering, http, request_to


def connects(recorder: list[tuple[str, Any]]) -> list[Any]:
    return [address for event, address in recorder if event == "socket.connect"]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
        ["8.8.8.8", "8.8.4.4", "::1"],
    ],
)
async def test_a_name_with_any_refused_address_is_refused(
    addresses: list[str], public: Egress, names: Names, recorder: list[tuple[str, Any]]
) -> None:
    names["rebind.example.com"] = addresses
    with pytest.raises(EgressRefused, match=r"rebind\.example\.com resolves to"):
        await public.fetch(request_to("http://rebind.example.com/"))
    assert connects(recorder) == []


async def test_a_name_in_an_open_network_is_called_at_the_address_that_was_judged(
    egress: Egress, serve: Serve, names: Names, recorder: list[tuple[str, Any]]
) -> None:
    base = await serve(answering(http(b"inside")))
    port = int(base.rpartition(":")[2])
    names["app.example.com"] = ["127.0.0.1"]
    answer = await egress.fetch(request_to(f"http://app.example.com:{port}/"))
    assert (answer.body, answer.url) == (b"inside", f"http://app.example.com:{port}/")
    assert connects(recorder) == [("127.0.0.1", port)]


async def test_a_name_that_changes_after_the_check_is_judged_again_for_a_new_connection(
    serve: Serve, names: Names, recorder: list[tuple[str, Any]]
) -> None:
    base = await serve(answering(http(b"", "Connection: close")))
    port = int(base.rpartition(":")[2])
    names["rebind.example.com"] = ["127.0.0.1"]
    async with Egress(Policy.parse("127.0.0.1")) as client:
        await client.fetch(request_to(f"http://rebind.example.com:{port}/"))
    names["rebind.example.com"] = ["127.0.0.2"]
    async with Egress(Policy.parse("127.0.0.1")) as client:
        with pytest.raises(EgressRefused):
            await client.fetch(request_to(f"http://rebind.example.com:{port}/"))
    assert connects(recorder) == [("127.0.0.1", port)]


async def test_a_trusted_host_is_called_wherever_it_is_and_its_address_stays_closed(serve: Serve, names: Names) -> None:
    base = await serve(answering(http(b"model")))
    port = base.rpartition(":")[2]
    names["models.corp.internal"] = names["other.example.com"] = ["127.0.0.1"]
    async with Egress(Policy().trusting("models.corp.internal")) as client:
        assert (await client.fetch(request_to(f"http://models.corp.internal:{port}/"))).body == b"model"
        for other in ("127.0.0.1", "other.example.com"):
            with pytest.raises(EgressRefused):
                await client.fetch(request_to(f"http://{other}:{port}/"))


async def test_localhost_is_answered_without_dns(egress: Egress, serve: Serve, recorder: list[tuple[str, Any]]) -> None:
    base = await serve(answering(http(b"here")))
    recorder.clear()
    url = base.replace("127.0.0.1", "localhost")
    assert (await egress.fetch(request_to(url))).body == b"here"
    assert [event for event, _ in recorder] == ["socket.connect"]


async def test_a_name_that_does_not_resolve_may_be_tried_again(public: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(Retryable, match=r"nowhere\.example\.com could not be resolved") as failed:
        await public.fetch(request_to("http://nowhere.example.com/?key=canary"))
    assert failed.value.code == "node_failed"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:8.8.8.8"])
async def test_no_socket_is_opened_for_a_refused_address(address: str) -> None:
    resolver = GuardedResolver(Policy(), timeout_seconds=1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PermissionError):
        resolver.open_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))
    resolver.open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))).close()
    await resolver.close()
