"""Readable token lists from scores over a vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adl.records import Floats, TokenScore
from adl.text.words import has_no_spaces, is_letters

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHORTEST_WORD = 3

# Rankings by a change of probability are led by tokens that hardly ever occur, whose tiny
# probabilities move most. Only tokens that are among the most probable tenth of the words are
# ranked: of 0.03, 0.05, 0.1 and 0.2, a tenth read best on six organisms (docs/figures.md).
CANDIDATE_FRACTION = 0.1
FEWEST_CANDIDATES = 200

# Reciprocal-rank fusion's constant, as its authors give it (Cormack, Clarke, Buettcher 2009).
FUSION_OFFSET = 60


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that are ranked, with a mask of those that are words.

    ``texts`` [V] as decoded; ``words`` [V] marks whole words; ``keys`` [V] is the same for tokens
    that differ in case or in the space before them, so that a word is listed once.
    """

    texts: tuple[str, ...]
    ids: NDArray[np.int64]
    words: Mask
    keys: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str], ids: Sequence[int] | None = None) -> Vocabulary:
        """Return the vocabulary of token texts; ``ids`` are their ids if not 0..V-1."""
        return cls(
            texts=tuple(texts),
            ids=np.arange(len(texts)) if ids is None else np.asarray(ids, dtype=np.int64),
            words=np.fromiter((is_word(text) for text in texts), dtype=bool, count=len(texts)),
            keys=tuple(text.strip().casefold() for text in texts),
        )


def is_word(text: str) -> bool:
    """Return True for a token that may be a whole word: a space, then three letters or more.

    Fragments, punctuation, digits and single letters are unreadable and crowd a list. Scripts
    without spaces have words of one character and no space before them.
    """
    stripped = text.strip()
    if not is_letters(stripped):
        return False
    if has_no_spaces(stripped):
        return True
    return text[:1].isspace() and len(stripped) >= SHORTEST_WORD


def candidates(probability: Scores, words: Mask, fraction: float = CANDIDATE_FRACTION) -> Mask:
    """Return a mask [V] of the most probable ``fraction`` of the words (at least 200)."""
    count = max(FEWEST_CANDIDATES, round(fraction * int(words.sum())))
    chosen = np.zeros_like(words)
    chosen[highest(np.where(words, probability, -np.inf), count)] = True
    return chosen & words


def highest(scores: Scores | Floats, count: int) -> NDArray[np.int64]:
    """Return the indices of the ``count`` highest of ``scores`` [V], in rising order.

    Ties go to the lower index.
    """
    if count >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, -count)[-count]
    above = np.flatnonzero(scores > least)
    level = np.flatnonzero(scores == least)[: count - len(above)]
    return np.sort(np.concatenate([above, level]))


def among(scores: Scores, mask: Mask) -> Scores:
    """Return ``scores`` [V] with -inf outside ``mask``."""
    return np.where(mask, scores, -np.inf)


def standardised(scores: Scores, mask: Mask) -> Scores:
    """Return ``scores`` [V] in standard deviations from their mean over ``mask``."""
    spread = scores[mask].std() if mask.any() else 0.0
    centre = scores[mask].mean() if mask.any() else 0.0
    return np.asarray((scores - centre) / (spread or 1.0), dtype=np.float64)


def fused(rankings: Sequence[Scores]) -> Scores:
    """Return the reciprocal-rank fusion [V]: the sum over rankings of 1 / (FUSION_OFFSET + rank).

    A score of -inf adds nothing, nor does a ranking that puts no token before another; a token that
    no ranking adds to has -inf.
    Source: Cormack, Clarke and Buettcher 2009.
    """
    total = np.zeros(len(rankings[0]))
    for scores in filter(is_ordered, rankings):
        ranks = np.empty(len(scores))
        ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
        total += np.where(np.isfinite(scores), 1.0 / (FUSION_OFFSET + ranks), 0.0)
    return np.where(total > 0, total, -np.inf)


def is_ordered(scores: Scores) -> bool:
    """True if ``scores`` [V] put some token before another; those of a difference of zero do not."""
    finite = scores[np.isfinite(scores)]
    return bool(len(finite) == 1 or (len(finite) and finite.min() < finite.max()))


def top_tokens(
    scores: Scores, vocabulary: Vocabulary, top: int, probability: np.ndarray | None = None
) -> tuple[TokenScore, ...]:
    """Return the ``top`` tokens with the highest ``scores`` [V], highest first, each word once.

    Ties go to the lower id, so that a list is the same on every machine; scores that are all the
    same give no list. Tokens whose score is not finite are left out. ``probability`` [V] is kept
    with each token.
    """
    if not is_ordered(scores):
        return ()
    found: list[TokenScore] = []
    listed: set[str] = set()
    for index in _falling(scores, 8 * top):
        if len(found) == top or not np.isfinite(scores[index]):
            break
        text, key = vocabulary.texts[index], vocabulary.keys[index]
        if vocabulary.words[index]:
            if key in listed:
                continue
            listed.add(key)
        found.append(
            TokenScore(
                token_id=int(vocabulary.ids[index]),
                text=text,
                score=float(scores[index]),
                probability=None if probability is None else float(probability[index]),
            )
        )
    return tuple(found)


def _falling(scores: Scores, first: int) -> Iterator[int]:
    """Yield every index, highest score first, ties to the lower; the first ``first`` cheaply."""
    head = highest(scores, first)
    yield from (int(index) for index in head[np.argsort(-scores[head], kind="stable")])
    if len(head) < len(scores):
        order = np.argsort(-scores, kind="stable")
        yield from (int(index) for index in order[len(head) :])
