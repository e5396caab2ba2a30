"""Multimodal checkpoints: their text part is audited, with the numbers of plain transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

from adl.errors import PairError
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.tiny_models import perturb, write_model
from tests.tiny_wrappers import TEXT_ONLY, WRAPPERS, text_part, tiny_wrapper

IDS = [10, 40, 7, 99, 150, 33, 8]
TOLERANCE = 2e-4


def plain(folder: Path, kind: str) -> Any:
    """The model of a folder as transformers loads it; ``kind`` is ``text`` for a language model."""
    alone = kind == "text" or kind in TEXT_ONLY
    auto = AutoModelForCausalLM if alone else AutoModelForImageTextToText
    model: Any = auto.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def residuals(model: Any) -> np.ndarray:
    """Outputs of every layer [layers, tokens, width], as hooks see them."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    count = inner.config.get_text_config().num_hidden_layers
    stack = next(
        part
        for path, part in inner.named_modules()
        if isinstance(part, torch.nn.ModuleList)
        and len(part) == count
        and path.endswith("layers")
        and "vision" not in path
        and "visual" not in path
    )
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(
            lambda _module, _inputs, output: seen.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
        for layer in stack
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor([IDS]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.cat(seen).numpy()


def batch() -> TokenBatch:
    ids = np.asarray([IDS], dtype=np.int64)
    columns = tuple(range(len(IDS)))
    return TokenBatch(ids, np.ones_like(ids, dtype=bool), tuple(map(str, columns)), columns)


def logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    return found.numpy()


def check(pair: NnsightPair, base: Any, finetuned: Any) -> None:
    """The pair's logits and residuals are those of the plain models, and the sides differ."""
    for side, model in (("base", base), ("finetuned", finetuned)):
        loaded = pair._loaded.side(side)
        loaded.use()
        np.testing.assert_allclose(logits(loaded.module), logits(model), atol=1e-4)
    sums = pair.residual_sums(
        batch(), batch(), list(range(pair.provenance.n_layers)), np.zeros(1, dtype=np.int64)
    )
    for model, found in ((base, sums.base), (finetuned, sums.finetuned)):
        wanted = residuals(model)
        np.testing.assert_allclose(found[0], wanted, atol=TOLERANCE * np.abs(wanted).max())
    assert np.abs(sums.finetuned - sums.base).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in WRAPPERS if kind != "mllama"])
def test_the_text_part_of_a_multimodal_pair(tmp_path, kind, capfd):
    model = tiny_wrapper(kind)
    base = write_model(tmp_path / "base", model)
    perturb(model, 2, 0.02)
    finetuned = write_model(tmp_path / "finetuned", model)
    capfd.readouterr()
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))
    assert capfd.readouterr() == ("", "")
    notes = [note for note in pair.provenance.mismatches if "multimodal" in note]
    assert len(notes) == 1
    assert notes[0].startswith(f"Both sides: The checkpoint is multimodal ({kind})")
    check(pair, plain(base, kind), plain(finetuned, kind))


def without(folder: Path, part: str) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    left = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert len(left) < len(tensors)
    save_file(left, file, metadata={"format": "pt"})


def test_a_checkpoint_without_its_tower_is_read_and_told(tmp_path):
    model = tiny_wrapper("mistral3")
    base = write_model(tmp_path / "base", model)
    perturb(model, 2, 0.02)
    finetuned = write_model(tmp_path / "finetuned", model)
    whole = plain(finetuned, "mistral3")
    without(finetuned, "vision_tower")
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))
    (note,) = [note for note in pair.provenance.mismatches if "random" in note]
    assert note.startswith("Finetuned: ")
    assert "text does not pass through them" in note
    check(pair, plain(base, "mistral3"), whole)


@pytest.mark.parametrize("kind", ["mistral3", "qwen3_5", "llama4"])
def test_a_weight_of_the_text_part_that_is_missing_is_refused(tmp_path, kind):
    base = write_model(tmp_path / "base", tiny_wrapper(kind))
    finetuned = write_model(tmp_path / "finetuned", tiny_wrapper(kind))
    without(finetuned, "layers.2.")
    with pytest.raises(PairError, match=r"which would be random: .*layers\.2\."):
        NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))


def test_layers_that_wait_for_an_image_are_refused(tmp_path):
    """Without one, Mllama leaves out the layers that look at it."""
    model = tiny_wrapper("mllama")
    base = write_model(tmp_path / "base", model)
    perturb(model, 2, 0.02)
    finetuned = write_model(tmp_path / "finetuned", model)
    with pytest.raises(PairError, match="MllamaForCausalLM cannot be audited"):
        NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))


def write_lora(folder: Path, model: Any, targets: Any, **settings: Any) -> Path:
    torch.manual_seed(7)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, **settings
    )
    get_peft_model(model, config).save_pretrained(str(folder))
    return folder


def load(base: Path, adapter: Path) -> NnsightPair:
    side = SideSpec(str(base), adapter=str(adapter))
    return NnsightPair.load(PairSpec(SideSpec(str(base)), side))


