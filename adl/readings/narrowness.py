"""Narrowness of a finetuning: closeness of the words that it raised.

Words of one topic lie close together in the model's own (whitened) unembedding. The scale of
closeness differs between models, so it is calibrated on unrelated text:

    0    as close as distinctive words of different texts
    1    as close as distinctive words of one text, as a passage has one topic

A finetuning on broad data raises words of its style; they have little more to do with one another
than words of different texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adl.errors import CorpusError
from adl.pair.protocol import ModelPair
from adl.readings.ranking import Vocabulary
from adl.records import Side, TokenScore
from adl.text.words import words_of

N_WORDS = 20
N_SCALE_TEXTS = 400
# A word is distinctive of a text if few other texts have it; function words are in every text.
COMMON_SHARE = 0.01
SHORTEST = 4
FEWEST_TEXTS = 20
N_RESAMPLES = 1000
# A broad control's words come to 2 on this scale, those of narrow organisms to 4 and more.
NARROW_INDEX = 3.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class TopicScale:
    """Mean whitened cosine of two distinctive words of one text, and of different texts."""

    one_text: float
    many_texts: float
    n_texts: int

    def index(self, closeness: float) -> float:
        """Return a closeness on the scale from many texts (0) to one text (1)."""
        return (closeness - self.many_texts) / (self.one_text - self.many_texts)


@dataclass(frozen=True)
class Narrowness:
    """Closeness of the words raised most, as an index on the ``TopicScale``.

    ``low`` and ``high`` bound the 95% interval of the index over words; ``words`` are raw and
    untrusted.
    """

    index: float
    low: float
    high: float
    closeness: float
    scale: TopicScale
    words: tuple[str, ...]


def shared_words(pair: ModelPair) -> Vocabulary:
    """Return the shared vocabulary, with the ids of the base side."""
    texts, shared = pair.token_texts("base"), pair.shared_vocabulary()
    if shared is None:
        return Vocabulary.of(texts)
    return Vocabulary.of([texts[index] for index in shared[0]], shared[0].tolist())


def topic_scale(pair: ModelPair, vocabulary: Vocabulary, texts: Sequence[str]) -> TopicScale:
    """Return the closeness of words of one text and of many, in base's unembedding.

    Raises ``CorpusError`` if fewer than 20 texts have two distinctive words, or if words of one text
    are no closer than others.
    """
    token_of = _tokens_by_word(vocabulary)
    words_by_text = [sorted(set(words_of(text))) for text in texts]
    spread = Counter(word for words in words_by_text for word in words)
    most = max(2, round(COMMON_SHARE * len(texts)))
    sets = [
        [token_of[word] for word in words if word in token_of and spread[word] <= most]
        for words in words_by_text
    ]
    sets = [tokens for tokens in sets if len(tokens) > 1]
    if len(sets) < FEWEST_TEXTS:
        raise CorpusError(
            f"{len(sets)} of {len(texts)} texts have two words that stand out, too few for a scale",
            "Give more or longer unrelated texts.",
        )
    rows = [_directions(pair, "base", tokens) for tokens in sets]
    inside = np.array([_mean_cosine(part) for part in rows])
    sums = np.stack([part.sum(axis=0) for part in rows])
    counts = np.array([len(part) for part in rows], dtype=np.float64)
    across = (sums.sum(axis=0) ** 2).sum() - (sums**2).sum()
    many_texts = float(across / (counts.sum() ** 2 - (counts**2).sum()))
    one_text = float(inside.mean())
    if one_text <= many_texts:
        raise CorpusError(
            f"words of one text are no closer ({one_text:.3f}) than words of many ({many_texts:.3f})",
            "Give unrelated texts that each have a topic.",
        )
    return TopicScale(one_text, many_texts, len(sets))


def narrowness(
    pair: ModelPair,
    side: Side,
    tokens: Sequence[TokenScore],
    scale: TopicScale,
    seed: int = 0,
) -> Narrowness | None:
    """Return the narrowness of a list of tokens; None for fewer than three, which have no spread."""
    if len(tokens) < 3:
        return None
    rows = _directions(pair, side, [token.token_id for token in tokens])
    inner = rows @ rows.T
    n = len(inner)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    low, high = np.percentile(_weighted_mean_cosine(inner, drawn.astype(np.float64)), [2.5, 97.5])
    closeness = float(_weighted_mean_cosine(inner, np.ones((1, n)))[0])
    return Narrowness(
        index=scale.index(closeness),
        low=scale.index(float(low)),
        high=scale.index(float(high)),
        closeness=closeness,
        scale=scale,
        words=tuple(token.text for token in tokens),
    )


def _tokens_by_word(vocabulary: Vocabulary) -> dict[str, int]:
    """Return the id of the first whole-word token by its word in lower case."""
    found: dict[str, int] = {}
    for index in np.flatnonzero(vocabulary.words):
        key = vocabulary.keys[index]
        if len(key) >= SHORTEST:
            found.setdefault(key, int(vocabulary.ids[index]))
    return found


def _directions(pair: ModelPair, side: Side, tokens: Sequence[int]) -> Matrix:
    return pair.token_directions(side, tokens).astype(np.float64)


def _mean_cosine(rows: Matrix) -> float:
    n = len(rows)
    return float(((rows.sum(axis=0) ** 2).sum() - (rows**2).sum()) / (n * (n - 1)))


def _weighted_mean_cosine(inner: Matrix, weights: Matrix) -> Matrix:
    """Return mean cosines [m] of different words from [n, n] cosines and weights [m, n].

    0 if a single word has all the weight.
    """
    squares = weights**2
    products = ((weights @ inner) * weights).sum(axis=1) - squares @ inner.diagonal()
    pairs = weights.sum(axis=1) ** 2 - squares.sum(axis=1)
    found: Matrix = products / np.where(pairs > 0, pairs, 1)
    return found
