"""Nulls that are one: no finetuning in them, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from adl.difference import measure_difference
from adl.nulls import NULLS, RANDOM, SPLIT_HALF, null_vector, random_direction
from adl.records import Site
from tests.adl.test_difference import TEXTS
from tests.planted import PlantedPair

SITES = [Site(layer, position) for layer in (1, 3) for position in ("0", "2", "1-4")]


@pytest.fixture(scope="module")
def difference():
    return measure_difference(PlantedPair(), TEXTS, [1, 3])


def test_random_directions_are_units_spread_over_all_directions():
    drawn = np.stack([random_direction(64, seed) for seed in range(400)])
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1, rtol=1e-5)
    assert np.linalg.norm(drawn.mean(0)) < 0.1
    np.testing.assert_allclose(drawn.T @ drawn / 400, np.eye(64) / 64, atol=0.01)


def test_a_seed_gives_the_same_direction():
    np.testing.assert_array_equal(random_direction(8, 3), random_direction(8, 3))
    assert not np.allclose(random_direction(8, 3), random_direction(8, 4))


def test_every_site_has_a_direction_of_its_own(difference):
    drawn = [null_vector(difference, site, RANDOM, 0) for site in SITES]
    cosines = np.stack(drawn) @ np.stack(drawn).T
    assert np.abs(cosines - np.eye(len(SITES))).max() < 0.5
    again = null_vector(difference, SITES[0], RANDOM, 0)
    np.testing.assert_array_equal(again, drawn[0])
    assert not np.allclose(null_vector(difference, SITES[0], RANDOM, 1), again)


@pytest.mark.parametrize("site", SITES)
def test_split_half_is_the_base_against_itself(difference, site):
    vector = null_vector(difference, site, SPLIT_HALF, 0)
    np.testing.assert_array_equal(vector, difference.vector(site, "split_half_null"))
    assert abs(vector @ PlantedPair().planted) < 1e-4


def test_one_text_has_no_other_half():
    single = measure_difference(PlantedPair(), TEXTS[:1], [3])
    assert null_vector(single, Site(3, "1"), SPLIT_HALF, 0) is None
    assert null_vector(single, Site(3, "1"), RANDOM, 0) is not None


def test_unknown(difference):
    with pytest.raises(ValueError, match="'other' is not a null: " + ", ".join(NULLS)):
        null_vector(difference, SITES[0], "other", 0)
