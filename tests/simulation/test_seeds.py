"""500 bad days, each of which ends well. `make simulate` lives through 10,000."""

import pytest

from tests.simulation.story import simulate

_SEEDS = 500
_AT_ONCE = 25


@pytest.mark.parametrize("first", range(0, _SEEDS, _AT_ONCE))
def test_whatever_goes_wrong_everything_is_right_in_the_end(first: int) -> None:
    verdicts = [simulate(seed) for seed in range(first, first + _AT_ONCE)]
    assert sum(verdict.runs for verdict in verdicts) > 2 * _AT_ONCE
    for verdict in verdicts:
        assert verdict.faults == [], f"again with: make simulate SEED={verdict.seed}"
