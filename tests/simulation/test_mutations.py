"""The simulation finds mistakes: each of these is put into the product, and some seed notices."""

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, mutated
from tests.simulation.story import simulate

_SEEDS = 150


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_is_found(mutation: Mutation) -> None:
    with mutated(mutation):
        assert any(simulate(seed).faults for seed in (mutation.seed, *range(_SEEDS)))
