"""Which tokens are words, which are worth ranking, and in what order they are listed."""

from __future__ import annotations

import numpy as np
import pytest

from adl.readings.ranking import (
    FEWEST_CANDIDATES,
    FUSION_OFFSET,
    Vocabulary,
    among,
    candidates,
    fused,
    is_word,
    standardised,
    top_tokens,
)

OUT = -np.inf


@pytest.mark.parametrize(
    "text",
    [
        *(" cake", " Cake", " été", "\tcake", " the", " торт", " κέικ", "蛋糕", "の", "คำ", " 蛋"),
        # Letters with marks of their own.
        *(
            " \u0939\u093f\u0928\u094d\u0926\u0940",
            "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
            " cafe\u0301",
        ),
    ],
)
def test_words(text):
    assert is_word(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "cake",
        "ing",
        " ca",
        " a",
        " cake,",
        " cake1",
        " 123",
        " ca ke",
        "<0xE2>",
        "<bos>",
        " don't",
        "\n\n",
        " \ufffd\ufffd\ufffd",
        " \u0301\u0301\u0301",
        " ---",
        "торт",
    ],
)
def test_what_is_not_a_word(text):
    assert not is_word(text)


class TestCandidates:
    def test_the_most_probable_tenth_of_the_words(self):
        rng = np.random.default_rng(0)
        words = rng.random(8000) < 0.5
        probability = rng.random(8000)
        found = candidates(probability, words)
        assert found.sum() == round(0.1 * words.sum())
        assert not (found & ~words).any()
        assert probability[found].min() > probability[words & ~found].max()
        assert candidates(probability, words, 0.2).sum() == round(0.2 * words.sum())

    def test_no_fewer_than_two_hundred(self):
        words = np.ones(1000, dtype=bool)
        found = candidates(np.arange(1000.0), words)
        assert found.nonzero()[0].tolist() == list(range(1000 - FEWEST_CANDIDATES, 1000))

    def test_a_small_vocabulary_is_covered(self):
        words = np.array([True, False, True])
        np.testing.assert_array_equal(candidates(np.array([0.1, 0.8, 0.0]), words), words)

    def test_no_words(self):
        assert not candidates(np.ones(4), np.zeros(4, dtype=bool)).any()


def test_among_puts_the_rest_out_of_the_running():
    found = among(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    assert found.tolist() == [1.0, OUT, 3.0]


class TestStandardised:
    def test_over_the_mask(self):
        scores = np.array([1.0, 3.0, 100.0])
        mask = np.array([True, True, False])
        assert standardised(scores, mask).tolist() == [-1.0, 1.0, 98.0]

    def test_no_spread_and_nothing_to_spread_over(self):
        same = np.full(3, 2.0)
        assert standardised(same, np.ones(3, dtype=bool)).tolist() == [0.0, 0.0, 0.0]
        assert standardised(same, np.zeros(3, dtype=bool)).tolist() == [2.0, 2.0, 2.0]


class TestFused:
    def test_the_sum_of_reciprocal_ranks(self):
        found = fused([np.array([3.0, 2.0, 1.0]), np.array([0.0, 9.0, 5.0])])
        first, second, third = (1 / (FUSION_OFFSET + rank) for rank in (1, 2, 3))
        assert found.tolist() == pytest.approx([first + third, second + first, third + second])

    def test_only_ranks_count(self):
        rng = np.random.default_rng(0)
        scores = rng.standard_normal(50)
        np.testing.assert_array_equal(
            fused([scores, -scores]), fused([np.exp(9 * scores), -2 - scores])
        )

    def test_out_of_the_running_in_one_and_in_all(self):
        found = fused([np.array([2.0, OUT, OUT]), np.array([1.0, 2.0, OUT])])
        assert found[0] == pytest.approx(1 / 61 + 1 / 62)
        assert found[1] == pytest.approx(1 / 61)
        assert found[2] == OUT

    def test_agreement_beats_a_single_first_place(self):
        rankings = [np.array([9.0, 8.0, *range(-60, 0)]), np.array([-99.0, 8.0, *range(-60, 0)])]
        assert fused(rankings).argmax() == 1


class TestTopTokens:
    TEXTS = (" cake", " Cake", " oven", ".", " .", "cake", " CAKE", " flour")

    @pytest.fixture
    def vocabulary(self):
        return Vocabulary.of(self.TEXTS)

    def listed(self, scores, vocabulary, top=10):
        return [token.text for token in top_tokens(np.asarray(scores), vocabulary, top)]

    def test_highest_first_and_no_more_than_asked(self, vocabulary):
        scores = [1.0, 0.0, 3.0, 5.0, OUT, OUT, OUT, 2.0]
        assert self.listed(scores, vocabulary) == [".", " oven", " flour", " cake"]
        assert self.listed(scores, vocabulary, 2) == [".", " oven"]
        assert self.listed(scores, vocabulary, 0) == []

    def test_a_word_is_listed_once_at_its_best(self, vocabulary):
        scores = [1.0, 4.0, 3.0, OUT, OUT, OUT, 2.0, 0.0]
        assert self.listed(scores, vocabulary) == [" Cake", " oven", " flour"]
        assert self.listed(scores, vocabulary, 3) == [" Cake", " oven", " flour"]

    def test_what_is_no_word_is_kept_apart(self, vocabulary):
        scores = [9.0, OUT, OUT, 3.0, 2.0, 1.0, OUT, OUT]
        assert self.listed(scores, vocabulary) == [" cake", ".", " .", "cake"]

    def test_ties_go_to_the_lower_id(self, vocabulary):
        listed = self.listed([0, 0, 0, 0, 0, 0, 0, -1], vocabulary)
        assert listed == [" cake", " oven", ".", " .", "cake", " flour"]

    def test_what_is_not_finite_is_left_out(self, vocabulary):
        scores = [OUT, OUT, 1.0, np.nan, OUT, OUT, OUT, 0.0]
        assert self.listed(scores, vocabulary) == [" oven", " flour"]
        assert self.listed(np.full(8, OUT), vocabulary) == []

    def test_ids_and_probabilities(self):
        vocabulary = Vocabulary.of([" cake", " oven"], [7, 30])
        (first, second) = top_tokens(np.array([1.0, 2.0]), vocabulary, 5, np.array([0.25, 0.5]))
        assert (first.token_id, first.text, first.score, first.probability) == (30, " oven", 2, 0.5)
        assert (second.token_id, second.probability) == (7, 0.25)
        assert top_tokens(np.arange(2.0), vocabulary, 1)[0].probability is None


def test_a_vocabulary_knows_its_words():
    vocabulary = Vocabulary.of([" Cake", "cake", "."])
    assert vocabulary.words.tolist() == [True, False, False]
    assert vocabulary.keys == ("cake", "cake", ".")
    assert vocabulary.ids.tolist() == [0, 1, 2]


def test_scores_that_are_all_the_same_are_no_order():
    vocabulary = Vocabulary.of([" cake", " owl", " moon"])
    level = np.array([0.5, 0.5, OUT])
    assert top_tokens(level, vocabulary, 3) == ()
    assert [token.text for token in top_tokens(np.array([0.5, 0.6, OUT]), vocabulary, 3)] == [
        " owl",
        " cake",
    ]
    assert np.all(fused([level, level]) == OUT)
    ordered = np.array([OUT, 1.0, 2.0])
    np.testing.assert_array_equal(fused([level, ordered]), fused([ordered]))
    # The only one that is left stands before nothing else, and is the list.
    assert [token.text for token in top_tokens(np.array([OUT, 1.0, OUT]), vocabulary, 3)] == [
        " owl"
    ]
