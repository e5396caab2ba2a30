"""Weights that wait on disk or on the CPU until they are run: the same numbers as without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from transformers import AutoModelForCausalLM, PreTrainedModel

from adl.errors import PairError
from adl.pair.nnsight.offloading import DataNeeded, weight_of, weight_places
from adl.pair.nnsight.pair import NnsightPair
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A base and a finetune of it."""
    tmp_path = tmp_path_factory.mktemp("pair")
    tuned = tiny_model("llama")
    perturb(tuned, 9, 0.05)
    return (
        write_model(tmp_path / "base", tiny_model("llama")),
        write_model(tmp_path / "tuned", tuned),
    )


def readings_of(pair: NnsightPair) -> dict[str, Any]:
    """Return a number, or several, of everything that is read of a pair."""
    vector = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    ids = pair.tokenise("base", SENTENCES[0])[:8]
    batch = padded([ids, ids[:5]], (-2, -1))
    steered = [GenerationRequest(tuple(ids), 0, added=vector[0])]
    plain = [GenerationRequest(tuple(ids), 0)]
    amplified = [GenerationRequest(tuple(ids), 0, contrast=1.5, contrast_ids=tuple(ids))]
    change = WeightChange("rank1", 1.5)
    shuffled = WeightChange("rank1", 1.5, null=3)

    def tokens(plan: GenerationPlan, requests: list[GenerationRequest]) -> tuple[int, ...]:
        return pair.generate(plan, requests)[0].token_ids

    facts = pair.update_facts(change)
    return {
        "residuals": pair.residual_sums(batch, batch, (1, 3), np.arange(2)).base,
        "logit lens": pair.unembed("base", vector),
        "patchscope": pair.patched_log_probs("base", ids, 1, vector),
        "steering": pair.steering_shift("base", batch, 1, vector).shift,
        "output shift": pair.output_shift(batch, batch).shift,
        "token directions": pair.token_directions("base", [5, 6, 7]),
        "steered text": tokens(GenerationPlan("base", 1, 0.0, 4), steered),
        "amplified text": tokens(GenerationPlan("finetuned", 1, 0.0, 4), amplified),
        "share of rank 1": facts.rank1_share,
        "changed modules": len(facts.modules),
        "left out": facts.left_out,
        "logits": logits_of(pair, change, ids),
        "logits of a null": logits_of(pair, shuffled, ids),
        "changed text": tokens(GenerationPlan("finetuned", None, 0.0, 4, change), plain),
        "memory": pair.memory()["weights"],
    }


@pytest.fixture(scope="module")
def truth(folders) -> dict[str, Any]:
    """The readings of the pair in memory."""
    return readings_of(pair_of(*map(plain_model, folders)))


@pytest.mark.slow
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
def test_every_reading_is_that_of_a_model_in_memory(tmp_path, folders, truth, load):
    waiting = [load(folder, tmp_path / folder.name) for folder in folders]
    assert all(any(weight.is_meta for weight in model.parameters()) for model in waiting)
    with DataNeeded():
        pair = pair_of(*waiting)
        assert {check.outcome for check in pair.provenance.checks[1:]} == {"passed"}
        found = readings_of(pair)
    for name, value in truth.items():
        if name == "left out":
            assert found[name] == value
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


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