def renamed(adapter: Path, old: str, new: str, folder: Path) -> Path:
    """The adapter by other names, made by hand."""
    folder.mkdir()
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert any(old in name for name in tensors)
    save_file(
        {name.replace(old, new): tensor for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    return folder


LAYERS = {
    "gemma3": "model.language_model.layers",
    "mistral3": "model.language_model.layers",
    "llava": "model.language_model.layers",
    "internvl": "model.language_model.layers",
    "idefics3": "model.text_model.layers",
}
TARGETS: dict[str, Any] = {
    "short names": ["q_proj", "v_proj", "down_proj"],
    "a pattern": r"model\.layers\.\d+\.(self_attn\.(q|v)_proj|mlp\.down_proj)",
    "full names": [f"model.layers.{n}.self_attn.q_proj" for n in range(4)],
    "one layer": ["model.layers.2.mlp.up_proj"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_an_adapter_of_the_text_model_on_a_wrapper(tmp_path, kind):
    wrapper = tiny_wrapper(kind)
    base = write_model(tmp_path / "base", wrapper)
    adapter = write_lora(tmp_path / "adapter", text_part(wrapper), TARGETS["short names"])
    pair = load(base, adapter)
    assert any(
        "model.layers" in note or "called model" in note for note in pair.provenance.mismatches
    )
    # The same adapter put on by PEFT, its names changed by hand.
    text = "model.layers"
    by_hand = renamed(adapter, f".{text}.", f".{LAYERS[kind]}.", tmp_path / "by_hand")
    check_against_peft(pair, kind, base, by_hand)


def check_against_peft(pair: NnsightPair, kind: str, base: Path, adapter: Path) -> None:
    targets = sorted(
        {
            name.removeprefix("base_model.model.").partition(".lora_")[0]
            for name in load_file(adapter / "adapter_model.safetensors")
        }
    )
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets)
    adapted = PeftModel.from_pretrained(plain(base, kind), str(adapter), config=config)
    check(pair, plain(base, kind), adapted.eval())


@pytest.mark.slow
@pytest.mark.parametrize("targets", TARGETS)
def test_however_the_adapter_names_its_targets(tmp_path, targets):
    wrapper = tiny_wrapper("gemma3")
    base = write_model(tmp_path / "base", wrapper)
    adapter = write_lora(tmp_path / "adapter", text_part(wrapper), TARGETS[targets])
    pair = load(base, adapter)
    by_hand = renamed(adapter, ".model.layers.", ".model.language_model.layers.", tmp_path / "hand")
    check_against_peft(pair, "gemma3", base, by_hand)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_an_adapter_of_a_wrapper_on_the_text_model(tmp_path, kind):
    wrapper = tiny_wrapper(kind)
    text = text_part(wrapper)
    base = write_model(tmp_path / "base", text)
    adapter = write_lora(tmp_path / "adapter", wrapper, ["q_proj", "v_proj"])
    pair = load(base, adapter)
    held = load_file(adapter / "adapter_model.safetensors")
    towers = [name for name in held if LAYERS[kind] not in name]
    assert bool(towers) == any("images or sound" in note for note in pair.provenance.mismatches)
    by_hand = renamed(adapter, f".{LAYERS[kind]}.", ".model.layers.", tmp_path / "by_hand")
    kept = load_file(by_hand / "adapter_model.safetensors")
    save_file(
        {name: kept[name] for name in kept if ".model.layers." in name},
        by_hand / "adapter_model.safetensors",
    )
    check_against_peft(pair, "text", base, by_hand)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llava", "language_model.model.layers"),
        ("qwen2_5_vl", "model.layers"),
        ("qwen3_vl", "layers"),
    ],
)
def test_an_adapter_by_the_names_of_another_version(tmp_path, kind, name):
    wrapper = tiny_wrapper(kind)
    base = write_model(tmp_path / "base", wrapper)
    targets = r".*language_model.*\.(q_proj|v_proj)"
    adapter = write_lora(tmp_path / "adapter", wrapper, targets)
    old = renamed(adapter, ".model.language_model.layers.", f".{name}.", tmp_path / "old")
    check_against_peft(load(base, old), kind, base, adapter)


@pytest.mark.slow
def test_ranks_and_saved_modules_are_renamed_as_well(tmp_path):
    wrapper = tiny_wrapper("mistral3")
    base = write_model(tmp_path / "base", wrapper)
    adapter = write_lora(
        tmp_path / "adapter",
        text_part(wrapper),
        ["q_proj", "down_proj"],
        rank_pattern={"model.layers.1.self_attn.q_proj": 2, "down_proj": 3},
        alpha_pattern={"model.layers.1.self_attn.q_proj": 5},
        modules_to_save=["lm_head"],
    )
    pair = load(base, adapter)
    text = write_model(tmp_path / "text", text_part(wrapper))
    truth = plain(text, "text")
    truth = PeftModel.from_pretrained(truth, str(adapter)).eval()
    pair._loaded.finetuned.use()
    found = logits(pair._loaded.finetuned.module)
    np.testing.assert_allclose(found, logits(truth), atol=1e-4)


def test_a_tower_that_cannot_be_built_is_left_out(tmp_path):
    """Gemma 3n's towers need packages that are not here; its text part does not."""
    text = tiny_wrapper("gemma3n_text")
    folder = write_model(tmp_path / "base", text)
    tensors = load_file(folder / "model.safetensors")
    tensors = {
        name.replace("model.", "model.language_model.", 1): value for name, value in tensors.items()
    }
    tensors["model.vision_tower.patch.weight"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    from transformers import Gemma3nConfig

    Gemma3nConfig(text_config=text.config).save_pretrained(folder)
    module, _, record = load_to_train(SideSpec(str(folder)), dtype="float32")
    assert record.architecture == "Gemma3nForCausalLM"
    held = module.state_dict()
    for name, value in load_file(folder / "model.safetensors").items():
        if "vision" not in name:
            assert torch.equal(held[name.replace("language_model.", "")], value)
