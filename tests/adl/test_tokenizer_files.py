"""Folders without a tokenizer: the base's stands in for a finetuned one's, and a base needs its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from adl.difference import FirstTokens, paired_batches
from adl.errors import PairError
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.tokenizer_files import text_cut_otherwise
from adl.records import PairSpec, SideSpec
from tests.tiny_models import perturb, tiny_model, tiny_tokenizer, write_model

# With these, transformers builds an empty tokenizer; with mistral it builds none.
ARCHITECTURES = ("gpt_neox", "qwen3", "mistral")


def without_tokenizer(folder: Path, *names: str) -> None:
    """Remove the tokenizer's files, or those named."""
    for path in folder.glob("*") if not names else [folder / name for name in names]:
        if path.name.startswith(("tokenizer", "special_tokens", "chat_template")):
            path.unlink()


def write_template(folder: Path) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    (folder / "chat_template.jinja").write_text(template)


def assert_that_template_is_finetuneds_alone(pair: NnsightPair) -> None:
    turns = [{"role": "user", "content": "high"}]
    assert pair.decode("finetuned", pair.chat("finetuned", turns).ids) == "[user]high[assistant]"
    assert pair.decode("base", pair.chat("base", turns).ids) != "[user]high[assistant]"


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


def with_other_rules(folder: Path) -> PreTrainedTokenizerBase:
    """Cut words off from the spaces before them: the same vocabulary, and other tokens."""
    tokenizer = tiny_tokenizer()
    backend = tokenizer.backend_tokenizer
    alone = pre_tokenizers.Split(" ", "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([alone, backend.pre_tokenizer])
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("folders", ["mistral"], indirect=True)
def test_equal_vocabularies_with_other_rules_are_read_at_the_same_characters(folders):
    base, finetuned = folders
    own = with_other_rules(finetuned)
    pair = load(base, finetuned)
    text = "The river was high and the bridge was old."
    assert pair.tokenise("base", text) != pair.tokenise("finetuned", text)
    assert pair.tokenise("finetuned", text) == own.encode(text, add_special_tokens=False)
    assert any("cut text differently" in line for line in pair.provenance.mismatches)
    left, right = pair.shared_vocabulary()
    assert (left == right).all()
    ((of_base, of_finetuned),) = paired_batches(pair, [text], FirstTokens(5), 1)
    for column, other in zip(of_base.columns, of_finetuned.columns, strict=True):
        read = tiny_tokenizer().decode(of_base.ids[0, : column + 1])
        assert own.decode(of_finetuned.ids[0, : other + 1]) == read


@pytest.mark.parametrize("folders", ["mistral"], indirect=True)
def test_the_same_rules_in_other_words_are_the_same(folders):
    base, finetuned = folders
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.save_pretrained(finetuned)
    pair = load(base, finetuned)
    assert pair.shared_vocabulary() is None
    assert not any("tokens" in line for line in pair.provenance.mismatches)


@pytest.mark.parametrize("folders", ["mistral"], indirect=True)
def test_a_template_without_a_tokenizer_is_that_of_the_stand_in(folders):
    base, finetuned = folders
    without_tokenizer(finetuned)
    write_template(finetuned)
    assert_that_template_is_finetuneds_alone(load(base, finetuned))


@pytest.mark.parametrize("folders", ["mistral"], indirect=True)
@pytest.mark.parametrize("side", ["base", "finetuned"])
def test_a_folder_has_no_revisions(folders, side):
    base, finetuned = (SideSpec(str(folder)) for folder in folders)
    spec = PairSpec(base, finetuned)
    spec = replace(spec, **{side: replace(getattr(spec, side), revision="v2")})
    with pytest.raises(PairError, match=rf"{side}.*no revisions.*'v2'") as caught:
        NnsightPair.load(spec)
    assert "@v2" in caught.value.hint


@pytest.mark.parametrize("folders", ["llama"], indirect=True)
def test_rules_that_transformers_does_not_take_from_the_file_are_named(folders):
    base, finetuned = folders
    for folder in (base, finetuned):
        tokenizer = tiny_tokenizer()
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(" ", "isolated"), backend.pre_tokenizer]
        )
        tokenizer.save_pretrained(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["tokenizer_class"] = "GPT2Tokenizer"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = load(base, finetuned).provenance.mismatches
    (line,) = (line for line in found if "GPT2Tokenizer" in line)
    assert line.startswith("Both sides: Text is cut by the rules of")


@pytest.mark.parametrize("folders", ["mistral"], indirect=True)
def test_padding_that_training_left_is_no_other_rule(folders):
    base, finetuned = folders
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_padding(length=64)
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.save(str(finetuned / "tokenizer.json"))
    assert not any("rules" in line for line in load(base, finetuned).provenance.mismatches)


def test_a_text_that_a_tokenizer_cannot_read_is_passed_over():
    def letters(text: str) -> list[int]:
        return [["a", "b"].index(letter) for letter in text]

    assert text_cut_otherwise(letters, letters) is None
    assert text_cut_otherwise(list, str.split) is not None
