"""What all peers share: where they are installed, how their processes live, what is asked of them."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.targets import ROOT, TargetError
from cli.children import exited, spawn

_CACHE = ROOT / "build" / "peers"
_INSTALL_SECONDS = 900.0
_START_SECONDS = 180.0


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that answers: what to send, and what it is."""

    port: int
    path: str
    body: str
    expect: str
    version: str
    durable: str
    """What of a call outlives a crash, in a few words."""
    headers: dict[str, str] = {}
    run_seconds: float = 0.0
    """About how long a run keeps it busy, of a peer that is slow; it is asked for longer then."""


def python_with(name: str, *packages: str) -> Path:
    """The Python of a virtual environment that has the packages; it is made on the first use.

    uv chooses the versions: among some hundreds of packages, pip is still choosing when `_INSTALL_SECONDS` are over.
    """
    folder = _CACHE / name
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _install([sys.executable, "-m", "venv", str(folder)], _CACHE)
        _install([str(python), "-m", "pip", "install", "--quiet", "uv"], _CACHE)
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
        _install([*uv, *packages], _CACHE)
        (folder / "done").touch()
    return python


def node_with(name: str, *packages: str) -> Path:
    """A folder whose `node_modules` has the packages; it is made on the first use."""
    folder = _CACHE / name
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _install(["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", *packages], folder)
        (folder / "done").touch()
    return folder


def version_of(python: Path, package: str) -> str:
    """The version that an environment has of a package."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def _install(command: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise TargetError(f"{' '.join(command[:4])} … failed: {(done.stdout + done.stderr)[-1000:]}")


@contextmanager
def process(
    command: Sequence[str | Path], folder: Path, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context is open, with nothing of our environment but its path and home."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *map(str, command)]
    running = spawn(argv, env={**kept, **(env or {})}, log=log)
    try:
        yield running
    finally:
        running.terminate()
        if not exited(running, timeout_seconds=8.0):
            running.kill()
            running.wait()


def post(url: str, body: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None) -> Any:
    """One POST of JSON; its answer, decoded."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def await_answer(peer: Peer, log: Path) -> None:
    """Return once the peer answers as expected. TargetError with its last words when it does not come to that."""

    def ask() -> None:
        said = json.dumps(post(f"http://127.0.0.1:{peer.port}{peer.path}", peer.body, peer.headers))
        if peer.expect.replace(" ", "") not in said.replace(" ", ""):
            raise ValueError(said)

    _await(ask, log)


def await_get(url: str, headers: Mapping[str, str], log: Path) -> Any:
    """What a GET brings once the server is up, decoded. TargetError as above."""

    def ask() -> Any:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=30) as answer:
            return json.loads(answer.read())

    return _await(ask, log)


def _await(ask: Callable[[], Any], log: Path) -> Any:
    deadline = time.monotonic() + _START_SECONDS
    said = ""
    while time.monotonic() < deadline:
        try:
            return ask()
        except (OSError, ValueError) as error:
            said = str(error)
        time.sleep(0.25)
    raise TargetError(f"it does not answer ({said[:300]}):\n{log.read_text(errors='replace')[-1000:]}")
