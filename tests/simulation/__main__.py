"""`python -m tests.simulation`: many seeds over all cores (`--seeds 10000`), or one of them again (`--seed 7`)."""

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.story import Verdict, simulate

_AT_ONCE = 20
_TOLD = 20


def main() -> int:
    """0 when every seed is as it must be, else 1."""
    asked = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    asked.add_argument("--seed", type=int, help="live through this seed and tell everything")
    asked.add_argument("--seeds", type=int, default=10_000, help="how many, from --first on")
    asked.add_argument("--first", type=int, default=0)
    options = asked.parse_args()
    gc.freeze()  # each seed ends with a search for garbage: not among what was imported
    if options.seed is not None:
        return _one(options.seed)
    return _many(range(options.first, options.first + options.seeds))


def _one(seed: int) -> int:
    verdict = simulate(seed)
    print(f"seed {seed}: {verdict.runs} runs; the last end {verdict.recovery_seconds:.1f} s after all was well")
    for each in verdict.happened:
        print(f"  {each}")
    for fault in verdict.faults:
        print(f"  WRONG: {fault}")
    print(f"  {verdict.digest}")
    return 1 if verdict.faults else 0


def _many(seeds: range) -> int:
    failed, runs, longest = 0, 0, 0.0
    with _progress() as progress:
        task = progress.add_task("seeds", total=len(seeds))
        for verdict in _verdicts(seeds):
            progress.advance(task)
            runs += verdict.runs
            longest = max(longest, verdict.recovery_seconds)
            if verdict.faults:
                failed += 1
                if failed <= _TOLD:
                    tell(verdict, progress.console)
    print(f"{len(seeds)} seeds, {runs} runs: {failed} seeds failed; the longest recovery took {longest:.1f} s")
    return 1 if failed else 0


def tell(verdict: Verdict, console: Console) -> None:
    """What went wrong in a seed, and how to see it again."""
    console.print(f"seed {verdict.seed} failed; again with: make simulate SEED={verdict.seed}", markup=False)
    for fault in verdict.faults[:10]:
        console.print(f"  {fault}", markup=False)


def _verdicts(seeds: range) -> Iterator[Verdict]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(simulate, seeds, chunksize=_AT_ONCE)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


if __name__ == "__main__":
    sys.exit(main())
