"""Are the words that a finetuning raised about one thing?

The words raised most lie close together in the model's own (whitened) unembedding where they are of
one topic. How close is close differs from model to model, so it is measured on unrelated text:

    0    as close as words that stand out in as many texts, one from each
    1    as close as words that stand out in one text, as a passage has one topic

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
from adl.measures.coherence import words_of
from adl.pair.protocol import ModelPair
from adl.readings.ranking import Vocabulary
from adl.records import Side, TokenScore

N_WORDS = 20
# A word stands out in a text if few others say it; of function words and style each text has some.
COMMON_SHARE = 0.01
SHORTEST = 4
FEWEST_TEXTS = 20
N_RESAMPLES = 1000

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class TopicScale:
    """Mean whitened cosine of two words that stand out in one text, and in two texts."""

    one_text: float
    many_texts: float
    n_texts: int

    def index(self, closeness: float) -> float:
        """A closeness on the scale from many texts (0) to one (1)."""
        return (closeness - self.many_texts) / (self.one_text - self.many_texts)


@dataclass(frozen=True)
class Narrowness:
    """How close the words raised most are, on the scale of ``TopicScale``.

    ``low`` and ``high`` bound the 95% interval of the index over words; ``words`` are as the
    tokenizer decodes them, raw and untrusted.
    """

    index: float
    low: float
    high: float
    closeness: float
    scale: TopicScale
    words: tuple[str, ...]


def topic_scale(
    pair: ModelPair, side: Side, vocabulary: Vocabulary, texts: Sequence[str]
) -> TopicScale:
    """How close words of one text and of many are, in the side's unembedding.

    Raises ``CorpusError`` where fewer than 20 texts have two words that stand out, or where words
    of one text are no closer than any others.
    """
    token_of = _tokens_by_word(vocabulary)
    spoken = [sorted(set(words_of(text))) for text in texts]
    spread = Counter(word for words in spoken for word in words)
    most = max(2, round(COMMON_SHARE * len(texts)))
    sets = [
        [token_of[word] for word in words if word in token_of and spread[word] <= most]
        for words in spoken
    ]
    sets = [tokens for tokens in sets if len(tokens) > 1]
    if len(sets) < FEWEST_TEXTS:
        raise CorpusError(
            f"{len(sets)} of {len(texts)} texts have two words that stand out, too few for a scale",
            "Give more or longer unrelated texts.",
        )
    rows = [_directions(pair, side, tokens) for tokens in sets]
    inside = np.array([_mean_cosine(part) for part in rows])
    sums = np.stack([part.sum(axis=0) for part in rows])
    counts = np.array([len(part) for part in rows], dtype=np.float64)
    across = (sums.sum(axis=0) ** 2).sum() - (sums**2).sum()
    many = float(across / (counts.sum() ** 2 - (counts**2).sum()))
    one = float(inside.mean())
    if one <= many:
        raise CorpusError(
            f"words of one text are no closer ({one:.3f}) than words of many ({many:.3f})",
            "Give unrelated texts that each have a topic.",
        )
    return TopicScale(one, many, len(sets))


def narrowness(
    pair: ModelPair,
    side: Side,
    tokens: Sequence[TokenScore],
    scale: TopicScale,
    seed: int = 0,
) -> Narrowness | None:
    """How narrow a list of tokens is; None for fewer than three, which have no spread."""
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
    """The token that is a whole word, by the word in lower case; the first of several."""
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
    """Mean of [n, n] cosines of different words by weights [m, n]; 0 where one word has all."""
    squares = weights**2
    products = ((weights @ inner) * weights).sum(axis=1) - squares @ inner.diagonal()
    pairs = weights.sum(axis=1) ** 2 - squares.sum(axis=1)
    found: Matrix = products / np.where(pairs > 0, pairs, 1)
    return found
