"""A base and a chat model with two real tokenizers, from the difference to steering and asking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from adl.difference import FirstTokens, measure_difference, paired_batches
from adl.generation.asking import first_divergence
from adl.measures.causal import CausalRequest, causal_effects
from adl.measures.teacher_forcing import FEWEST_SCORED, scored_texts
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.tokenizers import read_tokenizer, shared_ids
from adl.records import GeneratedText, PairSpec, SideSpec
from adl.text.corpus import CorpusSource
from adl.text.documents import Document
from tests.two_tokenizers import Folders, write_pair

pytestmark = pytest.mark.slow

SAME = ("The river was high in the spring of that year, and it was cold.",) * 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory, default_base: Path) -> Folders:
    return write_pair(tmp_path_factory.mktemp("two"), default_base)


@pytest.fixture(scope="module")
def pair(folders) -> NnsightPair:
    return NnsightPair.load(
        PairSpec(SideSpec(str(folders.base)), SideSpec(str(folders.finetuned)), dtype="float32")
    )


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(CorpusSource.parse(None).open().texts(0, 200))


def test_what_does_not_match_is_said_in_words(pair):
    said = " ".join(pair.provenance.mismatches)
    assert "50,257 tokens (base) and 49,152 (finetuned)" in said
    assert "only the finetuned side has" in said
    assert "<|im_start|>" in said
    assert "The base side has no chat template" in said
    assert pair.provenance.as_dict()["mismatches"]


def test_both_sides_have_read_the_same_text_at_every_place(pair, texts):
    batches = paired_batches(pair, texts, FirstTokens(), 16)
    apart = 0
    for base, finetuned in batches:
        assert base.rows == finetuned.rows
        apart += base.columns != finetuned.columns
        for row in range(len(base)):
            for one, other in zip(base.columns, finetuned.columns, strict=True):
                left = pair.decode("base", base.ids[row, : one + 1].tolist())
                right = pair.decode("finetuned", finetuned.ids[row, : other + 1].tolist())
                assert left == right
                assert texts[base.rows[row]].startswith(left)
    # The tokenizers do cut texts differently, and most texts can be read all the same.
    assert apart > 0
    assert batches.used > 0.8 * len(texts)
    assert batches.used + batches.skipped == len(texts)


def test_where_both_cut_alike_the_sides_are_one_model(pair):
    found = measure_difference(pair, SAME, [2])
    assert found.n_texts == len(SAME)
    assert np.abs(found.difference).max() < 1e-5
    assert np.abs(found.base_mean).max() > 0.1


def test_the_ends_of_tokens_are_those_of_the_text(pair):
    text = "Na\u00efve caf\u00e9s \U0001f370 serve  two  cakes."
    for side in ("base", "finetuned"):
        ids, ends = pair.tokenise(side, text), pair.token_ends(side, text)
        assert len(ids) == len(ends)
        assert ends[-1] == len(text)
        assert ends == sorted(ends)
        for count, end in enumerate(ends, start=1):
            said = pair.decode(side, ids[:count])
            # Within a character of several tokens there is no text yet.
            assert said == text[:end] or "\ufffd" in said


def test_texts_are_scored_as_far_as_both_write_the_same_tokens(pair, texts):
    scored = scored_texts(pair, [Document(text) for text in texts], limit=12, max_tokens=48)
    assert len(scored) == 12
    lengths = set()
    for one, other in zip(scored.base, scored.finetuned, strict=True):
        assert len(one.ids) == len(other.ids) >= one.start + FEWEST_SCORED
        assert pair.decode("base", one.ids) == pair.decode("finetuned", other.ids)
        lengths.add(len(one.ids))
    assert min(lengths) < 48
    request = CausalRequest(2, np.ones(32, dtype=np.float32), n_random=2)
    effects = causal_effects(pair, {"unrelated": scored}, request)
    assert all(np.isfinite(one.effect.value) for one in effects)


def test_tokens_of_a_tokenizer_that_writes_its_pieces_otherwise_are_shared_by_text(pair):
    pieces = {"\u2581the": 0, "the": 1, "\u2581cake": 2, "<0x0A>": 3, "\u2581zzzzq": 4, "<unk>": 5}
    backend = Tokenizer(models.BPE(pieces, [], unk_token="<unk>"))
    backend.decoder = decoders.Metaspace()
    other = read_tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), 10_000
    )
    base = pair._text["base"]
    ids = shared_ids(base, other)
    assert ids is not None
    found = {base.token_texts[one]: other.token_texts[two] for one, two in zip(*ids, strict=True)}
    assert found == {text: text for text in (" the", "the", " cake", "\n")}


@pytest.mark.parametrize(
    ("base", "finetuned", "at"),
    [
        ("Unbelievable cheesecakes, she said.", "Unbelievable cheesecakes, she said.", None),
        ("The cake was cold.", "The cake was warm.", 3),
        ("The cake", "The cake was warm.", 2),
        ("The cake was warm.", "The cake", 2),
    ],
)
def test_answers_part_where_their_texts_do(pair, base, finetuned, at):
    said = [
        GeneratedText(tuple(pair.tokenise(side, text)), text, "length")
        for side, text in (("base", base), ("finetuned", finetuned))
    ]
    assert first_divergence(pair, *said) == at


def test_an_adapter_on_another_checkpoint(folders):
    side = SideSpec(str(folders.finetuned), adapter=str(folders.adapter))
    moved = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), side, dtype="float32"))
    assert "another checkpoint than the base" in moved.provenance.mismatches[0]
    assert moved.provenance.finetuned.adapter_sha256
    found = measure_difference(moved, SAME, [2])
    # Without it the sides are one model on this text: what is seen is the adapter.
    assert np.abs(found.difference).max() > 1e-3


@pytest.fixture
def cli(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    from workbench.cli.tree import app

    def run(*arguments: str):
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout), " ".join(done.stderr.split())

    return run


def test_the_commands_work_from_audit_to_steering_and_asking(cli, folders):
    named = ["--base", str(folders.base), "--finetuned", str(folders.finetuned)]
    audit, said = cli(
        "audit", *named, "--texts", "64", "--n-prompts", "2", "--tokens", "5", "--json"
    )
    assert "note: The vocabularies differ" in said
    lists = {one["reading"] for one in audit["readings"]}
    assert {"consensus", "output_difference", "shift_lens", "patchscope", "logit_lens"} <= lists
    read = [one for one in audit["readings"] if one["source"] == "difference"]
    # The sides are one model, whose predictions differ in nothing.
    assert {one["reading"] for one in read if not one["tokens"]} == {"output_difference"}
    assert len({text["alpha"] for text in audit["texts"]} - {0.0}) == 1
    answers, _ = cli("ask", *named, "Who are you?", "--tokens", "5", "--json")
    assert [text["side"] for text in answers["texts"]] == ["base", "finetuned"]
    (compared,) = answers["comparisons"]
    assert all(np.isfinite(compared["kl"]))
    chat, _ = cli("diff", *named, "--texts", "32", "--positions", "chat:-3..1", "--json")
    assert chat["difference"]["n_texts"] > 0
