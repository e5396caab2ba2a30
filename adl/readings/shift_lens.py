"""Shift lens: how next-token probabilities over unrelated contexts change.

Three changes are looked at, each over the same contexts:

    output difference       base -> finetuned: what the finetuned model says more often
    shift lens              a model -> the same model with alpha * difference added at a layer
    amplified difference    base -> the finetuned model with alpha * difference added

The first needs no activations at all and the second needs no finetuned model once the difference is
measured, so they fail for different reasons: a consensus of the three is the most dependable list.

alpha is in units of the typical residual norm. The automatic choice is the strongest of ``ALPHAS``
that changes the model's predictions by no more than ``KL_BUDGET`` nats per token on average: enough
to be read, not so much that the model says the same whatever it is given.
"""

from __future__ import annotations

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

# Of each context the first tokens are left out: they are what the difference was measured on, and
# predictions after so few tokens are the same for every text.
CONTEXT_TOKENS = 16
FIRST_COLUMN = 4
N_CONTEXTS = 64
# Small, because a stop is looked for between batches, and smaller where the vocabulary is large: of
# the logits of a batch several copies are held at a time.
BATCH_ROWS = 8
LOGITS_AT_ONCE = 1 << 23

# Added to mean probabilities before their ratio is taken, in units of 1/V, so that a token which
# never occurs cannot lead a list by its rounding errors.
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
        """The batches of one side."""
        return self.base if side == "base" else self.finetuned


@dataclass(frozen=True)
class Shift:
    """A mean change of next-token probabilities over contexts.

    ``log_shift`` [V]: mean of log p(after) - log p(before); ``before``, ``after`` [V]: mean
    probabilities; ``kl``: mean KL(after || before) in nats.
    """

    log_shift: Scores
    before: Scores
    after: Scores
    kl: float


def contexts_of(pair: ModelPair, texts: Sequence[str], n_contexts: int = N_CONTEXTS) -> Contexts:
    """The first ``n_contexts`` texts that are long enough. Raises ``CorpusError`` if none is."""
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
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Shift]:
    """What adding each of ``vectors`` [m, width] at ``layer`` does to ``side``'s predictions.

    Raises ``Stopped`` within one batch of being asked to.
    """
    batches = contexts.side(side)
    total = _Sums()
    for done, batch in enumerate(batches):
        _check(should_stop)
        total.add(pair.steering_shift(side, batch, layer, vectors))
        progress(done + 1, len(batches))
    return [total.mean(change) for change in range(len(vectors))]


def output_shift(
    pair: ModelPair, contexts: Contexts, *, should_stop: ShouldStop = never_stop
) -> Shift:
    """Base to finetuned, nothing added; [V] is the shared vocabulary."""
    total = _Sums()
    for base, finetuned in zip(contexts.base, contexts.finetuned, strict=True):
        _check(should_stop)
        total.add(pair.output_shift(base, finetuned))
    return total.mean()


def split_half_shift(
    pair: ModelPair, contexts: Contexts, layer: int, *, should_stop: ShouldStop = never_stop
) -> Shift | None:
    """The base model against itself: one half of the contexts to the other; None with one batch."""
    nothing = np.zeros((1, pair.provenance.width), dtype=np.float32)
    one, other = halves = _Sums(), _Sums()
    for index, batch in enumerate(contexts.base):
        _check(should_stop)
        halves[index % 2].add(pair.steering_shift("base", batch, layer, nothing))
    if not other.count:
        return None
    return Shift(
        log_shift=one.log_prob_before / one.count - other.log_prob_before / other.count,
        before=other.prob_before / other.count,
        after=one.prob_before / one.count,
        kl=0.0,
    )


def chosen_alpha(side: Side, kl_by_alpha: Mapping[float, float]) -> float:
    """The strongest alpha within the side's KL budget; the weakest if none is."""
    within = [alpha for alpha, kl in kl_by_alpha.items() if kl <= KL_BUDGET[side]]
    return max(within, default=min(kl_by_alpha))


# --- scores -------------------------------------------------------------------------------------


def shift_score(shift: Shift, words: Mask) -> Scores:
    """Shift lens: mean log-prob shift [V] among the words most probable after."""
    return among(shift.log_shift, candidates(shift.after, words))


def ratio_score(shift: Shift, words: Mask) -> Scores:
    """Amplified difference: log ratio [V] of mean probabilities among the words probable after.

    The mean of log-probabilities asks for a rise in every context; the ratio of means is led by
    contexts in which the word becomes likely.
    """
    return among(_log_ratio(shift), candidates(shift.after, words))


def output_score(shift: Shift, words: Mask) -> Scores:
    """Output difference: both of the above, standardised and added."""
    mask = candidates(shift.after, words)
    both = standardised(shift.log_shift, mask) + standardised(_log_ratio(shift), mask)
    return among(both, mask)


Score = Callable[[Shift, Mask], Scores]


def amplified(before: Shift, steered: Shift) -> Shift:
    """From the base model unsteered (``before.before``) to ``steered.after``, on one vocabulary."""
    return Shift(
        log_shift=np.log(steered.after + 1e-12) - np.log(before.before + 1e-12),
        before=before.before,
        after=steered.after,
        kl=steered.kl,
    )


def _log_ratio(shift: Shift) -> Scores:
    smooth = SMOOTHING / len(shift.after)
    ratio: Scores = np.log((shift.after + smooth) / (shift.before + smooth))
    return ratio


# --- sums to means ------------------------------------------------------------------------------


class _Sums:
    """Sums of batches, added up as they come: a vocabulary of 262,144 leaves no room for all."""

    def __init__(self) -> None:
        self.count = 0
        self.log_prob_before: Scores = np.zeros(1)
        self.prob_before: Scores = np.zeros(1)
        self._shift: Scores = np.zeros(1)
        self._after: Scores = np.zeros(1)
        self._kl: Scores = np.zeros(1)

    def add(self, part: ShiftSums) -> None:
        """Take a batch."""
        self.count += part.count
        self.log_prob_before = self.log_prob_before + part.log_prob_before
        self.prob_before = self.prob_before + part.prob_before
        self._shift = self._shift + part.shift
        self._after = self._after + part.prob_after
        self._kl = self._kl + part.kl

    def mean(self, change: int = 0) -> Shift:
        """The mean of one change."""
        return Shift(
            log_shift=self._shift[change] / self.count,
            before=self.prob_before / self.count,
            after=self._after[change] / self.count,
            kl=float(self._kl[change] / self.count),
        )


def _check(should_stop: ShouldStop) -> None:
    if should_stop():
        raise Stopped("stopped while reading contexts")
