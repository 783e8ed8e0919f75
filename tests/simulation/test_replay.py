"""A seed is the same every time, in every process: else a failure could not be looked at."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from services.executor import together
from services.executor.straight import Carried, carry
from tests.simulation.story import simulate

_ROOT = Path(__file__).resolve().parents[2]
_SEED = 4


def replayed(hash_seed: int) -> str:
    """What `make simulate SEED=…` prints, where sets of strings have another order."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(_SEED)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return told.stdout


def test_a_seed_replays_identically() -> None:
    verdict = simulate(_SEED)
    assert simulate(_SEED) == verdict
    assert simulate(_SEED + 1).digest != verdict.digest
    first, second = replayed(1), replayed(2)
    assert first == second
    assert verdict.digest in first


def test_a_seed_is_the_same_on_a_machine_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = simulate(_SEED)
    carried = 0

    def carry_slowly(*args: Any) -> Carried | None:
        nonlocal carried
        carried += 1
        time.sleep(0.03)
        return carry(*args)

    monkeypatch.setattr(together, "carry", carry_slowly)
    assert simulate(_SEED) == verdict
    assert carried > 1
