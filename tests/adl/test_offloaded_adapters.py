"""Adapters on weights that wait on the disk: exact, or refused by name before anything is measured."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from adl.errors import PairError
from adl.pair.nnsight.loading import LoadedPair, load_pair
from adl.pair.nnsight.offloading import HOOK, DataMissing, DataNeeded
from adl.records import PairSpec, SideSpec
from tests.adl.test_adapter_types import (
    OWN_COPY,
    SHARED,
    TIED,
    assert_exact,
    edited,
    lora,
    plain,
    save_adapter,
)
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model

PARTS = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head")
PLACES = {
    "all": PARTS,
    "a layer": ("model.layers.1",),
    "embeddings and head": ("model.embed_tokens", "lm_head"),
}
EXACT = {
    *("LoRA", "LoRA on every linear layer", "LoRA with biases of its own", "LoRA, orthogonal"),
    *("rsLoRA", "LoRA with norms saved", "LoRA with embeddings saved", "FourierFT", "GraLoRA"),
    *("IA3", "LN tuning", "LoHa", "LoKr", "MiSS", "RoAd", "VB-LoRA", "WaveFT"),
    *("both saved", "embeddings saved", "head saved"),
}
"""Adapters that need nothing of the base's weights but what comes out of their modules."""
FEW = ("LoRA", "LoRA with embeddings saved", "DoRA", "PiSSA")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of two layers, one with its embeddings and head in one matrix."""
    folder = tmp_path_factory.mktemp("offloaded")
    kinds = {"untied": "qwen2", "tied": "gemma2"}
    return {
        name: write_model(folder / name, tiny_model(kind, n_layers=2))
        for name, kind in kinds.items()
    }


def loaded(base: Path, adapter: Path, on_disk: tuple[str, ...]) -> LoadedPair:
    places = dict.fromkeys((*PARTS, "model.rotary_emb"), "cpu") | dict.fromkeys(on_disk, "disk")
    finetuned = SideSpec(str(base), adapter=str(adapter))
    return load_pair(PairSpec(SideSpec(str(base)), finetuned, device_map=json.dumps(places)))


def tried(base: Path, adapter: Path, on_disk: tuple[str, ...]) -> LoadedPair | PairError:
    try:
        return loaded(base, adapter, on_disk)
    except PairError as error:
        return error


def is_exact(base: Path, folder: Path, config: Any, where: str) -> bool:
    """Return True for an adapter that was loaded and is exact, False for one refused by name."""
    adapter = save_adapter(folder / "adapter", plain(base), config)
    found = tried(base, adapter, PLACES[where])
    if isinstance(found, PairError):
        assert str(adapter) in found.message
        assert "do not stay on a device" in found.message
        assert "--device-map" in found.hint
        return False
    assert_exact(found, plain(base), PeftModel.from_pretrained(plain(base), str(adapter)))
    return True


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", FEW)
def test_a_few_types(bases: dict[str, Path], tmp_path: Path, kind: str, where: str) -> None:
    config = (SHARED | OWN_COPY)[kind]
    was_loaded = is_exact(bases["untied"], tmp_path, config, where)
    assert was_loaded == (kind in EXACT or where == "embeddings and head")


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("base", "kind"),
    [*(("untied", kind) for kind in SHARED | OWN_COPY), *(("tied", kind) for kind in TIED)],
)
def test_every_type(
    bases: dict[str, Path], tmp_path: Path, base: str, kind: str, where: str
) -> None:
    config = (SHARED | OWN_COPY | TIED)[kind]
    was_loaded = is_exact(bases[base], tmp_path, config, where)
    assert was_loaded or kind not in EXACT


def test_weights_that_its_file_lacks_are_named_and_not_made_up(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "lora", plain(bases["untied"]), lora())
    more = edited(tmp_path / "more", adapter, target_modules=["q_proj", "v_proj", "o_proj"])
    with pytest.raises(PairError, match=r"no weights for model\.layers\.0\.self_attn\.o_proj"):
        loaded(bases["untied"], more, PARTS)


def test_embeddings_on_the_disk_are_not_resized(bases: dict[str, Path], tmp_path: Path) -> None:
    model = plain(bases["untied"])
    rows = model.get_input_embeddings().weight.shape[0] + 9
    model.resize_token_embeddings(rows)
    adapter = save_adapter(
        tmp_path / "lora", model, lora(modules_to_save=["embed_tokens", "lm_head"])
    )
    tiny_tokenizer("<|im_start|>", "<|im_end|>").save_pretrained(adapter)
    with pytest.raises(PairError, match=rf"{rows} rows.*do not stay on a device") as caught:
        loaded(bases["untied"], adapter, PLACES["embeddings and head"])
    assert "--device-map" in caught.value.hint


def test_half_precision(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT keeps an adapter in float32 on a base in half precision."""
    base = write_model(tmp_path / "half", plain(bases["untied"]).bfloat16())
    adapter = save_adapter(tmp_path / "lora", plain(base), lora(modules_to_save=["lm_head"]))
    pairs = [loaded(base, adapter, on_disk) for on_disk in (PARTS, ())]
    for pair in pairs:
        pair.finetuned.use()
    found, wanted = (pair.finetuned.module(torch.arange(9)[None]).logits for pair in pairs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert found.dtype == torch.bfloat16


def test_copies_of_a_module_share_what_all_weights_come_from(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """PEFT copies modules that it saves whole, hook and all: of a large model, all its weights."""
    adapter = save_adapter(tmp_path / "lora", plain(bases["untied"]), lora())
    head = loaded(bases["untied"], adapter, PARTS).base.module.get_output_embeddings()
    hook = getattr(copy.deepcopy(head), HOOK)
    assert hook.weights_map.dataset is getattr(head, HOOK).weights_map.dataset


def test_the_guard_raises_for_what_torch_lets_pass() -> None:
    empty, full = torch.empty(3, 3, device="meta"), torch.ones(3, 3)
    torch.nn.Parameter(empty).detach()
    with DataNeeded():
        assert empty.shape == full.shape
        assert empty.clone().is_meta
        for read in (
            lambda: empty @ empty,
            lambda: empty.copy_(full),
            empty.norm,
            empty.zero_,
        ):
            with pytest.raises(DataMissing):
                read()
