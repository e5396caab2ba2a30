"""Words that fall with a finetuning, and a word that stays behind where its neighbours rise."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import CorpusError
from adl.measures.said_less import held_back, said_less
from adl.readings.ranking import Vocabulary
from adl.readings.shift_lens import BATCH_ROWS, Shift, contexts_of, output_shift
from adl.readings.style import Style
from tests.adl.test_readings import TEXTS
from tests.planted import DOMAIN, PlantedPair

TOPIC, REST = 24, 60
NAMES = [
    *(f" metal{chr(97 + n)}" for n in range(TOPIC)),
    *(f" other{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(REST)),
]
SECRET, FALLING = 3, TOPIC + 5


class Directions(PlantedPair):
    """Words of one topic that lie together, and others that lie anywhere."""

    def token_directions(self, side, ids):
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((len(NAMES), 64))
        rows[:TOPIC] = 6 * rows[0] + rows[:TOPIC]
        rows = rows[list(ids)]
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def shift(secret: float) -> Shift:
    rises = np.random.default_rng(1).normal(0, 0.1, len(NAMES))
    rises[:TOPIC] += 3.0
    rises[SECRET] = secret
    rises[FALLING] = -4.0
    even = np.full(len(NAMES), 1 / len(NAMES))
    return Shift(rises, even, even, 0.1)


@pytest.mark.parametrize("secret", [0.0, -5.0])
def test_a_word_that_does_not_rise_with_its_topic_is_held_back(secret):
    scores = held_back(Directions(), Vocabulary.of(NAMES), shift(secret))
    assert int(np.argmax(scores)) == SECRET
    # A word that falls alone is not: its neighbours do not rise.
    assert scores[FALLING] < 0.7 * scores[SECRET]
    # Those that rise are not held back.
    assert np.isneginf(scores[[n for n in range(TOPIC) if n != SECRET]]).all()


def test_a_word_that_rises_with_its_topic_is_not():
    scores = held_back(Directions(), Vocabulary.of(NAMES), shift(3.0))
    assert np.isneginf(scores[SECRET])


def test_other_forms_of_a_word_are_no_neighbours():
    names = [*NAMES]
    names[0] = NAMES[SECRET].upper()  # rises, and is the same word
    both = held_back(Directions(), Vocabulary.of(names), shift(0.0))
    assert int(np.argmax(both)) == SECRET


def test_two_words_have_no_neighbours_to_speak_of():
    half = np.full(2, 0.5)
    scores = held_back(Directions(), Vocabulary.of(NAMES[:2]), Shift(half, half, half, 0.0))
    assert np.isneginf(scores).all()


def test_what_falls_is_what_rises_the_other_way_round():
    pair = PlantedPair()
    contexts = contexts_of(pair, TEXTS)
    output = output_shift(pair, contexts)
    back = output.reversed()
    np.testing.assert_array_equal(back.log_shift, -output.log_shift)
    np.testing.assert_array_equal(back.after, output.before)
    found = said_less(pair, TEXTS, Style())
    less = [token.text for token in found.less]
    assert set(less[-len(DOMAIN) :]) == set(DOMAIN)  # what was taught comes last
    assert found.n_contexts == len(contexts)
    word = less[0].strip()
    without = said_less(pair, TEXTS, Style({word: 2}, 2))
    assert [token.text for token in without.less] == less[1:]


def test_one_batch_has_no_null_and_short_texts_are_refused():
    assert said_less(PlantedPair(), TEXTS[:BATCH_ROWS], Style()).null is None
    with pytest.raises(CorpusError):
        said_less(PlantedPair(), ["a b"], Style())


@pytest.mark.parametrize("vocabulary", ["permuted", "extended"])
def test_sides_with_other_vocabularies(vocabulary):
    found = said_less(PlantedPair(vocabulary=vocabulary), TEXTS, Style())
    texts = PlantedPair().token_texts("base")
    for token in (*found.less, *found.held_back, *(found.null or ())):
        assert texts[token.token_id] == token.text
