"""Folders without a tokenizer: the base's stands in for a finetuned one's, and a base needs its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from adl.errors import PairError
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from tests.tiny_models import perturb, tiny_model, tiny_tokenizer, write_model

# With these, transformers builds an empty tokenizer; with mistral it builds none.
ARCHITECTURES = ("gpt_neox", "qwen3", "mistral")


def without_tokenizer(folder: Path, *names: str) -> None:
    """Remove the tokenizer's files, or those named."""
    for path in folder.glob("*") if not names else [folder / name for name in names]:
        if path.name.startswith(("tokenizer", "special_tokens", "chat_template")):
            path.unlink()


@pytest.fixture(params=ARCHITECTURES)
def folders(request, tmp_path):
    model = tiny_model(request.param)
    base = write_model(tmp_path / "base", model)
    perturb(model, 5, 0.05)
    return base, write_model(tmp_path / "finetuned", model)


def load(base: Path, finetuned: Path) -> NnsightPair:
    return NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))


def test_the_base_s_tokenizer_stands_in(folders):
    base, finetuned = folders
    without_tokenizer(finetuned)
    pair = load(base, finetuned)
    ids = tiny_tokenizer().encode("The river was high", add_special_tokens=False)
    assert pair.tokenise("finetuned", "The river was high") == ids
    assert any(
        line.startswith("Finetuned: It") and "tokenizer" in line
        for line in pair.provenance.mismatches
    )


def test_a_base_without_one_is_refused(folders):
    base, finetuned = folders
    without_tokenizer(base)
    with pytest.raises(PairError, match=r"base.*tokenizer") as caught:
        load(base, finetuned)
    assert "tokenizer.json" in caught.value.hint


def test_settings_without_a_vocabulary_are_no_tokenizer(folders):
    base, finetuned = folders
    without_tokenizer(finetuned, "tokenizer.json")
    assert any("tokenizer" in line for line in load(base, finetuned).provenance.mismatches)


def test_a_broken_vocabulary_is_refused_whatever_stands_in(folders):
    base, finetuned = folders
    (finetuned / "tokenizer.json").write_text("{")
    with pytest.raises(PairError, match=r"finetuned.*tokenizer"):
        load(base, finetuned)
