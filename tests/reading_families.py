"""The readings that share a computation, by name."""

from __future__ import annotations

from adl.readings.reading import Family
from adl.readings.registry import READINGS


def _readings_of(family: Family) -> frozenset[str]:
    return frozenset(name for name, reading in READINGS.items() if reading.family == family)


PREDICTION_READINGS = _readings_of("prediction")
PATCHSCOPE_READINGS = _readings_of("patchscope")
