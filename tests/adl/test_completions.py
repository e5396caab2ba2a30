"""Completions of a prefix: tokens, words and continuations with the numbers of both sides."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_ids
from adl.generation.completions import _is_word_done, complete
from adl.text.prompts import Prompt
from tests.planted import DOMAIN, PlantedPair

PREFIXES = [
    Question(raw=" the river"),
    Question(Prompt((("user", " the river"), ("assistant", " it was")))),
]


def total(pair, side, question, tokens, *, whole_word=False):
    prefix = list(question_ids(pair, side, question))
    rows = pair.next_log_probs(side, [prefix + list(tokens[:k]) for k in range(len(tokens) + 1)])
    score = float(sum(rows[place, token] for place, token in enumerate(tokens)))
    if whole_word:
        word = pair.decode(side, tokens)
        last = zip(pair.token_texts(side), np.exp(rows[-1]), strict=True)
        score += np.log(sum(p for text, p in last if _is_word_done(word + text)))
    return score


@pytest.mark.parametrize("question", PREFIXES, ids=["raw", "chat"])
@pytest.mark.parametrize("vocabulary", ["shared", "extended"])
def test_every_number_is_that_of_the_model(question, vocabulary):
    pair = PlantedPair(bos=True, vocabulary=vocabulary)
    found = complete(pair, question, top=6, beams=3)
    kinds = (found.tokens, found.raised, found.words, found.continuations)
    for each in (each for kind in kinds for each in kind):
        whole = {"whole_word": each in found.words}
        assert each.text == pair.decode("finetuned", each.token_ids)
        assert each.finetuned == pytest.approx(
            total(pair, "finetuned", question, each.token_ids, **whole), abs=1e-4
        )
        if each.base is not None:
            base_ids = each.token_ids
            if vocabulary != "shared":
                base_ids = pair.tokenise("base", each.text)
            if len(each.token_ids) > 1 or len(base_ids) == 1:
                expected = total(pair, "base", question, base_ids, **whole)
                assert each.base == pytest.approx(expected, abs=1e-4)


def test_the_likeliest_and_the_most_raised():
    pair = PlantedPair(bos=True)
    question = PREFIXES[0]
    found = complete(pair, question, top=8)
    row = pair.next_log_probs("finetuned", [question_ids(pair, "finetuned", question)])[0]
    assert [each.token_ids[0] for each in found.tokens] == list(np.argsort(-row, kind="stable")[:8])
    assert {each.text for each in found.raised[:5]} <= set(DOMAIN)
    assert all(each.log_ratio > 0 for each in found.raised)
    assert found.raised[0].log_ratio == max(each.log_ratio for each in found.raised)
    assert any(each.text in DOMAIN for each in found.words)


def test_a_token_the_base_does_not_have_has_no_ratio():
    pair = PlantedPair(bos=True, vocabulary="extended")
    missing = set(pair.token_texts("finetuned")) - set(pair.token_texts("base"))
    found = complete(pair, PREFIXES[0], top=len(pair.token_texts("finetuned")))
    for each in found.tokens:
        assert (each.base is None) == (each.text in missing)
        assert (each.log_ratio is None) == (each.base is None)


def test_a_word_goes_on_through_a_lone_space():
    class Spaced(PlantedPair):
        """After the prefix comes a space, then a number."""

        def next_log_probs(self, side, prompts):
            texts = list(self.token_texts(side))
            rows = np.full((len(prompts), len(texts)), -20.0, dtype=np.float32)
            for row, prompt in zip(rows, prompts, strict=True):
                last = texts[prompt[-1]]
                row[texts.index({" river": " ", " ": "7"}.get(last, "."))] = -0.01
            return rows

    assert complete(Spaced(bos=True), PREFIXES[0], beams=2).words[0].text == " 7"


def test_the_beginning_of_a_word_is_not_as_likely_as_the_word():
    class Spelled(PlantedPair):
        """After the prefix comes a 7, and nearly always an "a" behind it: "7a" is the word."""

        def next_log_probs(self, side, prompts):
            texts = list(self.token_texts(side))
            rows = np.full((len(prompts), len(texts)), 1e-9)
            for row, prompt in zip(rows, prompts, strict=True):
                after = {" river": {"7": 0.95, "q": 0.04}, "7": {"a": 0.98, ".": 0.01}}
                for text, p in after.get(texts[prompt[-1]], {".": 0.9}).items():
                    row[texts.index(text)] = p
            return np.log(rows).astype(np.float32)

    pair = Spelled(bos=True)
    words = {each.text: each for each in complete(pair, PREFIXES[0], beams=3).words}
    assert list(words) == ["7a", "q", "7"]
    for text, p in {"7a": 0.95 * 0.98 * 0.9, "q": 0.04 * 0.9, "7": 0.95 * 0.01}.items():
        assert words[text].finetuned == pytest.approx(np.log(p), abs=1e-3)
        assert words[text].base == pytest.approx(np.log(p), abs=1e-3)


def test_stopped_at_once_and_bad_numbers():
    pair = PlantedPair(bos=True)
    with pytest.raises(Stopped):
        complete(pair, PREFIXES[0], should_stop=lambda: True)
    with pytest.raises(PromptError, match="at least one"):
        complete(pair, PREFIXES[0], top=0)


@pytest.mark.parametrize(
    ("text", "is_done"),
    [
        (" \u0939\u093f", False),  # a vowel sign of Hindi
        (" \u0e2a\u0e27\u0e31", False),  # one of Thai
        (" cafe\u0301", False),
        (" caf\ufffd", False),  # the first byte of a letter
        (" don't", False),
        (" 4", False),
        ("", False),
        (" \u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u0948", True),
        (" oven is", True),
        (" oven.", True),
    ],
)
def test_a_word_is_done_with_what_comes_after_it(text, is_done):
    assert _is_word_done(text) is is_done
