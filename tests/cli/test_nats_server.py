"""The embedded NATS: ready when it says so, the same after a stop and after a crash, durable when asked."""

from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from cli.servers import NatsServer, ServerError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


async def publish(server: NatsServer, body: bytes) -> int:
    client = await nats.connect(server.url)
    stream = client.jetstream()
    await stream.add_stream(name="T", subjects=["t"])
    ack = await stream.publish("t", body)
    await client.close()
    return ack.seq


async def test_what_was_acknowledged_survives_a_crash(server: NatsServer) -> None:
    assert await publish(server, b"one") == 1
    url, pid = server.url, server.pid
    server.kill()
    server.start()
    assert (server.url, server.pid != pid) == (url, True)
    assert await publish(server, b"two") == 2


async def test_a_message_of_the_promised_size_passes(server: NatsServer) -> None:
    assert await publish(server, b"x" * (31 * 1024 * 1024)) == 1


async def test_it_stops_and_starts_on_the_same_data(server: NatsServer) -> None:
    await publish(server, b"one")
    server.stop()
    assert server.process is not None
    assert server.process.returncode is not None
    server.start()
    assert await publish(server, b"two") == 2


@pytest.mark.parametrize(("fsync", "expected"), [("always", True), ("interval", False)])
def test_it_syncs_every_write_unless_told_otherwise(tmp_path: Path, fsync: str, expected: bool) -> None:
    server = NatsServer(tmp_path, fsync="always" if fsync == "always" else "interval")
    server.start()
    server.kill()
    assert ("sync_interval: always" in (tmp_path / "nats.conf").read_text()) is expected


def test_a_server_that_cannot_start_says_why(tmp_path: Path, server: NatsServer) -> None:
    rival = NatsServer(tmp_path / "rival", port=server.port)
    with pytest.raises(ServerError, match="address already in use"):
        rival.start()


def test_data_with_odd_names_are_found_again(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / 'a "b" c\\d')
    server.start()
    server.kill()
    assert (server.data / "jetstream").is_dir()
