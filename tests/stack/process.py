"""`headgate up` as a test holds it: started on free ports and its own data, watched, hurt and stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.ports import is_free, random_port

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_POLL_SECONDS = 0.02


class StackFailedError(Exception):
    """The stack did not do what was asked in time; the message holds what it printed."""


class Stack:
    """`with Stack(tmp_path, gateways=2) as stack:` — ready on entry, nothing of it left on exit.

    `env` is laid over a clean environment (nothing of ours is inherited). Egress to loopback is open.
    """

    def __init__(
        self,
        data: Path,
        *,
        gateways: int = 1,
        auths: int = 1,
        executors: int = 1,
        notifiers: int = 1,
        flows: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.port = _free_block(gateways)
        self.output: list[str] = []
        self.ready_after_seconds = 0.0
        counts = {"gateways": gateways, "auths": auths, "executors": executors, "notifiers": notifiers}
        self._options = [f"--{name}={count}" for name, count in counts.items()]
        self._options += [f"--flows={flows}"] if flows else []
        self._env = {"HEADGATE_EGRESS_ALLOW": "127.0.0.0/8,::1/128", **(env or {})}
        self._gateways = gateways
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The first gateway."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """Every gateway."""
        return [f"http://127.0.0.1:{self.port + index}" for index in range(self._gateways)]

    @property
    def admin_key(self) -> str:
        return (self.data / "admin.key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """The admin's, for a request."""
        return {"Authorization": f"Bearer {self.admin_key}"}

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """What `headgate` needs to find this stack."""
        ours = ("HEADGATE_", "OPENAI_", "OTEL_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return inherited | {"HEADGATE_PORT": str(self.port), "HEADGATE_DATA": str(self.data), **self._env}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, or start it again on the same data and ports, and wait until it says that it is ready."""
        self.output, self._ready = [], threading.Event()
        began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--with-parent", *self._options],
            cwd=_ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._until(lambda: self._ready.is_set() or self._hopeless(), "ready", _START_SECONDS)
        if not self._ready.is_set():
            self.stop(signal.SIGKILL)
            raise StackFailedError(f"a service keeps ending\n{self._told()}")
        self.ready_after_seconds = time.monotonic() - began

    def stop(self, number: signal.Signals = signal.SIGINT, timeout_seconds: float = 25.0) -> int:
        """Send a signal, wait for the end; the exit code. A stack that has stopped stays as it is."""
        assert self._process is not None
        assert self._reader is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise StackFailedError(f"it did not stop within {timeout_seconds} s\n{self._told()}") from None
        self._reader.join(timeout=5)
        return code

    def crash(self) -> None:
        """`kill -9` of everything at once."""
        pids = [each["pid"] for each in self.processes()]
        for pid in [self.pid, *pids]:
            os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._until(lambda: not any(_lives(pid) for pid in pids), "gone", 10)

    def processes(self) -> list[dict[str, Any]]:
        """What `processes.json` lists."""
        found: list[dict[str, Any]] = json.loads((self.data / "processes.json").read_bytes())
        return found

    def process(self, service: str, index: int = 0) -> dict[str, Any]:
        """One of them, waited for while it is being started again."""
        self._until(lambda: self._find(service, index) is not None, f"{service}-{index} running", 15)
        found = self._find(service, index)
        assert found is not None
        return found

    def kill(self, service: str, index: int = 0, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process; its pid."""
        pid: int = self.process(service, index)["pid"]
        os.kill(pid, number)
        return pid

    def restarted(self, service: str, index: int, old_pid: int, timeout_seconds: float = 20.0) -> None:
        """Wait until the process has been replaced and, if it is a service, its successor is ready."""

        def back() -> bool:
            found = self._find(service, index)
            return (
                found is not None
                and found["pid"] != old_pid
                and (service in ("nats", "postgres") or _answers(f"{found['url']}/readyz"))
            )

        self._until(back, f"{service}-{index} back", timeout_seconds)

    def log(self, service: str, index: int = 0) -> str:
        """What a process has logged."""
        return (self.data / "logs" / f"{service}-{index}.log").read_text()

    def _find(self, service: str, index: int) -> dict[str, Any] | None:
        return next((e for e in self.processes() if e["service"] == service and e["index"] == index), None)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("Headgate is ready on "):
                self._ready.set()

    def _until(self, holds: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_seconds
        while not holds():
            if self._process.poll() is not None and what == "ready":
                raise StackFailedError(f"it ended with {self._process.returncode}\n{self._told()}")
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise StackFailedError(f"not {what} within {timeout_seconds} s\n{self._told()}")
            time.sleep(_POLL_SECONDS)

    def _hopeless(self) -> bool:
        """Whether a process has ended five times in a row: waiting longer would only tell later."""
        return any(line.endswith("it starts again in 3.2 s") for line in self.output)

    def _told(self) -> str:
        return "\n".join(self.output[-40:])


def _free_block(count: int) -> int:
    while True:
        first = random_port()
        if first + count < 30000 and all(is_free(first + index) for index in range(count)):
            return first


def _lives(pid: int) -> bool:
    """Whether it runs; a zombie that nobody reaps does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
