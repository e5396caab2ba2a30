"""Shift lens: how next-token probabilities over unrelated contexts change.

There are three changes, over the same contexts:

    output difference       base -> finetuned, nothing added
    shift lens              a model -> the same model with alpha * difference added at a layer
    amplified difference    base -> the finetuned model with alpha * difference added

The first needs no activations at all and the second needs no finetuned model once the difference is
measured, so they fail for different reasons: a consensus of the three is the most dependable list.

alpha is in units of the typical residual norm. The automatic choice is the strongest of ``ALPHAS``
that changes the model's predictions by no more than ``KL_BUDGET`` nats per token on average: enough
to be read, and not so much that the predictions are the same in every context.

Sources: the output difference and the shift lens are ours; steering by the difference is Minder et
al. 2025 (arXiv 2510.13900).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.difference import FirstTokens, paired_batches
from adl.errors import Stopped
from adl.pair.protocol import ModelPair, ShiftSums
from adl.readings.ranking import Mask, Scores, among, candidates, standardised
from adl.records import SIDES, Floats, Side
from adl.text.corpus import TokenBatch

ALPHAS = (0.1, 0.15, 0.2, 0.3, 0.45)
KL_BUDGET: Mapping[Side, float] = {"base": 1.0, "finetuned": 0.3}

# The first tokens of each context are not read: the difference was measured on them, and
# predictions after so few tokens are alike for every text.
CONTEXT_TOKENS = 16
FIRST_COLUMN = 4
N_CONTEXTS = 64
# Small, because a stop is honoured between batches, and smaller for a large vocabulary, because
# several copies of a batch's logits are held at a time.
BATCH_ROWS = 8
LOGITS_AT_ONCE = 1 << 23

# Added to mean probabilities before their ratio, in units of 1/V, so that the rounding errors of a
# token that never occurs cannot put it at the top.
SMOOTHING = 0.3


@dataclass(frozen=True)
class Contexts:
    """Unrelated contexts as batches for either side, read at columns 4 to 15."""

    base: tuple[TokenBatch, ...]
    finetuned: tuple[TokenBatch, ...]

    def __len__(self) -> int:
        """Count the contexts."""
        return sum(len(batch) for batch in self.base)

    def side(self, side: Side) -> tuple[TokenBatch, ...]:
        """Return the batches of one side."""
        return self.base if side == "base" else self.finetuned


@dataclass(frozen=True)
class Shift:
    """A mean change of next-token probabilities over contexts.

    ``log_shift`` [V]: mean of log p(after) - log p(before); ``before``, ``after`` [V]: mean
    probabilities; ``kl``: mean KL(after || before) in nats, or NaN where it is not known.
    """

    log_shift: Scores
    before: Scores
    after: Scores
    kl: float

    def reversed(self) -> Shift:
        """Return the shift from after to before; its KL is not known."""
        return Shift(-self.log_shift, self.after, self.before, math.nan)


def contexts_of(pair: ModelPair, texts: Sequence[str], n_contexts: int = N_CONTEXTS) -> Contexts:
    """Return the first ``n_contexts`` texts that are long enough. Raises ``CorpusError`` if none is."""
    bases: list[TokenBatch] = []
    tuned: list[TokenBatch] = []
    columns = CONTEXT_TOKENS - FIRST_COLUMN
    fitting = LOGITS_AT_ONCE // (columns * max(len(pair.token_texts(side)) for side in SIDES))
    rows = max(1, min(BATCH_ROWS, fitting))
    for base, finetuned in paired_batches(pair, texts, FirstTokens(CONTEXT_TOKENS), rows):
        bases.append(_late_columns(base))
        tuned.append(_late_columns(finetuned))
        if sum(map(len, bases)) >= n_contexts:
            break
    return Contexts(tuple(bases), tuple(tuned))


def _late_columns(batch: TokenBatch) -> TokenBatch:
    return replace(
        batch, columns=batch.columns[FIRST_COLUMN:], positions=batch.positions[FIRST_COLUMN:]
    )


def steering_shifts(
    pair: ModelPair,
    side: Side,
    contexts: Contexts,
    layer: int,
    vectors: Floats,
    *,
    halves: Halves | None = None,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Shift]:
    """Return the shift of ``side``'s predictions by each of ``vectors`` [m, width] added at ``layer``.

    ``halves``, if given, takes in what the side predicts with nothing added. Raises ``Stopped`` within
    one batch of ``should_stop`` returning True.
    """
    batches = contexts.side(side)
    total = _Sums()
    for done, batch in enumerate(batches):
        _check(should_stop)
        part = pair.steering_shift(side, batch, layer, vectors)
        total.add(part)
        if halves is not None:
            halves.add(part)
        progress(done + 1, len(batches))
    return total.means()


def output_shift(
    pair: ModelPair, contexts: Contexts, *, should_stop: ShouldStop = never_stop
) -> Shift:
    """Return the shift from base to finetuned; [V] is the shared vocabulary."""
    total = _Sums()
    for base, finetuned in zip(contexts.base, contexts.finetuned, strict=True):
        _check(should_stop)
        total.add(pair.output_shift(base, finetuned))
    (mean,) = total.means()
    return mean


def split_half_shift(
    pair: ModelPair, contexts: Contexts, layer: int, *, should_stop: ShouldStop = never_stop
) -> Shift | None:
    """Return the shift of base from one half of the contexts to the other; None with one batch."""
    zero = np.zeros((1, pair.provenance.width), dtype=np.float32)
    halves = Halves()
    steering_shifts(pair, "base", contexts, layer, zero, halves=halves, should_stop=should_stop)
    return halves.shift()


def chosen_alpha(side: Side, kl_by_alpha: Mapping[float, float]) -> float:
    """Return the strongest alpha within the side's KL budget; the weakest if none is."""
    within = [alpha for alpha, kl in kl_by_alpha.items() if kl <= KL_BUDGET[side]]
    return max(within, default=min(kl_by_alpha))


