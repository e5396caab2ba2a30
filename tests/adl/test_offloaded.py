"""Weights that wait on disk or on the CPU until they are run: the same numbers as without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adl.records import GenerationPlan, GenerationRequest
from tests.adl.test_architectures import padded
from tests.adl.test_every_architecture import pair_of
from tests.tiny_models import SENTENCES, tiny_model, write_model

LAYERS = [f"model.layers.{layer}" for layer in range(4)]
PLACES = ["model.embed_tokens", *LAYERS, "model.norm", "model.rotary_emb", "lm_head"]


@pytest.mark.parametrize(
    "on_disk",
    [
        ["lm_head"],
        ["model.embed_tokens", "lm_head"],
        ["model.embed_tokens", *LAYERS],
        ["model.layers.2", "model.layers.3", "model.norm", "lm_head"],
    ],
    ids=["head", "embedding and head", "embedding and layers", "end"],
)
def test_every_reading_is_that_of_a_model_in_memory(tmp_path, on_disk):
    folder = write_model(tmp_path / "base", tiny_model("llama"))
    # The first place is taken for the model's device.
    places = {place: "cpu" for place in PLACES if place not in on_disk}
    places |= dict.fromkeys(on_disk, "disk")
    offloaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map=places, offload_folder=str(tmp_path / "off")
    )
    assert any(parameter.device.type == "meta" for parameter in offloaded.parameters())
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pair, truth = pair_of(offloaded, plain), pair_of(plain, plain)
    assert {check.outcome for check in pair.provenance.checks[2:]} <= {"passed", "failed"}
    ids = pair.tokenise("base", SENTENCES[0])[:8]
    batch = padded([ids, ids[:5]], (-2, -1))
    vector = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    requests = [GenerationRequest(tuple(ids), 0, added=vector[0])]
    for read in (
        lambda one: one.residual_sums(batch, batch, (1, 3), np.arange(2)).base,
        lambda one: one.unembed("base", vector),
        lambda one: one.patched_log_probs("base", ids, 1, vector),
        lambda one: one.steering_shift("base", batch, 1, vector).shift,
        lambda one: one.token_directions("base", [5, 6, 7]),
        lambda one: one.generate(GenerationPlan("base", 1, 0.0, 4), requests)[0].token_ids,
    ):
        np.testing.assert_allclose(read(pair), read(truth), rtol=1e-4, atol=1e-4)
