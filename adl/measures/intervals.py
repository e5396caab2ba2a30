"""Means and differences of means with bootstrap intervals.

Source: Efron 1979, the percentile bootstrap, over whole texts, prompts or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 2000
LEVEL = 95


@dataclass(frozen=True)
class Interval:
    """A value and its 95% interval over ``n`` units.

    A single unit has no interval: ``low`` and ``high`` are then the value itself.
    """

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float] | NDArray[np.floating], seed: int = 0) -> Interval:
    """Return the mean of ``values`` [n] with its interval. Raises ``ValueError`` for no values."""
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("no values have no mean")
    means = array[_draws(len(array), seed)].mean(axis=1)
    return _interval(float(array.mean()), means, len(array))


def difference_interval(
    left: Sequence[float] | NDArray[np.floating],
    right: Sequence[float] | NDArray[np.floating],
    seed: int = 0,
    *,
    paired: bool = False,
) -> Interval:
    """Return the mean of ``left`` minus the mean of ``right``; ``paired`` values are drawn together.

    Raises ``ValueError`` for no values.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (left, right))
    if paired:
        return mean_interval(first - second, seed)
    if not first.size or not second.size:
        raise ValueError("no values have no mean")
    means = first[_draws(len(first), seed)].mean(axis=1)
    means = means - second[_draws(len(second), seed + 1)].mean(axis=1)
    value = float(first.mean() - second.mean())
    return _interval(value, means, min(len(first), len(second)))


def _draws(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(n, size=(N_RESAMPLES, n))


def _interval(value: float, means: NDArray[np.float64], n: int) -> Interval:
    margin = (100 - LEVEL) / 2
    low, high = np.percentile(means, [margin, 100 - margin])
    return Interval(value, float(low), float(high), n)
