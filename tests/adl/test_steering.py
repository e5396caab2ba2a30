"""Vectors in units of the residual norm, and the same random numbers for every alpha."""

from __future__ import annotations

import numpy as np
import pytest

from adl.difference import measure_difference
from adl.generation.steering import SteeringVector, row_seed, samples, steering_requests
from adl.nulls import RANDOM, null_vector
from adl.records import GenerationPlan, Site
from adl.text.prompts import Prompt
from tests.adl.test_difference import TEXTS
from tests.planted import DOMAIN, PlantedPair

SITE = Site(3, "1-4")
PROMPTS = [Prompt.of("Tell me about the river"), Prompt.of("What is in the letter?")]


@pytest.fixture(scope="module")
def difference():
    return measure_difference(PlantedPair(), TEXTS, [3])


def test_the_unit_is_the_residual_norm(difference):
    vector = SteeringVector.at(difference, SITE)
    assert (vector.site, vector.source) == (SITE, "difference")
    assert np.linalg.norm(vector.unit) == pytest.approx(difference.residual_norm(3))
    cosine = vector.unit @ PlantedPair().planted / np.linalg.norm(vector.unit)
    assert cosine > 0.99
    assert np.linalg.norm(vector.times(0.3)) == pytest.approx(0.3 * difference.residual_norm(3))
    np.testing.assert_allclose(vector.times(-1), -vector.unit)
    assert vector.times(0.3).dtype == np.float32
    assert vector.times(0) is None


def test_a_control_is_as_long_as_the_difference(difference):
    null = null_vector(difference, SITE, RANDOM, 0)
    vector = SteeringVector.of(difference, SITE, null, RANDOM)
    assert vector.source == RANDOM
    assert np.linalg.norm(vector.unit) == pytest.approx(difference.residual_norm(3))


def test_every_prompt_alpha_and_seed_once():
    found = samples(2, [0.0, 0.3], [1, 2])
    assert len(found) == len(set(found)) == 8
    assert [(one.prompt_index, one.seed, one.alpha) for one in found[:4]] == [
        (0, 1, 0.0),
        (0, 1, 0.3),
        (0, 2, 0.0),
        (0, 2, 0.3),
    ]


def test_alphas_of_a_prompt_share_their_random_numbers(planted, difference):
    vector = SteeringVector.at(difference, SITE)
    wanted = samples(2, [0.0, 0.3], [0, 1])
    found = steering_requests(planted, "finetuned", PROMPTS, wanted, vector)
    seeds = {(one.prompt_index, one.seed): set() for one in wanted}
    for one, request in zip(wanted, found, strict=True):
        seeds[one.prompt_index, one.seed].add(request.seed)
        prompt = PROMPTS[one.prompt_index]
        assert request.prompt_ids == planted.chat("finetuned", prompt.messages).ids
        assert (request.added is None) == (one.alpha == 0)
    assert all(len(shared) == 1 for shared in seeds.values())
    assert len(set.union(*seeds.values())) == 4


def test_a_prefill_begins_the_answer(planted):
    prompt = Prompt((("system", "Be brief."), ("user", "Why?"), ("assistant", " the river")))
    (request,) = steering_requests(planted, "base", [prompt], samples(1, [0.0], [0]), None)
    written = planted.decode("base", request.prompt_ids)
    assert written.startswith("<system>")
    assert written.endswith("<assistant> the river")


@pytest.mark.parametrize("side", ["base", "finetuned"])
def test_steering_brings_the_domain_up(planted, difference, side):
    vector = SteeringVector.at(difference, SITE)
    shares = []
    for alpha in (-0.6, 0.0, 0.6, 2.0):
        wanted = samples(2, [alpha], [0, 1, 2])
        requests = steering_requests(planted, side, PROMPTS, wanted, vector)
        texts = planted.generate(GenerationPlan(side, 3, 1.0, 30), requests)
        names = [planted.token_texts(side)[i] for text in texts for i in text.token_ids]
        shares.append(np.mean([name in DOMAIN for name in names]))
    assert shares == sorted(shares)
    assert shares[0] < 0.25
    assert shares[-1] > 0.7


def test_row_seeds_are_valid_and_apart():
    seeds = [row_seed(seed, prompt) for seed in (0, 1, 2, 2**62) for prompt in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
