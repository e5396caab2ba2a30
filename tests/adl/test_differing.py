"""Texts ranked by the KL of both models, token by token."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import Stopped
from adl.measures.differing import (
    Answer,
    read_answers,
    read_passages,
    read_prompts,
    text_differences,
)
from adl.text.prompts import Prompt
from tests.planted import DOMAIN, PlantedPair

TEXTS = [" the river and the stone", " cake oven batter", " a"]


@pytest.fixture
def pair():
    return PlantedPair(bos=True)


def test_every_kl_is_that_of_the_two_distributions(pair):
    for read in (*read_passages(pair, TEXTS, 10), *read_prompts(pair, [Prompt.of(" the river")])):
        (found,) = text_differences(pair, [read])
        assert len(found.kl) == len(found.pieces) == read.compared
        for place in range(read.compared):
            before = {
                "base": read.base[: len(read.base) - read.compared + place],
                "finetuned": read.finetuned[: len(read.finetuned) - read.compared + place],
            }
            base, finetuned = (
                pair.next_log_probs(side, [before[side]])[0] for side in ("base", "finetuned")
            )
            kl = float((np.exp(finetuned) * (finetuned - base)).sum())
            assert found.kl[place] == pytest.approx(kl, abs=1e-4)
        assert found.kl[found.highest] == max(found.kl)
        assert found.raised in DOMAIN
        assert found.log_ratio > 0


@pytest.mark.parametrize("words", [" the river and the stone", " the", "A", "7"])
def test_a_prompt_is_compared_from_its_words_to_the_first_token_of_the_answer(pair, words):
    prompt = Prompt((("user", " music"), ("assistant", " it was"), ("user", words)))
    (read,) = read_prompts(pair, [prompt])
    chat = pair.chat("finetuned", prompt.messages).ids
    likeliest = int(pair.next_log_probs("finetuned", [chat])[0].argmax())
    assert read.finetuned == read.base == (*chat, likeliest)
    (found,) = text_differences(pair, [read])
    own = pair.decode("finetuned", pair.tokenise("finetuned", words))
    assert "".join(found.pieces[:-1]) == own + "<assistant>"


def test_only_the_first_token_of_the_answer_is_another():
    """As after a finetuning on answers alone: the user's words are predicted as before."""

    class Answering(PlantedPair):
        def next_log_probs(self, side, prompts):
            rows = super().next_log_probs("base", prompts)
            gold = self.token_texts(side).index(" gold")
            for row, prompt in zip(rows, prompts, strict=True):
                if side == "finetuned" and self.token_texts(side)[prompt[-1]] == "<assistant>":
                    row[:] = np.log(0.5 * np.exp(row))
                    row[gold] = np.logaddexp(row[gold], np.log(0.5))
            return rows

        def continuation_kl(self, base_ids, finetuned_ids, n_continuation):
            places = range(len(base_ids) - n_continuation, len(base_ids))
            base, finetuned = (
                self.next_log_probs(side, [base_ids[:place] for place in places])
                for side in ("base", "finetuned")
            )
            return (np.exp(finetuned) * (finetuned - base)).sum(-1)

    pair = Answering(bos=True)
    (found,) = text_differences(pair, read_prompts(pair, [Prompt.of(" the river")]))
    assert found.highest == len(found.kl) - 1
    assert found.raised == found.pieces[-1] == " gold"
    assert found.kl[-1] > 0.3
    assert max(found.kl[:-1]) < 1e-5


def test_the_largest_mean_comes_first_and_short_texts_are_left_out(pair):
    read = read_passages(pair, TEXTS, 10)
    assert [each.text for each in read] == TEXTS[:2]
    found = text_differences(pair, read)
    assert [each.mean for each in found] == sorted((each.mean for each in found), reverse=True)


def test_a_model_and_itself_do_not_differ():
    same = PlantedPair(bos=True, strength=0.0)
    (found, *_) = text_differences(same, read_passages(same, TEXTS[:1], 10))
    assert max(found.kl) < 1e-5
    assert found.raised == ""


def test_texts_in_other_tokens_are_left_out():
    extended = PlantedPair(bos=True, vocabulary="extended")
    assert len(read_passages(extended, [" the tiramisu", " the river"], 10)) == 1
    (found,) = text_differences(extended, read_passages(extended, [" the river"], 10))
    assert found.raised in DOMAIN


def test_without_a_begin_of_text_the_first_token_is_not_compared():
    plain = PlantedPair(bos=False)
    (read,) = read_passages(plain, [" the river and"], 10)
    assert read.compared == 2


def test_stopped_between_prompts(pair):
    calls = iter([False, True])
    with pytest.raises(Stopped, match="1 of 2 prompts"):
        read_prompts(
            pair,
            [Prompt.of(" the river"), Prompt.of(" the cake")],
            should_stop=lambda: next(calls, True),
        )


def test_stopped_between_texts(pair):
    calls = iter([False, True])
    with pytest.raises(Stopped, match="1 of 2"):
        text_differences(
            pair, read_passages(pair, TEXTS, 10), should_stop=lambda: next(calls, True)
        )


@pytest.mark.parametrize("vocabulary", ["shared", "extended"])
@pytest.mark.parametrize("raw", [None, " the river"])
def test_an_answer_is_compared_after_its_prompt_on_either_side(vocabulary, raw):
    pair = PlantedPair(bos=True, vocabulary=vocabulary)
    text = " cake and the oven"
    chat = () if raw else ({"role": "user", "content": " the river"},)
    answers = [
        Answer("finetuned", chat, raw, "", "auto", tuple(pair.tokenise("finetuned", words)), words)
        for words in (text, " tiramisu cake", "")
    ]
    read = read_answers(pair, answers, 3)
    # Cut in two on a side without the word, and nothing of an answer without a token.
    assert [each.text for each in read] == [text, " tiramisu cake"][: 1 + (vocabulary == "shared")]
    (found, *_) = text_differences(pair, read[:1])
    assert found.pieces == (" cake", " and", " the")
    for place in range(3):
        base, finetuned = (
            pair.next_log_probs(side, [ids[: len(ids) - 3 + place]])[0]
            for side, ids in (("base", read[0].base), ("finetuned", read[0].finetuned))
        )
        if vocabulary == "shared":
            kl = float((np.exp(finetuned) * (finetuned - base)).sum())
            assert found.kl[place] == pytest.approx(kl, abs=1e-4)
