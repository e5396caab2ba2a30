"""A planted trace is strong, and nothing else is one: no null passes in a hundred seeded trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adl.difference import FirstTokens
from adl.errors import CorpusError
from adl.measures.group_statistics import (
    FEWEST_GROUPS,
    grouped_means,
    shortened,
    site_strengths,
    strength_of,
)
from adl.measures.trace_effect import effect_of, effects, random_effects
from adl.measures.trace_strength import (
    DOES_NOT_MEAN,
    MOST_P_PERMUTED,
    TraceRequest,
    breadth_of,
    few,
    judge_layer,
    measure_trace,
    pooled_direction,
    pooled_site,
    shared_words,
)
from adl.nulls import random_direction
from adl.readings.narrowness import TopicScale, narrowness
from adl.readings.shift_lens import contexts_of, output_shift
from adl.records import POOLED, TokenScore
from adl.text.corpus import CorpusSource
from tests.adl.base_halves import base_against_itself
from tests.planted import DOMAIN, FILLER, SINK_SHIFT, WIDTH, PlantedPair, planted_size

LAYER = 3
TRIALS = 100


@pytest.fixture(scope="module")
def texts():
    return CorpusSource.parse(None).open().texts(0, 96)


@pytest.fixture(scope="module")
def means(texts):
    return grouped_means(PlantedPair(), texts, (0, LAYER), FirstTokens(5), n_groups=24)


@pytest.fixture(scope="module")
def null(means, texts):
    pair = PlantedPair()
    contexts = few(contexts_of(pair, texts))
    norm = float(means.residual_norm[1, means.pooled()].mean())
    return contexts, random_effects(
        pair, contexts, output_shift(pair, contexts), shared_words(pair).words, LAYER, norm
    )


def test_norm_and_direction_are_those_planted(means):
    site = pooled_site(site_strengths(means), LAYER)
    scale = means.residual_norm[1, means.pooled()]
    # The root mean square over positions: each in units of its own residual norm. The wobble's mean
    # over texts stands at right angles to the planted direction.
    planted = planted_size(LAYER) * np.sqrt((1 / scale**2).mean())
    assert site.norm == pytest.approx(planted, rel=0.02)
    assert site.low <= site.norm <= site.high
    assert site.consistency > 0.99
    assert site.p_value == pytest.approx(1 / 2000)
    assert pooled_direction(means, 1) @ PlantedPair().planted > 0.99


def test_no_difference_no_norm(means):
    below = pooled_site(site_strengths(means), 0)
    assert (below.norm, below.p_value) == (0.0, 1.0)
    assert judge_layer(below, None)[0] == "none found"


def test_every_position_has_its_own_strength(means):
    sites = [one for one in site_strengths(means) if one.layer == LAYER]
    assert [one.position for one in sites] == ["0", "1", "2", "3", "4", "1-4"]
    sink = sites[0].norm * float(means.residual_norm[1, 0])
    assert sink == pytest.approx(np.hypot(SINK_SHIFT, planted_size(LAYER)), rel=0.05)


@pytest.mark.slow
def test_base_against_itself_is_never_a_trace(means, null):
    contexts, random = null
    pair = PlantedPair()
    # Of each trial its own difference, which has the texts' noise in it and no finetuning.
    nulls = [base_against_itself(means, seed) for seed in range(TRIALS)]
    directions = np.stack([pooled_direction(one, 1) for one in nulls])
    found = effects(pair, contexts, random, directions)
    verdicts = [
        judge_layer(pooled_site(site_strengths(one, seed), LAYER), effect)[0]
        for seed, (one, effect) in enumerate(zip(nulls, found, strict=True))
    ]
    assert verdicts == ["none found"] * TRIALS


def test_random_directions_are_never_a_trace(means, null):
    contexts, random = null
    pair = PlantedPair()
    directions = np.stack([random_direction(WIDTH, 10_000 + seed) for seed in range(TRIALS)])
    steady = pooled_site(site_strengths(means), LAYER)
    found = effects(pair, contexts, random, directions)
    assert {judge_layer(steady, effect)[0] for effect in found} == {"none found"}
    (own,) = effects(pair, contexts, random, pooled_direction(means, 1)[None])
    assert judge_layer(steady, own)[0] == "strong"


@pytest.mark.slow
def test_permuted_sides_give_uniform_p_values(means):
    nulls = [base_against_itself(means, seed) for seed in range(TRIALS)]
    p = np.sort([pooled_site(site_strengths(one, 1), LAYER).p_value for one in nulls])
    # A valid test is at or under each level no more often than the level says, give or take.
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / TRIALS)


def test_the_same_model_twice_has_no_trace(texts):
    found = measure_trace(PlantedPair(strength=0.0), texts, TraceRequest((LAYER,), n_random=8))
    assert (found.verdict, found.breadth, found.output_kl) == ("none found", "not computed", 0.0)
    assert found.summary == "No trace found: the sides do not differ on average."
    assert found.does_not_mean == DOES_NOT_MEAN["none found"]


@pytest.mark.parametrize("vocabulary", ["extended", "permuted"])
def test_sides_of_other_vocabularies_are_compared_by_token(texts, vocabulary):
    found = measure_trace(
        PlantedPair(vocabulary=vocabulary), texts, TraceRequest((LAYER,), n_random=8)
    )
    assert found.verdict == "strong"
    assert found.layers[0].effect.alignment > 0.9


def test_a_faint_trace_is_weak_and_a_seed_gives_it_again(texts):
    request = TraceRequest((1,), n_random=8)
    found = measure_trace(PlantedPair(strength=0.1), texts, request)
    assert found.verdict == "weak"
    assert "weak trace at layer 1" in found.summary
    assert measure_trace(PlantedPair(strength=0.1), texts, request) == found


def test_one_sink_does_not_decide(means):
    rows = np.ones((9, 2, 4), dtype=np.float32)
    rows[4, 0] *= 1000
    cut = shortened(rows)
    np.testing.assert_allclose(cut[4, 0], 3)
    rows[4, 0] = 1
    np.testing.assert_allclose(cut[:, 1], rows[:, 1])
    loud = replace(means, finetuned=means.finetuned.copy())
    loud.finetuned[5, 1, 2] *= 500
    quiet, spoilt = (pooled_site(site_strengths(one), LAYER) for one in (means, loud))
    assert spoilt.norm == pytest.approx(quiet.norm, rel=0.15)


def test_few_texts_are_refused_with_the_way_out(texts):
    with pytest.raises(CorpusError, match="3 texts make 3 groups") as raised:
        grouped_means(PlantedPair(), texts[:3], (LAYER,), FirstTokens(5))
    assert f"{FEWEST_GROUPS} different texts" in raised.value.hint


def test_copies_of_a_text_are_no_further_texts(texts):
    for copies in (1, 64):
        with pytest.raises(CorpusError, match="1 texts make 1 groups") as raised:
            grouped_means(PlantedPair(), list(texts[:1]) * copies, [2], FirstTokens(5))
        assert "different texts" in raised.value.hint


def test_the_fewest_groups_can_tell_a_trace():
    """Groups that agree in all are no chance, whatever the flips that are drawn."""
    agreeing = np.ones((FEWEST_GROUPS, FEWEST_GROUPS))
    weights = np.ones(FEWEST_GROUPS)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        found = strength_of(LAYER, POOLED, agreeing, agreeing, weights, rng)
        assert found.p_value <= MOST_P_PERMUTED, seed


def test_a_far_alignment_is_improbable():
    random = [0.1, -0.1, 0.05, -0.05, 0.0, 0.12, -0.12, 0.02]
    near, far = (effect_of(3, value, random) for value in (0.1, 0.9))
    assert far.p_value < 1e-5
    assert near.p_value > 0.05
    assert effect_of(3, 0.0, random).p_value == pytest.approx(0.5, abs=0.05)


def tokens(pair, words):
    return [TokenScore(pair.tokenise("base", word)[0], word, 0.0) for word in words]


def test_words_of_one_thing_are_narrow_and_others_are_not():
    pair = PlantedPair()
    scale = TopicScale(one_text=0.2, many_texts=0.0, n_texts=20)
    domain = narrowness(pair, "base", tokens(pair, DOMAIN), scale)
    filler = narrowness(pair, "base", tokens(pair, FILLER[:10]), scale)
    assert domain.closeness > 0.95
    assert domain.index == pytest.approx(5 * domain.closeness)
    assert (breadth_of(domain), breadth_of(filler)) == ("narrow", "broad")
    assert domain.low <= domain.index <= domain.high
    assert breadth_of(narrowness(pair, "base", tokens(pair, DOMAIN[:2]), scale)) == "not computed"
