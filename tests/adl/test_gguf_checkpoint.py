"""GGUF files as checkpoints: the numbers that transformers reads from them, converted once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import _cache_assets
from transformers import AutoModelForCausalLM

from adl.errors import PairError
from adl.pair.nnsight import gguf_checkpoint
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from tests.tiny_gguf import write_gguf
from tests.tiny_models import (
    SENTENCES,
    perturb,
    tiny_model,
    tiny_tokenizer,
    write_adapter,
    write_model,
)

IDS = [5, 60, 7, 8, 200]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of assets of the test's own."""
    folder = tmp_path / "assets"
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(folder))
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(folder))
    return folder


def wide(kind: str, seed: int = 0):
    """Matrices of whole blocks: GGUF quantises 32 numbers of a row together."""
    return tiny_model(kind, seed=seed, width=64, n_layers=2)


def logits_of(module) -> np.ndarray:
    with torch.no_grad():
        return module(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("quantisation", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_a_file_and_a_folder_have_the_numbers_of_transformers(tmp_path, kind, quantisation):
    model = wide(kind)
    folder = tmp_path / "base"
    folder.mkdir()
    file = write_gguf(folder / f"tiny-{quantisation}.gguf", model, kind, quantisation)
    (folder / "mmproj-tiny.gguf").write_bytes(b"a projector for images")
    perturb(model, 5, 0.05)
    other = write_gguf(tmp_path / "other.gguf", model, kind, quantisation)
    pair = NnsightPair.load(PairSpec(SideSpec(str(folder)), SideSpec(str(other))))
    for side, source in (("base", file), ("finetuned", other)):
        plain = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        np.testing.assert_array_equal(
            logits_of(pair._loaded.side(side).module), logits_of(plain.eval())
        )
    assert pair.provenance.base.checkpoint == str(folder)
    base, finetuned = (
        note for note in pair.provenance.mismatches if "GGUF" in note or "Read" in note
    )
    assert base.startswith(f"Base: Read from {file.name}, whose blocks were turned into float32")
    assert finetuned.startswith("Finetuned: Read from other.gguf")
    tokenizer = tiny_tokenizer()
    assert pair.tokenise("base", SENTENCES[0]) == tokenizer.encode(SENTENCES[0])
    assert pair._loaded.base.tokenizer.chat_template == tokenizer.chat_template


def test_it_is_converted_once_by_its_content(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / "base.gguf", wide("llama"), "llama")
    first, _ = gguf_checkpoint.converted("base", file)
    assert first.is_relative_to(cache)
    assert not list(first.parent.glob(".converting-*"))

    def never(*_arguments):
        raise AssertionError("converted again")

    monkeypatch.setattr(gguf_checkpoint, "convert", never)
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.copy(file, tmp_path / "moved" / "renamed.gguf"))
    assert gguf_checkpoint.converted("base", moved)[0] == first
    monkeypatch.undo()
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(cache))
    # The same name and size, other numbers.
    other = write_gguf(tmp_path / "moved" / "base.gguf", wide("llama", seed=3), "llama")
    assert other.stat().st_size == file.stat().st_size
    assert gguf_checkpoint.converted("base", other)[0] != first


def test_an_adapter_and_a_full_finetune_of_a_gguf_base(tmp_path):
    model = wide("llama")
    base = write_gguf(tmp_path / "base.gguf", model, "llama", "Q8_0")
    finetuned = write_model(tmp_path / "finetuned", model)
    adapter = write_adapter(tmp_path / "adapter", model, "llama")
    side = SideSpec(str(base), adapter=str(adapter))
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), side))
    assert pair.provenance.shares_weights
    assert np.abs(logits_of(pair._loaded.finetuned.module)).max() > 0
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))
    assert any("Base: Read from base.gguf" in note for note in pair.provenance.mismatches)
    module, _, record = load_to_train(SideSpec(str(base)), dtype="float32")
    assert record.checkpoint == str(base)
    assert module.num_parameters() == wide("llama").num_parameters()


def refused(checkpoint) -> PairError:
    with pytest.raises(PairError) as caught:
        load_to_train(SideSpec(str(checkpoint)), dtype="float32")
    error = caught.value
    assert error.message.startswith(f"base: checkpoint {str(checkpoint)!r}")
    assert "\n" not in str(error)
    return error


