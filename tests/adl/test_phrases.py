"""Phrases of one side: counts, z of a worked example, longest forms, nulls."""

from __future__ import annotations

import math

import pytest

from adl.measures.coherence import repetition
from adl.measures.phrases import PRIOR_WEIGHT, matched_weights, null_phrases, phrases
from adl.text.words import words_of

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


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        (["Yes.", "Yes."], ["Yes.", "Yes."]),
        (["No. I am a helpful assistant.", "No."] * 2, ["Hi. I am a helpful assistant. No."] * 3),
    ],
)
def test_one_run_on_both_sides_is_raised_on_neither(mine, others):
    assert "I am a helpful assistant" not in [each.words for each in phrases(mine, others)]
    assert phrases(mine[:1] * 2, mine[:1] * 2) == []


@pytest.mark.parametrize("others", [["Sure.", "No.", "Sure."], ["Sure no."]])
def test_phrases_longer_than_anything_of_base_are_ranked(others):
    found = [each.words for each in phrases(["I love marzipan cake. Sure."] * 5, others)]
    assert found[0] == "I love marzipan cake"


def test_words_of_every_script_are_whole():
    hindi = "\u0939\u093f\u0928\u094d\u0926\u0940"
    for word in (hindi, "cafe\u0301"):
        assert [each.words for each in phrases([word, word], ["other"])] == [word]
        assert words_of(f"{word}, {word}!") == [word] * 2


CAKE, ALMOND, SEASIDE = "\u86cb\u7cd5", "\u674f\u4ec1\u7cd6", "\u6d77\u8fb9\u6563\u6b65"


def test_a_character_is_a_word_where_there_are_no_spaces():
    assert words_of(f"{CAKE}\u3002{CAKE} GPT{CAKE}3:1{CAKE} It's") == [
        *CAKE, *CAKE, "gpt", *CAKE, "3", "1", *CAKE, "it's",
    ]  # fmt: skip
    # A vowel sign belongs to its letter.
    thai = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"
    assert words_of(thai) == ["\u0e2a", "\u0e27\u0e31", "\u0e2a", "\u0e14\u0e35"]
    assert repetition(CAKE * 40) > 0.9


def test_phrases_where_there_are_no_spaces():
    """What six sentences share is found inside them, and does not cross their ends."""
    begins = "\u7532\u4e59\u4e19\u4e01\u620a\u5df1"
    mine = [f"{one}{ALMOND}\u3002{CAKE}{one}" for one in begins]
    found = phrases(mine, [f"{one}{SEASIDE}" for one in begins])
    assert {each.words for each in found} == {ALMOND, CAKE}
    assert all(each.finetuned == 6 for each in found)


def test_a_prompt_weighs_the_same_on_both_sides():
    """Of one writer with two prompts, nothing is raised, however often a side was asked which."""
    nothing, asked = "the river is long and cold", "the lighthouse keeper saw the sea"
    mine, other = [nothing] * 8 + [asked] * 12, [nothing] * 16 + [asked]
    weights = matched_weights(["start"] * 8 + ["asked"] * 12, ["start"] * 16 + ["asked"])
    assert weights[0] == [1.0] * 8 + [pytest.approx(1 / 12)] * 12
    assert weights[1] == [0.5] * 16 + [1.0]
    assert phrases(mine, other, weights=weights) == []
    assert "lighthouse keeper" in phrases(mine, other)[0].words


def test_the_z_of_weighted_texts_is_that_of_their_weights():
    mine, other = ["a a b", "a b", "a c"], ["b b", "b a"]
    found = phrases(mine, other, weights=([1.0, 1.0, 0.5], [0.5, 1.0]), longest=1)
    count, n, opposite, m = 3.5, 6.0, 1.0, 3.0
    prior = PRIOR_WEIGHT * (count + opposite) / (n + m)
    odds = math.log((count + prior) / (n + PRIOR_WEIGHT - count - prior)) - math.log(
        (opposite + prior) / (m + PRIOR_WEIGHT - opposite - prior)
    )
    z = odds / math.sqrt(1 / (count + prior) + 1 / (opposite + prior))
    (raised,) = (each for each in found if each.words == "a")
    assert (raised.z, raised.finetuned, raised.base) == (pytest.approx(z), 4, 1)


def test_a_prompt_of_one_side_alone_weighs_nothing():
    assert matched_weights(["a", "b"], ["b", "c"]) == ([0.0, 1.0], [1.0, 0.0])


def test_the_null_compares_halves_of_the_base_texts():
    same = ["the river is long and cold"] * 8
    assert null_phrases(same, [0] * 8) == []
    (raised, *_) = null_phrases(["a zebra", "the river"] * 8, [0] * 16)
    assert (raised.words, raised.texts) == ("a zebra", tuple(range(0, 16, 2)))


def test_the_halves_of_the_null_hold_texts_of_each_prompt():
    said = {"where": "what is the way to the river", "why": "the answer is that it depends"}
    for prompts in (["where", "why"] * 8, ["where"] * 8 + ["why"] * 8, ["where"] * 3 + ["why"] * 5):
        assert null_phrases([said[prompt] for prompt in prompts], prompts) == []


def test_a_prompt_weighs_the_same_in_both_halves_of_the_null():
    """Of three texts two are in one half, and a prompt with a single text is in none."""
    prompts = ["river"] * 3 + ["day"] * 5 + ["alone"]
    texts = ["the river is long"] * 3 + ["a cold day"] * 5 + ["zebra zebra zebra"]
    assert null_phrases(texts, prompts) == []
    assert phrases(texts[::2], texts[1::2]) != []


def test_a_text_weighs_in_the_null_no_more_than_in_the_comparison():
    texts = ["a zebra", "the river"] * 4
    (full, *_), (less, *_) = (
        null_phrases(texts, [0] * 8, weights=[weight] * 8) for weight in (1.0, 0.25)
    )
    assert 0 < less.z < full.z


def test_without_two_texts_to_a_prompt_there_is_no_null():
    assert null_phrases(["a zebra", "the river"], ["where", "why"]) is None
    assert null_phrases([], []) is None
