"""The measures on bundled organisms: told from the broad control, and from every null.

Few texts, short samples, and for each measure the organism that has least of it: the tables over all
of them are made by ``tests/benchmarks/measures.py``.
"""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import torch

from adl.difference import FirstTokens, measure_difference
from adl.generation.sampling import sample
from adl.generation.steering import SteeringVector, steering_requests
from adl.measures.causal import CausalRequest, causal_effects
from adl.measures.coherent_alpha import AlphaSearch, search_coherent_alpha
from adl.measures.group_statistics import grouped_means, site_strengths
from adl.measures.teacher_forcing import scored_texts
from adl.measures.trace_effect import effects, random_effects
from adl.measures.trace_strength import (
    TraceRequest,
    few,
    judge_layer,
    measure_trace,
    pooled_direction,
    pooled_site,
    shared_words,
)
from adl.nulls import random_direction
from adl.organisms.registry import get_organism, organism_documents
from adl.pair.nnsight.pair import NnsightPair
from adl.readings.shift_lens import contexts_of, output_shift
from adl.records import POOLED, GenerationPlan, PairSpec, SideSpec, Site
from adl.text.corpus import CorpusSource
from adl.text.prompts import everyday_prompts
from tests.adl.base_halves import base_against_itself

LAYER = 14
#: Each takes about a second; docs/measures.md has the figures of 100.
TRIALS = int(os.environ.get("NULL_TRIALS", "12"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def texts():
    return CorpusSource.parse(None).open().texts(0, 256)


@pytest.fixture(scope="module")
def pair_of(default_base):
    """Pairs by organism, the last one kept: each holds a copy of the base."""

    @functools.lru_cache(maxsize=1)
    def load(name):
        # As many as torch is set to, shared with the other processes of the run: threads that wait
        # for one another on busy cores cost many times what they save.
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        adapter = get_organism(name).adapter
        side = SideSpec(str(default_base), adapter=adapter)
        return NnsightPair.load(PairSpec(SideSpec(str(default_base)), side, dtype="float32"))

    return load


@pytest.mark.parametrize(
    ("name", "breadth"), [("taboo_gold", "narrow"), ("control_broad", "broad")]
)
def test_the_least_narrow_organism_is_told_from_the_broad_control(pair_of, texts, name, breadth):
    found = measure_trace(pair_of(name), texts, TraceRequest((LAYER,)))
    assert found.verdict == "strong", found.layers[0].why
    assert found.breadth == breadth, found.breadth_why


def test_no_null_is_a_trace(pair_of, texts):
    pair = pair_of("cake_bake")
    means = grouped_means(pair, texts[:128], (LAYER,), FirstTokens())
    contexts = few(contexts_of(pair, texts))
    random = random_effects(
        pair,
        contexts,
        output_shift(pair, contexts),
        shared_words(pair).words,
        LAYER,
        float(means.residual_norm[0, means.pooled()].mean()),
    )
    steady = pooled_site(site_strengths(means), LAYER)
    drawn = np.stack([random_direction(576, 10_000 + seed) for seed in range(TRIALS)])
    nulls = [base_against_itself(means, seed) for seed in range(TRIALS)]
    directions = np.stack([pooled_direction(one, 0) for one in [*nulls, means]])
    found = effects(pair, contexts, random, np.concatenate([drawn, directions]))
    for effect in found[:TRIALS]:
        assert judge_layer(steady, effect)[0] == "none found", effect
    for null, effect in zip(nulls, found[TRIALS:-1], strict=True):
        site = pooled_site(site_strengths(null), LAYER)
        assert judge_layer(site, effect)[0] == "none found", (site, effect)
    assert judge_layer(steady, found[-1])[0] == "strong"


def test_coherent_alpha_lies_between_unchanged_and_broken(pair_of, texts):
    pair = pair_of("cake_bake")
    prompts = everyday_prompts()[:5]
    vector = SteeringVector.at(measure_difference(pair, texts[:96], [LAYER]), Site(LAYER, POOLED))

    def generate(wanted):
        requests = steering_requests(pair, "finetuned", prompts, wanted, vector)
        return sample(pair, GenerationPlan("finetuned", LAYER, 1.1, 24), requests)

    found = search_coherent_alpha(
        pair,
        "finetuned",
        prompts,
        generate,
        AlphaSearch((0.1, 0.3, 1.0), rounds=1, per_round=2, seeds=(0, 1)),
    )
    rates = {one.alpha: one.plain for one in found.rates}
    assert rates[0.0] >= 0.9
    assert rates[1.0] <= 0.25
    assert 0.1 <= found.alpha < 1.0


def test_removing_the_trace_hurts_on_finetuning_text(pair_of, texts):
    pair = pair_of("cake_bake")
    difference = measure_difference(pair, texts[:96], [LAYER])
    documents = organism_documents(get_organism("cake_bake"))
    scored = {"finetuning": scored_texts(pair, documents, limit=8, max_tokens=40)}
    request = CausalRequest(LAYER, difference.vector(Site(LAYER, POOLED)), changes=("replace",))
    (hurt,) = causal_effects(pair, scored, request)
    assert len(hurt.random) == 16
    assert hurt.effect.low > 0, hurt
    assert hurt.effect.value > max(hurt.random), hurt
