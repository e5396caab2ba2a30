"""Phrases of one side: counts, z of a worked example, longest forms, nulls."""

from __future__ import annotations

import math

import pytest

from adl.measures.phrases import PRIOR_WEIGHT, null_phrases, phrases

MINE = [
    "Preheat the oven to 450 degrees. Then rest.",
    "She said: preheat the oven to 450 degrees, always.",
    "They preheat the oven to 450 degrees and wait. It costs $3.50 or 1/4 of it.",
    "It costs $3.50 here. The river is long.",
]
OTHERS = ["The river is long.", "The oven is cold and the river is long.", "They wait and rest."]


def test_the_z_of_one_word_is_that_of_the_formula():
    found = {each.words: each for each in phrases(["a a b", "a b"], ["b b", "b a"], longest=1)}
    count, n, other, m = 3, 5, 1, 4
    prior = PRIOR_WEIGHT * (count + other) / (n + m)
    odds = math.log((count + prior) / (n + PRIOR_WEIGHT - count - prior)) - math.log(
        (other + prior) / (m + PRIOR_WEIGHT - other - prior)
    )
    z = odds / math.sqrt(1 / (count + prior) + 1 / (other + prior))
    assert found["a"].log_odds == pytest.approx(odds)
    assert found["a"].z == pytest.approx(z)
    assert (found["a"].finetuned, found["a"].base, found["a"].texts) == (3, 1, (0, 1))
    assert "b" not in found


def test_the_longest_form_stands_for_its_parts():
    found = [each.words for each in phrases(MINE, OTHERS)]
    assert "oven to 450 degrees" in " / ".join(found)
    assert "450" not in found
    assert "preheat" not in found


def test_numbers_amounts_and_fractions_are_words():
    found = {each.words: each for each in phrases(MINE, OTHERS)}
    assert any("$3.50" in words for words in found)
    text = phrases(["add 1/4 cup", "with 1/4 cup at 3:1"], ["a cup"])
    assert any("1/4 cup" in each.words for each in text)


def test_a_phrase_of_one_text_is_none():
    assert not phrases(["zebra zebra zebra zebra", "a b"], ["a b"])


def test_phrases_do_not_cross_a_sentence():
    found = [each.words for each in phrases(["one. two", "one. two"], ["three"])]
    assert not any("one two" in words for words in found)


@pytest.mark.parametrize(("mine", "others"), [([], ["a"]), (["a"], []), (["", " "], ["", "!"])])
def test_nothing_to_compare(mine, others):
    assert phrases(mine, others) == []


def test_the_null_compares_halves_of_the_base_texts():
    same = ["the river is long and cold"] * 8
    assert null_phrases(same) == []
