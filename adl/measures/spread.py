"""The robust z of a value among others, by the median and the median absolute deviation.

The values themselves are the null: where most prompts or words are ordinary, the few that are not
hardly move the median of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Turns a median absolute deviation into the standard deviation of a normal distribution.
_MAD_TO_SD = 1.4826


def centre(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the median of values [n], and their deviation: that of a normal distribution as wide."""
    array = np.asarray(values, dtype=np.float64)
    median = float(np.median(array))
    return median, _MAD_TO_SD * float(np.median(np.abs(array - median)))


def robust_z(
    values: Sequence[float] | NDArray[np.float64], least: float = 1e-6
) -> NDArray[np.float64]:
    """Return (value - median) / deviation of each value [n], the deviation being ``least`` or more."""
    array = np.asarray(values, dtype=np.float64)
    median, deviation = centre(array)
    scaled: NDArray[np.float64] = (array - median) / max(deviation, least)
    return scaled
