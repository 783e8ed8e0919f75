"""Who may talk to the broker, and to whom a process talks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.cluster_secrets import cluster_secrets
from cli.servers import NatsServer
from libs.events.access import Access, access_of
from libs.events.broker import Broker, connect
from libs.runtime.settings import Settings, read_settings
from tests.k8s.certificates import tls_secret


def seed_of(user: str) -> str:
    name = f"headgate-nats-{user}"
    found: str = next(s["stringData"]["seed"] for s in cluster_secrets("x") if s["metadata"]["name"] == name)
    return found


@pytest.fixture(scope="module")
def authorities() -> str:
    return tls_secret(["nats"], ["127.0.0.1"], ["server auth"])["ca.crt"].decode()


@pytest.mark.parametrize("seed", ["SU", "x", "SUAM" + "A" * 54, "SAAO" * 14, "ключ"])
def test_what_is_no_seed_of_a_user_is_refused_by_its_variable_s_name(seed: str) -> None:
    with pytest.raises(ValueError, match="HEADGATE_NATS_NKEY"):
        Access(nkey=seed).key()


def test_a_seed_with_one_wrong_character_is_refused() -> None:
    seed = seed_of("auth")
    for place in (2, 20, len(seed) - 1):
        wrong = seed[:place] + ("A" if seed[place] != "A" else "B") + seed[place + 1 :]
        with pytest.raises(ValueError, match="HEADGATE_NATS_NKEY"):
            Access(nkey=wrong).key()


@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused_by_its_variable_s_name(text: str) -> None:
    with pytest.raises(ValueError, match="HEADGATE_NATS_CA"):
        Access(authorities=text).tls()


def test_the_access_of_a_service_comes_from_files_and_has_inboxes_of_its_own(tmp_path: Path, authorities: str) -> None:
    (tmp_path / "nkey").write_text(f"{seed_of('auth')}\n")
    (tmp_path / "ca.crt").write_text(authorities)
    environment = {
        "HEADGATE_SERVICE": "auth",
        "HEADGATE_NATS_NKEY_FILE": str(tmp_path / "nkey"),
        "HEADGATE_NATS_CA_FILE": str(tmp_path / "ca.crt"),
    }
    access = access_of(read_settings(environment))
    assert access.inboxes == "_INBOX.auth"
    assert access.key() is not None
    assert access.tls() is not None
    assert access_of(Settings(service="auth")) == Access(inboxes="_INBOX.auth")


class Listener:
    """A server that greets in the clear, and keeps what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.greeted = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
        self.greeted.set()
        self.heard += await reader.read(4096)
        writer.close()


async def test_a_server_that_offers_no_encryption_is_told_nothing(authorities: str) -> None:
    listener = Listener()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        access = Access(inboxes="_INBOX.auth", nkey=seed_of("auth"), authorities=authorities)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6), connect(f"tls://127.0.0.1:{port}", "auth", lambda: None, access):
                pass
        assert listener.greeted.is_set()
        assert listener.heard == b""


@pytest.fixture
def two_servers(tmp_path: Path) -> Iterator[list[NatsServer]]:
    servers = [NatsServer(tmp_path / name, fsync="interval") for name in ("one", "other")]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


@asynccontextmanager
async def connected_to(urls: str) -> AsyncIterator[Broker]:
    async with asyncio.timeout(10), connect(urls, "test", lambda: None) as broker:
        yield broker


async def test_of_several_servers_another_one_serves_when_one_goes(two_servers: list[NatsServer]) -> None:
    urls = ",".join(server.url for server in two_servers)
    async with connected_to(urls) as broker:
        gone = next(s for s in two_servers if s.port == broker.client.connected_url.port)
        again = asyncio.Event()
        broker.on_reconnect(again.set)
        await asyncio.to_thread(gone.kill)
        await again.wait()
        assert broker.client.connected_url.port != gone.port
