"""Child processes that cannot outlive the process that started them.

Linux delivers a signal to the child when its parent dies (`PR_SET_PDEATHSIG`), whatever killed the parent.
Elsewhere a service reads end-of-file on the pipe in `HEADGATE_PARENT_FD`. Every child leads its own session,
so that a Ctrl-C in the terminal reaches the supervisor alone, which stops its children in order.

The kernel means the *thread* that started the child, not the process: call `spawn` from the main thread only.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

_PR_SET_PDEATHSIG = 1


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A system account that a child runs as, by numbers: it needs neither a home nor a shell."""

    uid: int
    gid: int


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `argv` with exactly `env`; both its outputs are appended to `log` (0600), or dropped without one.

    Raises `OSError` when the program cannot be started or, not being root, `account` cannot be taken.
    """
    sink = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else os.open(os.devnull, os.O_WRONLY)
    try:
        return subprocess.Popen(  # noqa: S603 - every caller passes a list of its own making
            [str(part) for part in argv],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            pass_fds=pass_fds,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=dies_with_parent(death_signal),
        )
    finally:
        os.close(sink)


def dies_with_parent(death_signal: signal.Signals, *, parent: int | None = None) -> Callable[[], None] | None:
    """What a new child calls after its change of account, which would undo it; none off Linux."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    expected = parent or os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != expected:  # the parent died between the fork and the call above
            os._exit(1)

    return tie


def exited(process: subprocess.Popen[bytes], *, timeout_seconds: float) -> bool:
    """Whether the child ends, by itself, within the time; it is reaped then."""
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
