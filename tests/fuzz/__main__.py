"""`python -m tests.fuzz --requests 50000`: asks a stack of its own as much, and prints a table."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.fuzzing import Fuzz
from tests.fuzz.workspace import Workspace
from tests.stack import Stack

_EXAMPLES = 20
"""Of each sort, for each operation, in a round."""


def main() -> int:
    """0 when nothing was wrong, else 1."""
    asked = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    asked.add_argument("--requests", type=int, default=50_000)
    asked.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as data, Stack(Path(data)) as stack:
        workspace = Workspace(stack)
        fuzz = workspace.fuzz()
        print(f"seed {options.seed}: again with REQUESTS={options.requests} SEED={options.seed}")
        _send(fuzz, options.requests, options.seed)
        wrong = fuzz.faults + workspace.troubles()
    Console(width=120).print(_table(fuzz))
    print(f"{fuzz.requests} requests, {len(wrong)} faults")
    for fault in wrong:
        print(f"  {fault}")
    return 1 if wrong else 0


def _send(fuzz: Fuzz, requests: int, seed: int) -> None:
    columns = (TextColumn("requests"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("requests", total=requests)
        while fuzz.requests < requests:
            fuzz.run(_EXAMPLES, seed, lambda: progress.advance(task), until=requests)
            seed += 1


def _table(fuzz: Fuzz) -> Table:
    table = Table("call", "requests", "2xx", "4xx", "5xx", "not sent")
    for name, tally in sorted(fuzz.tallies.items()):
        counts = [sum(n for status, n in tally.statuses.items() if status // 100 == kind) for kind in (2, 4, 5, 0)]
        table.add_row(name, str(tally.requests), *[str(count or "") for count in counts])
    return table


if __name__ == "__main__":
    sys.exit(main())
