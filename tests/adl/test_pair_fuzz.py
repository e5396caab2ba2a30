"""Random pairs with random faults: exact numbers or an error for a person, whatever the seed."""

from __future__ import annotations

import pytest

from tests.adl.pair_fuzz import make_pair, outcome

#: A pair of each seed takes about a second.
QUICK, ALL = 12, 60


def ends(tmp_path, seed: int) -> str:
    made = make_pair(tmp_path, seed)
    return f"{outcome(made)} [seed {seed}: {made.what}; expected {made.expected}]"


@pytest.mark.parametrize("seed", range(QUICK))
def test_a_random_pair_is_exact_or_refused(tmp_path, seed):
    assert not ends(tmp_path, seed).startswith("WRONG")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tens", range(QUICK // 10, ALL // 10))
def test_random_pairs_are_exact_or_refused(tmp_path, tens):
    found = [ends(tmp_path / str(seed), seed) for seed in range(10 * tens, 10 * tens + 10)]
    assert [line for line in found if line.startswith("WRONG")] == []
