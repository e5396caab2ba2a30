"""Layers below an added vector run once for several vectors; where that is wrong, each runs by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adl.difference import measure_difference
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import resolve_layers
from adl.records import ActivationDifference, PairSpec, Side, SideSpec
from adl.text.token_batches import TokenBatch
from tests.adl.test_every_architecture import pair_of
from tests.tiny_causal import made
from tests.tiny_models import SENTENCES, perturb, tiny_model, tiny_tokenizer, write_model

LAYER, LENGTH = 1, 12


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    model = tiny_model("llama")
    write_model(folder / "base", model, tiny_tokenizer())
    perturb(model, 9, 0.05)
    write_model(folder / "finetuned", model, tiny_tokenizer())
    spec = PairSpec(SideSpec(str(folder / "base")), SideSpec(str(folder / "finetuned")))
    return NnsightPair.load(spec)


def batch(rows: int, padded: int = 0) -> TokenBatch:
    ids = np.random.default_rng(rows).integers(5, 50, (rows, LENGTH))
    mask = np.ones_like(ids, dtype=bool)
    mask[0, :padded] = False
    return TokenBatch(ids, mask, ("10", "11"), (LENGTH - 2, LENGTH - 1))


def test_all_layers_are_measured_in_the_passes_of_one(pair):
    """A pass of either side a batch, however many layers; each layer as if it were measured alone."""
    texts = [text for text in SENTENCES for _ in range(5)]
    found = {}

    def measure(*layers: str) -> None:
        wanted = resolve_layers(layers, pair.provenance.n_layers)
        found[layers] = measure_difference(pair, texts, wanted, batch_size=8)

    passes = [
        [calls(pair, 0, lambda named=named: measure(named), side) for side in ("base", "finetuned")]
        for named in ("1", "0.25,0.5,0.75", "all")
    ]
    assert passes[0] == passes[1] == passes[2]
    assert [sum(rows) for rows in passes[0]] == [len(texts), len(texts)]
    every, alone = found["all",], found["1",]
    assert every.layers == tuple(range(pair.provenance.n_layers))
    for name in ActivationDifference.ARRAYS:
        both = getattr(every, name)[1], getattr(alone, name)[0]
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)


def vectors(pair: NnsightPair, count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((count, pair.provenance.width)).astype(np.float32)


def calls(pair: NnsightPair, layer: int, work, side: Side = "base") -> list[int]:
    """Rows of each run of a decoder layer during ``work``."""
    seen: list[int] = []
    module = pair._runs[side].loaded.module.get_decoder().layers[layer]
    hook = module.register_forward_hook(lambda _m, inputs, _out: seen.append(len(inputs[0])))
    try:
        work()
    finally:
        hook.remove()
    return seen


def test_layers_below_run_once_for_all_vectors(pair):
    added = vectors(pair, 4)
    pair.steering_shift("base", batch(3), LAYER, added)  # tries whether rows can share
    below = calls(pair, 0, lambda: pair.steering_shift("base", batch(3), LAYER, added))
    above = calls(pair, LAYER + 1, lambda: pair.steering_shift("base", batch(3), LAYER, added))
    assert below == [3]
    assert above == [15]  # three rows unsteered, and with each of four vectors


def test_logits_are_made_for_one_vector_at_a_time(pair):
    added = vectors(pair, 4)
    together = pair.steering_shift("base", batch(3), LAYER, added)
    rows = []
    head = pair._runs["base"].loaded.module.get_output_embeddings()
    hook = head.register_forward_hook(
        lambda _m, _inputs, logits: rows.append(logits[..., 0].numel())
    )
    try:
        pair.steering_shift("base", batch(3), LAYER, added)
    finally:
        hook.remove()
    assert max(rows) == 6  # two columns of three rows
    for index in range(len(added)):
        alone = pair.steering_shift("base", batch(3), LAYER, added[[index]])
        np.testing.assert_allclose(alone.shift[0], together.shift[index], rtol=1e-4, atol=1e-4)


def test_a_model_that_scales_its_logits_runs_each_by_itself():
    """The unembedding is not all that it does to them."""
    pair = pair_of(made("granite", logits_scaling=4.0))
    added = vectors(pair, 2)
    above = calls(pair, LAYER + 1, lambda: pair.steering_shift("base", batch(3), LAYER, added))
    assert above == [6, 3, *(3, 3, 3)]  # two ways tried, then each


@pytest.mark.parametrize("fault", ["raises", "wrong"])
def test_a_model_that_cannot_share_runs_each_by_itself(pair, fault, monkeypatch):
    added = vectors(pair, 3)
    truth = pair.steering_shift("base", batch(4), LAYER, added)
    runs = pair._runs["base"]
    shared = type(runs)._added_rows

    def spoilt(self, *arguments):
        if fault == "raises":
            raise RuntimeError("the size of tensor a (8) must match the size of tensor b (4)")
        return (torch.roll(part, 1, dims=-1) for part in shared(self, *arguments))

    monkeypatch.setattr(type(runs), "_added_rows", spoilt)
    monkeypatch.setattr(runs, "_shares_layers", {})
    found = pair.steering_shift("base", batch(4), LAYER, added)
    np.testing.assert_allclose(found.shift, truth.shift, rtol=1e-4, atol=1e-4)
    assert list(runs._shares_layers.values()) == [False]


def test_padded_rows_run_by_themselves(pair):
    padded = batch(2, padded=3)
    above = calls(
        pair, LAYER + 1, lambda: pair.steering_shift("base", padded, LAYER, vectors(pair, 2))
    )
    assert above == [2, 2, 2]