# --- scores -------------------------------------------------------------------------------------


def shift_score(shift: Shift, words: Mask) -> Scores:
    """Return shift-lens scores [V]: the mean log-prob shift of the words most probable after."""
    return among(shift.log_shift, candidates(shift.after, words))


def ratio_score(shift: Shift, words: Mask) -> Scores:
    """Return amplified-difference scores [V]: log ratio of mean probabilities of words probable after.

    The mean of log-probabilities rewards a rise in every context; the ratio of means rewards a
    large rise in some.
    """
    return among(_log_ratio(shift), candidates(shift.after, words))


def output_score(shift: Shift, words: Mask) -> Scores:
    """Return output-difference scores [V]: both of the above, standardised and added."""
    mask = candidates(shift.after, words)
    both = standardised(shift.log_shift, mask) + standardised(_log_ratio(shift), mask)
    return among(both, mask)


Score = Callable[[Shift, Mask], Scores]


def amplified(before: Shift, steered: Shift) -> Shift:
    """Return the shift from base unsteered (``before.before``) to ``steered.after``, on one vocabulary.

    Its KL is not known: that of ``steered`` is from its own side unsteered.
    """
    return Shift(
        log_shift=np.log(steered.after + 1e-12) - np.log(before.before + 1e-12),
        before=before.before,
        after=steered.after,
        kl=math.nan,
    )


def _log_ratio(shift: Shift) -> Scores:
    smooth = SMOOTHING / len(shift.after)
    ratio: Scores = np.log((shift.after + smooth) / (shift.before + smooth))
    return ratio


# --- sums to means ------------------------------------------------------------------------------


class _Unsteered:
    """Running sums of a side's predictions with nothing added."""

    def __init__(self) -> None:
        self.count = 0
        self._log_prob: Scores = np.zeros(1)
        self._prob: Scores = np.zeros(1)

    def add(self, part: ShiftSums) -> None:
        """Add a batch."""
        self.count += part.count
        self._log_prob = self._log_prob + part.log_prob_before
        self._prob = self._prob + part.prob_before

    @property
    def log_prob(self) -> Scores:
        """Mean log-probabilities [V]."""
        return self._log_prob / self.count

    @property
    def prob(self) -> Scores:
        """Mean probabilities [V]."""
        return self._prob / self.count


class Halves:
    """Predictions of a side with nothing added, over either half of contexts: every other batch."""

    def __init__(self) -> None:
        self._halves = _Unsteered(), _Unsteered()
        self._n_batches = 0

    def add(self, part: ShiftSums) -> None:
        """Add the next batch."""
        self._halves[self._n_batches % 2].add(part)
        self._n_batches += 1

    def shift(self) -> Shift | None:
        """Return the shift from one half to the other; None with fewer than two batches."""
        first, second = self._halves
        if not second.count:
            return None
        return Shift(
            log_shift=first.log_prob - second.log_prob,
            before=second.prob,
            after=first.prob,
            kl=math.nan,
        )


class _Sums:
    """Running sums over batches: with a vocabulary of 262,144 not all batches fit in memory."""

    def __init__(self) -> None:
        self._before = _Unsteered()
        self._shift: Scores = np.zeros(1)
        self._after: Scores = np.zeros(1)
        self._kl: Scores = np.zeros(1)

    def add(self, part: ShiftSums) -> None:
        """Add a batch."""
        if not self._before.count:
            self._shift = np.zeros_like(part.shift)
            self._after = np.zeros_like(part.prob_after)
            self._kl = np.zeros_like(part.kl)
        self._before.add(part)
        self._shift += part.shift
        self._after += part.prob_after
        self._kl += part.kl

    def means(self) -> list[Shift]:
        """Return the mean of each change."""
        count, before = self._before.count, self._before.prob
        return [
            Shift(shift / count, before, after / count, float(kl / count))
            for shift, after, kl in zip(self._shift, self._after, self._kl, strict=True)
        ]


def _check(should_stop: ShouldStop) -> None:
    if should_stop():
        raise Stopped("stopped while reading contexts")