class TestRefused:
    def test_several_files(self, tmp_path):
        for name in ("a-Q4_0.gguf", "b-Q8_0.gguf"):
            (tmp_path / name).write_bytes(b"GGUF")
        error = refused(tmp_path)
        assert "holds several GGUF files: a-Q4_0.gguf, b-Q8_0.gguf" in error.message
        assert "path" in error.hint

    def test_a_part(self, tmp_path):
        file = tmp_path / "a-00001-of-00003.gguf"
        file.write_bytes(b"GGUF")
        error = refused(file)
        assert "one of several parts" in error.message
        assert "--merge" in error.hint

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid 1", "git-lfs pointer"),
            (b"PK\x03\x04 something else", "is no GGUF file"),
            (b"GGUF\x03\x00\x00\x00" + 40 * b"\xff", "cannot be read as a model"),
        ],
    )
    def test_no_model(self, tmp_path, content, told):
        file = tmp_path / "a.gguf"
        file.write_bytes(content)
        error = refused(file)
        assert told in error.message
        assert error.hint

    def test_cut_short(self, tmp_path, cache):
        file = write_gguf(tmp_path / "a.gguf", wide("llama"), "llama")
        file.write_bytes(file.read_bytes()[:-20_000])
        assert "cannot be read as a model" in refused(file).message
        assert not list(cache.rglob("config.json"))

    def test_an_architecture_that_is_not_read(self, tmp_path):
        file = write_gguf(tmp_path / "a.gguf", wide("llama"), "nobody")
        error = refused(file)
        assert "nobody" in error.message
        assert "safetensors" in error.hint

    def test_a_weight_is_missing(self, tmp_path):
        name = "model.layers.1.mlp.up_proj.weight"
        file = write_gguf(tmp_path / "a.gguf", wide("llama"), "llama", without=(name,))
        assert f"lacks 1 of the weights of LlamaForCausalLM, which would be random: {name}" in (
            refused(file).message
        )

    def test_the_package_is_missing(self, tmp_path, monkeypatch):
        file = write_gguf(tmp_path / "a.gguf", wide("llama"), "llama")

        def without(*_arguments, **_options):
            raise ImportError("Please install gguf>=0.10.0 to load a GGUF checkpoint")

        monkeypatch.setattr(gguf_checkpoint, "convert", without)
        error = refused(file)
        assert "needs the package gguf" in error.message
        assert "pip install gguf" in error.hint

    def test_a_full_disk(self, tmp_path, monkeypatch):
        file = write_gguf(tmp_path / "a.gguf", wide("llama"), "llama")

        def full(*_arguments, **_options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(gguf_checkpoint, "convert", full)
        error = refused(file)
        assert "No space left on device" in error.message
        assert "HF_HOME" in error.hint


def _scaled(writer) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (_scaled, "rotary scaling 'linear'"),
        (
            lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32)),
            "rope_freqs.weight",
        ),
        (
            lambda writer: writer.add_tensor("blk.0.attn_q.bias", np.ones(64, np.float32)),
            "blk.0.attn_q.bias",
        ),
    ],
)
def test_what_transformers_leaves_out_of_a_file_is_refused_by_name(tmp_path, more, named):
    file = write_gguf(tmp_path / "tiny.gguf", wide("llama"), "llama", more=more)
    with pytest.raises(PairError, match=r"does not take .*" + re.escape(named)) as caught:
        load_to_train(SideSpec(str(file)), dtype="float32")
    assert "safetensors" in caught.value.hint


def test_what_is_called_a_bias_and_is_none_is_not_missed(tmp_path):
    def steps(writer) -> None:
        writer.add_tensor("blk.0.ssm_dt.bias", np.ones(64, np.float32))

    file = write_gguf(tmp_path / "tiny.gguf", wide("llama"), "llama", more=steps)
    load_to_train(SideSpec(str(file)), dtype="float32")


def test_a_scaling_of_one_changes_nothing(tmp_path):
    def unscaled(writer) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(1.0)

    file = write_gguf(tmp_path / "tiny.gguf", wide("llama"), "llama", more=unscaled)
    module, _, _ = load_to_train(SideSpec(str(file)), dtype="float32")
    assert module.config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("gpt-2", []),
        ("qwen2", []),
        ("starcoder", ["names rules .* \\('starcoder'\\)"]),
        (None, ["does not say by which rules"]),
        ("llama-bpe", ["does not say whether texts begin with a token"]),
    ],
)
def test_rules_of_a_tokenizer_that_transformers_does_not_have_are_told(tmp_path, rules, told):
    def named(writer) -> None:
        if rules is not None:
            writer.add_tokenizer_pre(rules)

    file = write_gguf(tmp_path / "tiny.gguf", wide("llama"), "llama", more=named)
    for _ in ("converted", "from the cache"):
        _, notes = gguf_checkpoint.converted("base", file)
        assert len(notes) == 1 + len(told)
        for note, words in zip(notes[1:], told, strict=True):
            assert re.search(words, note)
