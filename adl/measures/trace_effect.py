"""Alignment of the direction's effect on predictions with the finetuning's, against random directions.

A direction added to the base model changes its predictions over unrelated text, and so does the
finetuning. The alignment is the correlation of both changes over words, after the mean change by
random directions, the effect of any vector of that size, is subtracted. It is zero on average for
a direction unrelated to the finetuning, whatever its norm and consistency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.nulls import random_direction
from adl.pair.protocol import ModelPair
from adl.readings.ranking import Mask, Scores
from adl.readings.shift_lens import Contexts, Shift, steering_shifts
from adl.records import Floats, rescale

ALPHA = 0.2
"""Strong enough to be read, too weak to break text: the shift lens's choice on small models."""

N_RANDOM = 16
FEWEST_RANDOM = 4
HIGHEST = 0.9999


@dataclass(frozen=True)
class Effect:
    """Alignment of a direction's effect with the finetuning's.

    ``alignment`` is a correlation, ``random`` that of each random direction (the others as common),
    ``z`` the distance from their mean in their standard deviations (both of Fisher-transformed
    correlations), and ``p_value`` the one-sided probability of that distance for a further random
    direction (Student's t).
    """

    layer: int
    alpha: float
    alignment: float
    random: tuple[float, ...]
    z: float
    p_value: float


@dataclass(frozen=True)
class RandomEffects:
    """Effects of random directions at a layer, shared by all directions that are tested.

    ``shifts`` [n, V] are mean changes of log-probability, ``target`` [V] that by the finetuning, and
    ``words`` [V] a mask of the words to correlate over.
    """

    layer: int
    norm: float
    shifts: Floats
    target: Scores
    words: Mask


def random_effects(
    pair: ModelPair,
    contexts: Contexts,
    finetuning: Shift,
    words: Mask,
    layer: int,
    residual_norm: float,
    *,
    n_random: int = N_RANDOM,
    seed: int = 0,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> RandomEffects:
    """Measure ``n_random`` (at least 4) random directions of norm ``ALPHA * residual_norm``.

    ``words`` [V] marks the shared vocabulary's words. Raises ``Stopped`` within one batch.
    """
    directions = np.stack(
        [
            random_direction(pair.provenance.width, int(word))
            for word in np.random.SeedSequence([seed, layer]).generate_state(
                max(n_random, FEWEST_RANDOM)
            )
        ]
    )
    norm = ALPHA * residual_norm
    shifts = _shifts(pair, contexts, layer, directions, norm, progress, should_stop)
    return RandomEffects(layer, norm, shifts, finetuning.log_shift, words)


def effects(
    pair: ModelPair,
    contexts: Contexts,
    null: RandomEffects,
    directions: Floats,
    *,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Effect]:
    """Return the effect of each of ``directions`` [m, width], whatever their norm.

    Raises ``Stopped`` within one batch.
    """
    shifts = _shifts(pair, contexts, null.layer, directions, null.norm, progress, should_stop)
    total = null.shifts.sum(axis=0)
    n = len(null.shifts)
    others = [(total - shift) / (n - 1) for shift in null.shifts]
    random = [
        _alignment(shift - other, null.target, null.words, other)
        for shift, other in zip(null.shifts, others, strict=True)
    ]
    mean = total / n
    return [
        effect_of(null.layer, _alignment(shift - mean, null.target, null.words, mean), random)
        for shift in shifts
    ]


def effect_of(layer: int, alignment: float, random: Sequence[float]) -> Effect:
    """Return the effect with its z and p-value against the alignments of random directions."""
    # Fisher's transformation: correlations near 1 are further apart than they look.
    null = np.arctanh(np.clip(random, -HIGHEST, HIGHEST))
    spread = float(np.std(null, ddof=1))
    own = math.atanh(max(-HIGHEST, min(HIGHEST, alignment)))
    z = (own - float(np.mean(null))) / spread if spread else 0.0
    n = len(random)
    # The null's mean and spread are themselves estimated from n directions.
    p_value = _t_tail(z / math.sqrt(1 + 1 / n), n - 1)
    return Effect(layer, ALPHA, alignment, tuple(random), z, p_value)


def _shifts(
    pair: ModelPair,
    contexts: Contexts,
    layer: int,
    directions: Floats,
    norm: float,
    progress: Progress,
    should_stop: ShouldStop,
) -> Floats:
    """Return the mean change of the base model's log-probabilities [m, V], V the shared vocabulary."""
    found = steering_shifts(
        pair,
        "base",
        contexts,
        layer,
        rescale(directions, norm),
        progress=progress,
        should_stop=should_stop,
    )
    rows = np.stack([shift.log_shift for shift in found]).astype(np.float32)
    shared = pair.shared_vocabulary()
    return rows if shared is None else rows[:, shared[0]]


def _alignment(
    shift: NDArray[np.floating], target: Scores, words: Mask, common: NDArray[np.floating]
) -> float:
    """Return the correlation over words of two changes without their parts along the common one."""
    rows = [np.asarray(row, dtype=np.float64)[words] for row in (shift, target, common)]
    own, aim, shared = (row - row.mean() for row in rows)
    size = float(shared @ shared)
    if size > 0:
        own, aim = (row - shared * float(row @ shared) / size for row in (own, aim))
    lengths = float(np.linalg.norm(own) * np.linalg.norm(aim))
    return float(own @ aim) / lengths if lengths > 0 else 0.0


def _t_tail(t: float, df: int) -> float:
    """Return P(T > t) of Student's t, by Simpson's rule on the density: precise to about 1e-7."""
    if t < 0:
        return 1 - _t_tail(-t, df)
    # Substituting u = 1 / (1 + x) turns the tail into a finite range.
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    edges = np.linspace(0, 1 / (1 + t), 4001)
    x = 1 / np.maximum(edges, 1e-12) - 1
    density = np.exp(log_scale - (df + 1) / 2 * np.log1p(x**2 / df)) * (1 + x) ** 2
    weights = np.ones_like(edges)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return float((density * weights).sum() * (edges[1] - edges[0]) / 3)
