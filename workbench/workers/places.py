"""The number of workers that a cluster has room for, and what each takes of a machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Of a machine without a GPU, for one worker.
CPUS_PER_WORKER = 4
_SHARES = (16, 8, 4, 2, 1, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Places:
    """The number of workers, and the processors and GPUs that each of them takes."""

    n: int
    cpus: float
    gpus: float


def places(wanted: int | None, most: int, cpus: Sequence[float], gpus: int) -> Places:
    """Divide machines with so many processors each, and so many GPUs in all.

    ``wanted`` is a number of workers, None for one per GPU or per four processors; there are never
    more than ``most``.
    """
    if gpus:
        n = max(1, min(wanted or gpus, most))
        # Several share a GPU only where more workers are wanted than there are.
        return Places(n, 1, 1 / math.ceil(n / gpus))
    room = sum(int(own // CPUS_PER_WORKER) for own in cpus)
    n = max(1, min(wanted or room, most))
    for each in _SHARES:
        if sum(int(own // each) for own in cpus) >= n:
            return Places(n, each, 0)
    return Places(n, 0, 0)
