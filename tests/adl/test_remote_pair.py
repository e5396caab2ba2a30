"""A pair that a service runs, over nnsight's local path: every number is that of the pair loaded here.

The path serialises each block as it would be sent, takes it apart with the modules of this project
hidden, and runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.remote_pair import RemotePair
from adl.pair.protocol import ScoredBatch
from adl.records import SIDES, GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import left_padded
from tests.remote_service import LocalPath
from tests.tiny_models import N_LAYERS, SENTENCES, WIDTH, write_family

CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@dataclass(frozen=True)
class Case:
    here: NnsightPair
    there: RemotePair
    service: LocalPath

    def ids(self, sentence: int, length: int | None = None) -> list[int]:
        return self.here.tokenise("base", SENTENCES[sentence])[:length]


SLOW = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=["llama", *(pytest.param(name, marks=SLOW) for name in ("gemma2", "gpt2"))],
)
def family(request, tmp_path_factory):
    return write_family(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module", params=["adapter", pytest.param("full", marks=SLOW)])
def case(request, family):
    base = SideSpec(str(family.base))
    finetuned = SideSpec(str(family.finetuned))
    if request.param == "adapter":
        finetuned = replace(base, adapter=str(family.adapter))
    spec = PairSpec(base, finetuned)
    service = LocalPath()
    there = RemotePair.load(replace(spec, remote="ndif"), service=service)
    return Case(NnsightPair.load(spec), there, service)


def vectors(n: int) -> np.ndarray:
    return 3 * np.random.default_rng(0).standard_normal((n, WIDTH)).astype(np.float32)


def same(found: Any, truth: Any) -> None:
    np.testing.assert_allclose(found, truth, **CLOSE)


def same_records(found: Any, truth: Any) -> None:
    for name, value in vars(truth).items():
        same(getattr(found, name), value)


def test_all_checks_pass_without_weights_here(case):
    provenance = case.there.provenance
    failed = [check for check in provenance.checks if check.outcome == "failed"]
    assert not failed
    names = [check.name for check in provenance.checks]
    assert names == [check.name for check in case.here.provenance.checks]
    assert provenance.devices == ("ndif",)
    assert (provenance.n_layers, provenance.width) == (N_LAYERS, WIDTH)
    assert case.there.memory() == {"weights": 0}
    assert provenance.identity() != case.here.provenance.identity()


def test_measuring(case):
    batch = left_padded([case.ids(0, 12), case.ids(1, 7)], range(-5, 0))
    groups = np.array([0, 1])
    there, here = (
        pair.residual_sums(batch, batch, (3, 1), groups) for pair in (case.there, case.here)
    )
    same_records(there, here)


@pytest.mark.parametrize("side", SIDES)
def test_readings(case, side):
    ids, some = case.ids(0, 9), vectors(5)
    same(case.there.unembed(side, some), case.here.unembed(side, some))
    layer = N_LAYERS // 2
    same(
        case.there.patched_log_probs(side, ids, layer, some),
        case.here.patched_log_probs(side, ids, layer, some),
    )
    contexts = left_padded([ids, case.ids(1, 5)], (-3, -1))
    same_records(
        case.there.steering_shift(side, contexts, layer, some),
        case.here.steering_shift(side, contexts, layer, some),
    )
    prompts = [case.ids(2, 6), case.ids(3, 9)]
    same(case.there.next_log_probs(side, prompts), case.here.next_log_probs(side, prompts))
    same(
        case.there.log_probs_after(side, ids, prompts),
        case.here.log_probs_after(side, ids, prompts),
    )
    same(case.there.token_directions(side, [5, 9]), case.here.token_directions(side, [5, 9]))


def test_readings_of_both_sides(case):
    contexts = left_padded([case.ids(0, 9), case.ids(1, 5)], (-3, -1))
    same_records(
        case.there.output_shift(contexts, contexts), case.here.output_shift(contexts, contexts)
    )
    ids = case.ids(2, 12)
    same(case.there.continuation_kl(ids, ids, 4), case.here.continuation_kl(ids, ids, 4))


def scored(rows: list[list[int]]) -> ScoredBatch:
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids, dtype=bool)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    chosen = mask.copy()
    chosen[:, :3] = False
    return ScoredBatch(ids, mask, chosen, mask)


def test_losses(case):
    texts = scored([case.ids(0, 12), case.ids(1, 8)])
    for side in SIDES:
        same(case.there.token_losses(side, texts), case.here.token_losses(side, texts))
        same(case.there.token_log_probs(side, texts), case.here.token_log_probs(side, texts))
    for change in ("replace", "remove"):
        asked = texts, texts, 2, vectors(2), change
        same(case.there.component_losses(*asked), case.here.component_losses(*asked))


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("side", SIDES)
def test_asking_and_steering(case, side, temperature):
    plan = GenerationPlan(side, 2, temperature, 9, scored=True)
    requests = [
        GenerationRequest(tuple(case.ids(0, 9)), seed=3),
        GenerationRequest(tuple(case.ids(1, 5)), seed=4, added=vectors(1)[0]),
        GenerationRequest(tuple(case.ids(2, 7)), seed=5, added=-vectors(1)[0]),
    ]
    shown: dict[int, str] = {}
    there = case.there.generate(plan, requests, on_text=shown.update)
    here = case.here.generate(plan, requests)
    for row, (found, truth) in enumerate(zip(there, here, strict=True)):
        assert (found.token_ids, found.text, found.ended) == (
            truth.token_ids,
            truth.text,
            truth.ended,
        )
        same(found.log_probs, truth.log_probs)
        assert shown.get(row, "") == found.text
    # Nothing is steered.
    plain = [replace(request, added=None) for request in requests]
    found = [text.token_ids for text in case.there.generate(plan, plain)]
    assert found == [text.token_ids for text in case.here.generate(plan, plain)]
    assert found != [text.token_ids for text in there]
