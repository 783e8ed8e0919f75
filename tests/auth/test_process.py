"""The auth service as the process that the supervisor starts: `python -m services.auth`."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cli.ports import random_port
from cli.servers import NatsServer
from libs.edge.key_management import create_key
from libs.events.auth_calls import NewKey
from libs.events.broker import Broker, Unavailable, connect
from tests.auth.service import ADMIN_KEY, MASTER, actor_for, sign_in


def start(nats: NatsServer, log: Path) -> subprocess.Popen[bytes]:
    """The process, with what the supervisor gives it."""
    environment = {
        "HEADGATE_NATS_URL": nats.url,
        "HEADGATE_MASTER_KEY": MASTER,
        "HEADGATE_ADMIN_KEY": ADMIN_KEY,
        "HEADGATE_PORT": str(random_port()),
    }
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "services.auth"], env=environment, stdout=file, stderr=file)


async def until_it_serves(broker: Broker) -> None:
    """Return once the process answers; each try waits for it a while."""
    async with asyncio.timeout(20):
        while True:
            try:
                await sign_in(broker)
            except Unavailable:
                continue
            return


async def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code, once there is one."""
    return await asyncio.to_thread(process.wait, 15)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_was_made_before_an_end_of_any_kind_is_there_after_it(
    fresh_nats: NatsServer, tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "auth.log"
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        process = start(fresh_nats, log)
        try:
            await until_it_serves(broker)
            made = await create_key(broker, await actor_for(broker), NewKey(name="Kept", permissions=("read",)))
            process.send_signal(how)
            assert await ended(process) == (0 if how == signal.SIGTERM else -how)
            process = start(fresh_nats, log)
            await until_it_serves(broker)
            assert (await sign_in(broker, made.key)).key_id == made.id
        finally:
            process.kill()
            process.wait()
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert {"service started"} <= {line["event"] for line in lines}
    assert ADMIN_KEY.encode() not in log.read_bytes()
    assert made.key.encode() not in log.read_bytes()
