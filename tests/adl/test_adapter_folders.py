"""Adapters beside what their trainers leave in the folder, and those that name modules by patterns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM

from adl.errors import PairError
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from tests.adl.test_tokenizer_files import (
    assert_that_template_is_finetuneds_alone,
    write_template,
)
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model

PROMPT = [5, 6, 7, 8]


def write_lora(folder: Path, base: Path, *, backbone: bool = False, **more: object) -> Path:
    """Write an adapter of random numbers, trained on the whole model or on its backbone alone."""
    torch.manual_seed(3)
    auto = AutoModel if backbone else AutoModelForCausalLM
    settings = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], **more}
    model = get_peft_model(auto.from_pretrained(base), LoraConfig(**settings))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base", tiny_model("llama"))


def load(base: Path, adapter: Path, **more: str) -> NnsightPair:
    return NnsightPair.load(
        PairSpec(SideSpec(str(base)), SideSpec(str(base), None, str(adapter), **more))
    )


@pytest.mark.parametrize(
    "patterns",
    [
        {"alpha_pattern": {"v_proj": 64}},
        {"alpha_pattern": {"layers.1.self_attn.v_proj": 64}},
        {"alpha_pattern": {r"^layers\.1\..*": 64}, "rank_pattern": {"q_proj": 2}},
    ],
)
def test_patterns_of_an_adapter_on_the_backbone_scale_what_they_name(tmp_path, base, patterns):
    adapter = write_lora(tmp_path / "adapter", base, backbone=True, **patterns)
    whole = AutoModelForCausalLM.from_pretrained(base)
    whole.model = PeftModel.from_pretrained(whole.model, adapter)
    with torch.no_grad():
        wanted = whole(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    found = load(base, adapter).next_log_probs("finetuned", [PROMPT])[0]
    assert torch.allclose(torch.from_numpy(found), wanted[: len(found)], atol=1e-4)


def test_other_weights_in_the_folder_are_named(tmp_path, base):
    adapter = write_lora(tmp_path / "adapter", base)
    others = {"trainable_params.bin", "non_lora_trainables.bin", "embeddings.safetensors"}
    for file in (*others, "optimizer.pt", "rng_state_0.pth", "training_args.bin"):
        (save_file if file == "embeddings.safetensors" else torch.save)(
            {"model.norm.weight": torch.ones(8)}, adapter / file
        )
    (line,) = (line for line in load(base, adapter).provenance.mismatches if "Beside" in line)
    assert all(file in line for file in others)
    assert not any(word in line for word in ("optimizer", "rng_state", "training_args"))


def test_a_folder_of_an_adapter_has_no_revisions(tmp_path, base):
    adapter = write_lora(tmp_path / "adapter", base)
    with pytest.raises(PairError, match=r"finetuned.*no revisions.*'v2'"):
        load(base, adapter, adapter_revision="v2")


def test_a_template_alone_is_the_adapter_s(tmp_path, base):
    adapter = write_lora(tmp_path / "adapter", base)
    write_template(adapter)
    assert_that_template_is_finetuneds_alone(load(base, adapter))


def test_a_tokenizer_without_settings_is_the_adapter_s(tmp_path, base):
    adapter = write_lora(tmp_path / "adapter", base)
    own = tiny_tokenizer("<|extra|>")
    own.backend_tokenizer.save(str(adapter / "tokenizer.json"))
    pair = load(base, adapter)
    assert len(pair.tokenise("finetuned", "<|extra|>")) == 1
    assert len(pair.tokenise("base", "<|extra|>")) > 1
