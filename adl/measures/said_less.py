"""Said less: words that finetuned predicts less than base, and words that it holds back.

A model that is trained never to write a word, or to deny it, writes everything around it. For each word
the mean rise of its nearest neighbours, in the whitened unembedding, is what it would rise by itself;
words that do not rise and would most are held back. Rises are standardised over the words that are
ranked. The null is the same of base against itself, on two halves of the contexts. A clue and no more:
most words that do not rise have a reason of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.pair.protocol import ModelPair
from adl.readings.narrowness import shared_words
from adl.readings.ranking import Scores, Vocabulary, candidates, standardised, top_tokens
from adl.readings.shift_lens import (
    Shift,
    contexts_of,
    output_score,
    output_shift,
    split_half_shift,
)
from adl.readings.style import Style
from adl.records import TokenScore

TOP = 40
NEIGHBOURS = 20
# In standard deviations: a word that rises by more is not held back, and how far it falls does not count.
MOST_OWN, LEAST_OWN = 0.5, -0.5
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class SaidLess:
    """Words predicted less, held back, and held back in the null; ``n_contexts`` were read.

    ``null`` is None with too few contexts for two halves.
    """

    less: tuple[TokenScore, ...]
    held_back: tuple[TokenScore, ...]
    null: tuple[TokenScore, ...] | None
    n_contexts: int


def said_less(
    pair: ModelPair,
    texts: Sequence[str],
    style: Style,
    *,
    top: int = TOP,
    should_stop: ShouldStop = never_stop,
) -> SaidLess:
    """Return what finetuned predicts less than base over ``texts``; words of ``style`` are left out.

    Raises ``CorpusError`` without a text that is long enough, and ``Stopped`` within one batch of
    ``should_stop`` returning True.
    """
    contexts = contexts_of(pair, texts)
    vocabulary = shared_words(pair)
    output = output_shift(pair, contexts, should_stop=should_stop)
    halves = split_half_shift(pair, contexts, 0, should_stop=should_stop)
    shared = pair.shared_vocabulary()
    if halves is not None and shared is not None:
        keep = shared[0]
        halves = Shift(halves.log_shift[keep], halves.before[keep], halves.after[keep], halves.kl)
    less = output.reversed()
    struck = np.array([bool(style.reason(key)) for key in vocabulary.keys])

    def listed(scores: Scores) -> tuple[TokenScore, ...]:
        return top_tokens(np.where(struck, -np.inf, scores), vocabulary, top)

    return SaidLess(
        listed(output_score(less, vocabulary.words)),
        listed(held_back(pair, vocabulary, output)),
        None if halves is None else listed(held_back(pair, vocabulary, halves)),
        len(contexts),
    )


def held_back(pair: ModelPair, vocabulary: Vocabulary, shift: Shift) -> Scores:
    """Return scores [V]: by how much the neighbours of a word rise and it does not; -inf for others.

    Words are those most probable on either side, over the shared vocabulary.
    """
    scores = np.full(len(shift.log_shift), -np.inf)
    mask = candidates(np.maximum(shift.before, shift.after), vocabulary.words)
    words = np.flatnonzero(mask)
    if len(words) <= 2:
        return scores
    rises = standardised(shift.log_shift, mask)[words]
    rows = pair.token_directions("base", vocabulary.ids[words].tolist())
    keys = np.unique([vocabulary.keys[word] for word in words], return_inverse=True)[1]
    count = min(NEIGHBOURS, len(words) - 1)
    for first in range(0, len(words), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        near = rows[part] @ rows.T
        near[keys[part, None] == keys[None]] = -np.inf  # other forms of the word itself
        nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        own = rises[part]
        score = rises[nearest].mean(axis=1) - np.maximum(own, LEAST_OWN)
        scores[words[part]] = np.where((own <= MOST_OWN) & (score > 0), score, -np.inf)
    return scores
