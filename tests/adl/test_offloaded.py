"""Weights that wait on disk or on the CPU until they are run: the same numbers as without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from transformers import AutoModelForCausalLM, PreTrainedModel

from adl.errors import PairError
from adl.pair.nnsight.offloading import DataNeeded, weight_of, weight_places
from adl.records import GenerationPlan, GenerationRequest, WeightChange
from tests.adl.test_architectures import padded
from tests.adl.test_carriers import logits_of
from tests.adl.test_every_architecture import pair_of
from tests.tiny_models import SENTENCES, perturb, tiny_model, write_model

LAYERS = [f"model.layers.{layer}" for layer in range(4)]
PLACES = ["model.embed_tokens", *LAYERS, "model.norm", "model.rotary_emb", "lm_head"]


def on_disk(*names: str) -> Callable[[Path, Path], PreTrainedModel]:
    """Loads a model with some of its modules on the disk."""

    def load(folder: Path, scratch: Path) -> PreTrainedModel:
        # The first place is taken for the model's device.
        places = {place: "cpu" for place in PLACES if place not in names}
        places |= dict.fromkeys(names, "disk")
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, device_map=places, offload_folder=str(scratch)
        )

    return load


def by_accelerate(folder: Path, scratch: Path) -> PreTrainedModel:
    """Loads a model all of which waits on the disk."""
    return placed(disk_offload(plain_model(folder), str(scratch), execution_device="cpu"))


def on_the_cpu(folder: Path, scratch: Path) -> PreTrainedModel:
    """Loads a model all of which waits on the CPU, as beside a GPU that is too small."""
    return placed(cpu_offload(plain_model(folder), execution_device="cpu"))


def placed(model: PreTrainedModel) -> PreTrainedModel:
    """Mark a model as one that is where it belongs, as transformers marks those that it places."""
    model.hf_device_map = {"": "cpu"}
    return model


def plain_model(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "load",
    [
        on_disk("lm_head"),
        on_disk("model.embed_tokens", "lm_head"),
        on_disk("model.embed_tokens", *LAYERS),
        on_disk("model.layers.2", "model.layers.3", "model.norm", "lm_head"),
        by_accelerate,
        on_the_cpu,
    ],
    ids=["head", "embedding and head", "embedding and layers", "end", "all", "all on the CPU"],
)
def test_every_reading_is_that_of_a_model_in_memory(tmp_path, load):
    folder = write_model(tmp_path / "base", tiny_model("llama"))
    tuned = tiny_model("llama")
    perturb(tuned, 9, 0.05)
    other = write_model(tmp_path / "tuned", tuned)
    waiting = [load(each, tmp_path / f"{each.name} off") for each in (folder, other)]
    assert all(any(weight.is_meta for weight in model.parameters()) for model in waiting)
    truth = pair_of(plain_model(folder), plain_model(other))
    vector = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    ids = truth.tokenise("base", SENTENCES[0])[:8]
    batch = padded([ids, ids[:5]], (-2, -1))
    steered = [GenerationRequest(tuple(ids), 0, added=vector[0])]
    plain = [GenerationRequest(tuple(ids), 0)]
    amplified = [GenerationRequest(tuple(ids), 0, contrast=1.5, contrast_ids=tuple(ids))]
    change = WeightChange("rank1", 1.5)
    shuffled = WeightChange("rank1", 1.5, null=3)
    with DataNeeded():
        pair = pair_of(*waiting)
        assert {check.outcome for check in pair.provenance.checks[1:]} == {"passed"}
        for read in (
            lambda one: one.residual_sums(batch, batch, (1, 3), np.arange(2)).base,
            lambda one: one.unembed("base", vector),
            lambda one: one.patched_log_probs("base", ids, 1, vector),
            lambda one: one.steering_shift("base", batch, 1, vector).shift,
            lambda one: one.output_shift(batch, batch).shift,
            lambda one: one.token_directions("base", [5, 6, 7]),
            lambda one: one.generate(GenerationPlan("base", 1, 0.0, 4), steered)[0].token_ids,
            lambda one: (
                one.generate(GenerationPlan("finetuned", 1, 0.0, 4), amplified)[0].token_ids
            ),
            lambda one: one.update_facts(change).rank1_share,
            lambda one: len(one.update_facts(change).modules),
            lambda one: one.update_facts(change).left_out == truth.update_facts(change).left_out,
            lambda one: logits_of(one, change, ids),
            lambda one: logits_of(one, shuffled, ids),
            lambda one: (
                one.generate(GenerationPlan("finetuned", None, 0.0, 4, change), plain)[0].token_ids
            ),
            lambda one: one.memory()["weights"],
        ):
            np.testing.assert_allclose(read(pair), read(truth), rtol=1e-4, atol=1e-4)


def test_where_weights_wait_is_told_apart_from_where_they_are_used():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"))
    model.hf_device_map = {"0": 0, "1": "cpu"}
    assert weight_places(model) == {"cpu"}
    model.hf_device_map = {"0": "cpu", "1": "disk"}
    assert weight_places(model) == {"cpu", "disk"}


def test_a_weight_that_nothing_brings_is_refused_by_name():
    with pytest.raises(PairError, match="the weight of a Linear is on no device") as caught:
        weight_of(torch.nn.Linear(2, 2, device="meta"))
    assert "--device-map" in caught.value.hint
