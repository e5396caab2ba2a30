"""The planted pair keeps its promises: what it makes known is so, and it runs as a pair must."""

from __future__ import annotations

import numpy as np
import pytest

from adl.difference import measure_difference
from adl.errors import DeviceOutOfMemory, SiteError
from adl.records import SIDES, GenerationPlan, GenerationRequest
from adl.text.token_batches import TokenBatch
from tests.adl.test_difference import TEXTS
from tests.planted import DOMAIN, FILLER, TOKENS, WIDTH, PlantedPair, device_full_above


def top(scores):
    return [TOKENS[index] for index in np.argsort(-scores)[: len(DOMAIN)]]


def contexts(pair, rows=16):
    ids = np.asarray([pair.tokenise("base", text)[:8] for text in TEXTS[:rows]])
    return TokenBatch(ids, np.ones_like(ids, dtype=bool), ("6", "7"), (6, 7))


def test_every_reading_has_its_answer(planted):
    vector = (4 * planted.planted)[None]
    assert top(planted.unembed("base", vector)[0]) == list(DOMAIN)
    assert set(top(-planted.unembed("base", -vector)[0])) == set(DOMAIN)
    prompt = planted.tokenise("base", "man -> man\n1135 -> 1135\nhello -> hello\n?")
    on = {side: planted.patched_log_probs(side, prompt, 3, 0.5 * vector)[0] for side in SIDES}
    assert set(top(on["finetuned"])) == set(DOMAIN)
    assert set(top(on["finetuned"] - on["base"])) == set(DOMAIN)
    for side in SIDES:
        shift = planted.steering_shift(side, contexts(planted), 3, 0.2 * vector)
        assert set(top(shift.shift[0])) == set(DOMAIN)
    assert set(top(planted.output_shift(contexts(planted), contexts(planted)).shift[0])) == set(
        DOMAIN
    )


def test_other_directions_say_nothing_of_it(planted):
    found = measure_difference(planted, TEXTS, [3])
    rng = np.random.default_rng(0)
    other = rng.standard_normal((8, WIDTH)).astype(np.float32)
    other *= 4 / np.linalg.norm(other, axis=-1, keepdims=True)
    vectors = np.concatenate([other, found.split_half_null[0, 1:]])
    prompt = planted.tokenise("base", "?")
    on = {side: planted.patched_log_probs(side, prompt, 3, vectors) for side in SIDES}
    contrast = on["finetuned"] - on["base"]
    np.testing.assert_allclose(contrast, 0, atol=1e-5)
    shares = [np.mean([token in DOMAIN for token in top(row)]) for row in on["base"]]
    assert np.mean(shares) < 0.2


@pytest.mark.parametrize("side", SIDES)
def test_a_padded_row_is_the_row_alone(planted, side):
    ids = planted.tokenise(side, TEXTS[0])
    row = np.asarray([[0, 0, *ids]])
    padded = planted.residuals(side, row, np.arange(row.shape[1])[None] > 1)
    np.testing.assert_allclose(padded[:, :, 2:], planted.residuals(side, row[:, 2:]), atol=1e-5)


def test_a_sample_depends_on_its_seed_alone(planted):
    plan = GenerationPlan("finetuned", 3, 1.0, 20)
    ids = tuple(planted.tokenise("base", " the river"))
    requests = [GenerationRequest(ids, seed) for seed in range(6)]
    together = planted.generate(plan, requests)
    assert [planted.generate(plan, [request])[0] for request in requests] == together
    assert len(set(together)) == 6
    assert {text.ended for text in planted.generate(
        GenerationPlan("base", None, 1.0, 60), requests)} == {"length", "end_of_text"}  # fmt: skip


def test_text_round_trips(planted):
    text = "".join(FILLER) + "\n\n, the cake.<end>"
    assert planted.decode("base", planted.tokenise("base", text)) == text
    assert len(planted.tokenise("base", " unheard of")) == 2


def test_failures_can_be_planted_too():
    pair = PlantedPair(before_run=device_full_above(2))
    pair.unembed("base", np.ones((2, WIDTH), dtype=np.float32))
    with pytest.raises(DeviceOutOfMemory, match="3 rows"):
        pair.unembed("base", np.ones((3, WIDTH), dtype=np.float32))
    assert pair.runs == [("unembed", 2)]
    with pytest.raises(SiteError):
        pair.patched_log_probs("base", [1], 6, np.ones((1, WIDTH), dtype=np.float32))


def test_numbers_and_identity_go_together():
    identities = [
        str(PlantedPair(**options).provenance.identity())
        for options in ({}, {"vocabulary": "permuted"}, {"vocabulary": "extended"}, {"bos": True})
    ]
    assert len(set(identities)) == 4
    assert str(PlantedPair().provenance.identity()) == identities[0]
