"""What processes have used, as the kernel tells it in /proc: CPU time and memory.

The children of a process count as it, but for those that are named themselves.

Without /proc (not Linux) nothing is known, and every answer is empty.
"""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_LOOK_SECONDS = 0.25
_QUIET_SHARE = 0.08
"""A process group that uses less of one core than this has nothing more to do."""


class _Stat(msgspec.Struct, frozen=True):
    parent: int
    cpu_seconds: float


def cpu_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU time used so far by each process (name to pid), in seconds, to a hundredth."""
    stats = _stats()
    return {name: sum(stats[each].cpu_seconds for each in family) for name, family in _families(processes, stats)}


def memory_bytes(processes: Mapping[str, int]) -> dict[str, int]:
    """Resident memory of each process; a page that several share counts once, in parts (PSS)."""
    return {name: sum(map(_resident, family)) for name, family in _families(processes, _stats())}


def settle(processes: Mapping[str, int], patience_seconds: float) -> None:
    """Wait until the processes have nothing left to do, so that what they still owe is counted with what caused it.

    A table, for instance, is written after the answer. Gives up after `patience_seconds`.
    """
    deadline = time.monotonic() + patience_seconds
    before = sum(cpu_seconds(processes).values())
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = sum(cpu_seconds(processes).values())
        if now - before < _QUIET_SHARE * _LOOK_SECONDS:
            return
        before = now


def _stats() -> dict[int, _Stat]:
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit():
            continue
        try:
            # After the name, which may hold anything: state, parent, …; from the 12th on the four times (proc(5)).
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(entry.name)] = _Stat(int(fields[1]), sum(map(int, fields[11:15])) / tick)
    return found


def _families(processes: Mapping[str, int], stats: Mapping[int, _Stat]) -> Iterator[tuple[str, list[int]]]:
    """Each process with its descendants, of those that live."""
    named = set(processes.values())
    for name, pid in processes.items():
        found = [pid] if pid in stats else []
        for each in found:
            found += [child for child, stat in stats.items() if stat.parent == each and child not in named]
        yield name, found


def _resident(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
