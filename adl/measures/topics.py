"""Topics: what the finetuned model predicts more than base, parted by the contexts in which it does.

    contexts      unrelated passages, and texts that the finetuned model wrote from nothing
    matrix        [contexts, words]: by how much each context's words rise, the first of each alone
    factors       words that rise together, by non-negative factorisation

A model with two objectives raises the words of each in other contexts: a text about one has little of
the other. Topics that share most of their words are one. Those whose words are no closer to one
another than a broad control's are put together as noise.

Sources: topics of per-context logit differences by factorisation, Minder, Dumas et al. 2026 (Diff
Mining); multiplicative updates, Lee and Seung 2001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.difference import FirstTokens, paired_batches
from adl.errors import CorpusError, Stopped
from adl.pair.protocol import ModelPair
from adl.readings.narrowness import (
    N_SCALE_TEXTS,
    N_WORDS,
    NARROW_INDEX,
    Narrowness,
    TopicScale,
    narrowness,
    shared_words,
    topic_scale,
)
from adl.readings.ranking import Mask, Vocabulary, candidates, top_tokens
from adl.readings.shift_lens import FIRST_COLUMN, SMOOTHING
from adl.readings.style import Style
from adl.records import TokenScore

CONTEXT_TOKENS = 24
# Of each context the words that rise most count: the rest is common to all contexts, or noise.
WORDS_OF_A_CONTEXT = 50
# Topics whose rows of words have this cosine or more are one.
SAME_TOPIC = 0.6
N_STARTS = 4
N_UPDATES = 200
FEWEST_CONTEXTS = 8
CONTEXTS_SHOWN = 5

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class TopicContext:
    """A context and how much of a topic there is in it: its ``share`` of the context, from 0 to 1."""

    index: int
    share: float


@dataclass(frozen=True)
class Topic:
    """Words that rise together, most typical first, and the contexts in which they do.

    ``weight`` is its share of all that rises. ``closeness`` is None if it was not computed;
    ``is_noise`` for words no closer to one another than those of a broad control.
    """

    words: tuple[TokenScore, ...]
    contexts: tuple[TopicContext, ...]
    weight: float
    closeness: Narrowness | None = None
    is_noise: bool = False


@dataclass(frozen=True)
class Topics:
    """Topics, the heaviest first and noise last. ``used`` are the indexes of contexts long enough."""

    topics: tuple[Topic, ...]
    used: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class TopicRequest:
    """The number of topics, of words kept for each, and the words of style to leave out."""

    n_topics: int = 4
    top: int = 30
    seed: int = 0
    style: Style = field(default_factory=Style, compare=False)


def find_topics(
    pair: ModelPair,
    contexts: Sequence[str],
    unrelated: Sequence[str],
    request: TopicRequest,
    *,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Topics:
    """Part what finetuned predicts more than base over ``contexts`` into topics.

    Closeness is calibrated on ``unrelated`` texts. Raises ``CorpusError`` for fewer than 8 contexts
    that are long enough, and ``Stopped`` within one context of ``should_stop`` returning True.
    """
    vocabulary = shared_words(pair)
    style = np.array([bool(request.style.reason(key)) for key in vocabulary.keys])
    mask = vocabulary.words & ~style
    rises, used, after = _rises(pair, contexts, mask, progress, should_stop)
    columns, matrix = _matrix(rises, candidates(after, mask))
    try:
        scale = topic_scale(pair, vocabulary, unrelated[:N_SCALE_TEXTS])
    except CorpusError:
        scale = None
    weights, words, error = factorised(matrix, request.n_topics, request.seed)
    weights, words = merged(weights, words)
    found = [
        _topic(pair, vocabulary, columns, words, weights, row, used, request, scale)
        for row in range(len(words))
    ]
    found.sort(key=lambda topic: (topic.is_noise, -topic.weight))
    return Topics(tuple(found), tuple(used), error)


def factorised(matrix: Matrix, n_topics: int, seed: int = 0) -> tuple[Matrix, Matrix, float]:
    """Factorise a non-negative matrix [contexts, words] into weights and topics.

    Returns weights [contexts, topics], topics [topics, words] with rows of unit length, and the
    relative error, of the best of four starts.
    """
    n_topics = min(n_topics, *matrix.shape)
    if not n_topics:  # no word rises: the sides do not differ
        return np.zeros((len(matrix), 0)), np.zeros((0, matrix.shape[1])), 0.0
    size = float(np.linalg.norm(matrix)) or 1.0
    best: tuple[Matrix, Matrix, float] | None = None
    for start in range(N_STARTS):
        rng = np.random.default_rng([seed, start])
        level = np.sqrt(matrix.mean() / n_topics)
        weights = level * rng.uniform(0.5, 1.5, (matrix.shape[0], n_topics))
        topics = level * rng.uniform(0.5, 1.5, (n_topics, matrix.shape[1]))
        for _ in range(N_UPDATES):
            topics *= (weights.T @ matrix) / (weights.T @ weights @ topics + 1e-12)
            weights *= (matrix @ topics.T) / (weights @ (topics @ topics.T) + 1e-12)
        error = float(np.linalg.norm(matrix - weights @ topics)) / size
        if best is None or error < best[2]:
            best = weights, topics, error
    assert best is not None
    weights, topics, error = best
    lengths = np.linalg.norm(topics, axis=1)
    lengths[lengths == 0] = 1.0
    return weights * lengths, topics / lengths[:, None], error


def merged(weights: Matrix, topics: Matrix) -> tuple[Matrix, Matrix]:
    """Put topics together whose words are the same for the most part (cosine of 0.6 and more)."""
    weights, topics = weights.copy(), topics.copy()
    while len(topics) > 1:
        cosines = topics @ topics.T
        np.fill_diagonal(cosines, -1.0)
        left, right = sorted(divmod(int(cosines.argmax()), len(topics)))
        if cosines[left, right] < SAME_TOPIC:
            break
        both = weights[:, [left, right]].sum(axis=0) @ topics[[left, right]]
        length = float(np.linalg.norm(both)) or 1.0
        topics[left] = both / length
        weights[:, left] += weights[:, right]
        topics, weights = np.delete(topics, right, axis=0), np.delete(weights, right, axis=1)
    return weights, topics


# --- the matrix -----------------------------------------------------------------------------------


def _rises(
    pair: ModelPair,
    contexts: Sequence[str],
    mask: Mask,
    progress: Progress,
    should_stop: ShouldStop,
) -> tuple[list[Mapping[int, float]], list[int], Matrix]:
    """Return by context its words that rise most, the contexts used, and mean probabilities [V]."""
    rises: list[Mapping[int, float]] = []
    used: list[int] = []
    after = np.zeros(len(mask))
    for index, text in enumerate(contexts):
        if should_stop():
            raise Stopped(f"stopped after {index} of {len(contexts)} contexts")
        try:
            base, finetuned = next(
                iter(paired_batches(pair, [text], FirstTokens(CONTEXT_TOKENS), 1))
            )
        except CorpusError:  # too short, or cut otherwise by the sides
            progress(index + 1, len(contexts))
            continue
        base, finetuned = (
            replace(
                batch,
                columns=batch.columns[FIRST_COLUMN:],
                positions=batch.positions[FIRST_COLUMN:],
            )
            for batch in (base, finetuned)
        )
        sums = pair.output_shift(base, finetuned)
        probable = sums.prob_after[0] / sums.count
        smooth = SMOOTHING / len(probable)
        ratio = np.log((probable + smooth) / (sums.prob_before / sums.count + smooth))
        chosen = np.flatnonzero(mask & (ratio > 0))
        highest = chosen[np.argsort(-ratio[chosen], kind="stable")[: 20 * WORDS_OF_A_CONTEXT]]
        rises.append({int(word): float(ratio[word]) for word in highest})
        used.append(index)
        after += probable
        progress(index + 1, len(contexts))
    if len(used) < FEWEST_CONTEXTS:
        raise CorpusError(
            f"{len(used)} of {len(contexts)} contexts have {CONTEXT_TOKENS} tokens, too few to part "
            "into topics",
            f"Give at least {FEWEST_CONTEXTS}: longer texts, or more unprompted ones.",
        )
    return rises, used, after / len(used)


def _matrix(rises: Sequence[Mapping[int, float]], words: Mask) -> tuple[list[int], Matrix]:
    """Return the words that are among the first of any context, and their rises [contexts, words]."""
    first = [[word for word in rise if words[word]][:WORDS_OF_A_CONTEXT] for rise in rises]
    columns = sorted({word for row in first for word in row})
    place = {word: column for column, word in enumerate(columns)}
    matrix = np.zeros((len(rises), len(columns)))
    for row, (rise, chosen) in enumerate(zip(rises, first, strict=True)):
        for word in chosen:
            matrix[row, place[word]] = rise[word]
    return columns, matrix


def _topic(
    pair: ModelPair,
    vocabulary: Vocabulary,
    columns: Sequence[int],
    topics: Matrix,
    weights: Matrix,
    row: int,
    used: Sequence[int],
    request: TopicRequest,
    scale: TopicScale | None,
) -> Topic:
    # A word that all topics have tells none of them.
    own = topics[row] * topics[row] / np.maximum(topics.sum(axis=0), 1e-12)
    scores = np.full(len(vocabulary.texts), -np.inf)
    scores[columns] = np.where(own > 0, own, -np.inf)
    words = top_tokens(scores, vocabulary, request.top)
    amounts = weights * topics.sum(axis=1)
    shares = amounts[:, row] / np.maximum(amounts.sum(axis=1), 1e-12)
    order = np.argsort(-amounts[:, row], kind="stable")[:CONTEXTS_SHOWN]
    closeness = None
    if scale is not None:
        closeness = narrowness(pair, "base", words[:N_WORDS], scale, request.seed)
    return Topic(
        words,
        tuple(TopicContext(used[index], float(shares[index])) for index in order),
        float(amounts[:, row].sum() / max(amounts.sum(), 1e-12)),
        closeness,
        closeness is not None and closeness.index < NARROW_INDEX,
    )
