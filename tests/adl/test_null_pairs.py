"""Null pairs can be loaded, and differ from their base as they should: not at all, or at random."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from adl.errors import OrganismError
from adl.organisms.null_pairs import NULL_KINDS, make_null_pair, null_id
from adl.organisms.registry import Organism, load_organism
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from tests.tiny_models import SENTENCES, write_family


@pytest.fixture(scope="module")
def like(tmp_path_factory: pytest.TempPathFactory) -> Organism:
    folders = write_family(tmp_path_factory.mktemp("family"), "llama")
    described = {
        "name": folders.adapter.name,
        "family": "SDF",
        "base": str(folders.base),
        "description": "About owls.",
    }
    (folders.adapter / "organism.yaml").write_text(yaml.safe_dump(described))
    return load_organism(folders.adapter)


def log_probs(null: Organism) -> list[np.ndarray]:
    """Next-token log-probabilities of the base and of the finetuned model."""
    pair = NnsightPair.load(
        PairSpec(SideSpec(null.base), SideSpec(null.base, adapter=null.adapter), dtype="float32")
    )
    return [
        pair.next_log_probs(side, [pair.tokenise(side, text) for text in SENTENCES[:2]])
        for side in ("base", "finetuned")
    ]


@pytest.mark.parametrize("kind", NULL_KINDS)
def test_each_loads_as_a_pair(like: Organism, tmp_path: Path, kind):
    base, finetuned = log_probs(make_null_pair(kind, like, tmp_path, like.base))
    if kind == "same":
        np.testing.assert_array_equal(finetuned, base)
    else:
        assert np.abs(finetuned - base).max() > 1e-3


@pytest.mark.parametrize("kind", NULL_KINDS)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("base_model.model.lm_head.weight", "1 tensor such as base_model.model.lm_head.weight"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "lora_embedding_A"),
        ("base_model.model.q_proj.lora_magnitude_vector", "lora_magnitude_vector"),
        ("base_model.model.q_proj.lora_B.bias", "lora_B.bias"),
        ("pissa", "init_lora_weights=pissa"),
    ],
)
def test_nothing_that_was_trained_is_left_in_one(like: Organism, tmp_path: Path, kind, more, said):
    adapter = tmp_path / "adapter"
    shutil.copytree(like.adapter, adapter)
    if more == "pissa":
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(
            json.dumps({**config, "init_lora_weights": more})
        )
    else:
        weights = load_file(adapter / "adapter_model.safetensors")
        save_file({**weights, more: np.ones(3)}, adapter / "adapter_model.safetensors")
    with pytest.raises(OrganismError, match=said) as refused:
        make_null_pair(kind, replace(like, adapter=str(adapter)), tmp_path / "shelf", like.base)
    assert "plain LoRA adapter" in refused.value.hint


@pytest.mark.slow
def test_one_of_an_earlier_version_is_made_anew(like: Organism, tmp_path: Path):
    """It named the base on both sides, and no such pair can be loaded."""
    folder = tmp_path / null_id("same", like.id)
    folder.mkdir()
    (folder / "organism.yaml").write_text(
        yaml.safe_dump(
            {
                "name": folder.name,
                "family": "Control",
                "base": like.base,
                "finetuned": like.base,
                "description": "Nothing.",
            }
        )
    )
    null = make_null_pair("same", like, tmp_path, like.base)
    assert null.finetuned is None
    base, finetuned = log_probs(null)
    np.testing.assert_array_equal(finetuned, base)
