"""`postmaster.pid`, the file by which PostgreSQL keeps a second server off its data, and says that it is ready."""

import os
import subprocess
from pathlib import Path


def lock_lines(lock: Path) -> list[str]:
    """The file's lines: process id first, "ready" eighth once clients are served; none when there is no file."""
    try:
        return lock.read_text().splitlines()
    except OSError:
        return []


def disown_stale_lock(lock: Path) -> None:
    """Let a lock go that names a process which is no PostgreSQL: after a crash, numbers are given out again.

    PostgreSQL would refuse to start for as long as that process lives. The file stays, for the rest of it
    leads to the shared memory by which PostgreSQL finds sessions of the crashed server; a lock of one's own
    parent counts as stale.
    """
    lines = lock_lines(lock)
    if lines and lines[0].isdigit() and not _is_postgres(int(lines[0])):
        lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")


def _is_postgres(pid: int) -> bool:
    """Whether it is a PostgreSQL that still runs: a zombie, dead and never reaped, is none."""
    if Path("/proc/self/stat").exists():
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except OSError:
            return False
        return name.endswith("(postgres") and not rest.startswith(" Z")
    shown = subprocess.run(  # noqa: S603 - no input from outside
        ["/bin/ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
    )
    return shown.stdout.strip().rpartition("/")[2] == "postgres"
