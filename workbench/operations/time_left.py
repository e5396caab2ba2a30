"""Progress of operations in a row: the share done, and the time left.

    plan = PlanProgress([(LOAD, pair), (MEASURE, measure), (READ, reading), (STEER, steering)])
    plan.report("measure_difference", "difference", 512, 1000)      for every report of progress
    plan.finish("measure_difference")                               once an operation is over
    plan.share, plan.seconds_left, plan.words                       0.23, 341.0, "23%, about 6 min left"

Each operation says which stages it has and how long they take beside each other. How fast this pair
is on this machine follows from the stages that were worked through here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from adl.callbacks import stage_name
from workbench.operations.pair import LOAD
from workbench.operations.running import Arguments, Operation, Stage

#: Seconds of work before its speed is known well enough to tell the time left.
LEAST_WORK = 3.0
#: Operations whose speed says nothing of the others': loading waits for a disk or a network.
_OTHER_SPEED = frozenset({LOAD.name})
#: Of an operation that does not say how long it takes.
_UNKNOWN = (Stage("", 30.0),)

Planned = Iterable[tuple[Operation[Any], Arguments]]
Clock = Callable[[], float]


class PlanProgress:
    """Progress of operations that run in the given order. For one thread at a time."""

    def __init__(self, planned: Planned, clock: Clock = time.monotonic) -> None:
        stages = [(operation.name, operation.stages(arguments)) for operation, arguments in planned]
        self._stages: list[tuple[str, Stage]] = [
            (name, stage) for name, known in stages for stage in (known or _UNKNOWN)
        ]
        self.is_known = all(known for _, known in stages)
        "True if every operation says how long its stages take."
        self._total = sum(stage.seconds for _, stage in self._stages) or 1.0
        self._clock = clock
        self._place = 0
        self._within = 0.0
        self._last = clock()
        self._worked = 0.0
        self._worth = 0.0

    def report(self, operation: str, stage: str, done: int, total: int) -> None:
        """Apply a report of progress; stages that were not planned change nothing."""
        now, before = self._clock(), self._last
        self._last = now
        share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
        place = self._find(operation, stage_name(stage), share)
        if place is None:
            return
        left = self._left()
        follows = place - self._place <= 1 and self._stages[self._place][0] == operation
        self._place, self._within = place, share
        # What was passed over, as what is in the cache is, took no time.
        if follows and operation not in _OTHER_SPEED:
            self._worked += now - before
            self._worth += left - self._left()

    def finish(self, operation: str) -> None:
        """Count the remaining stages of an operation as done."""
        self._last = self._clock()
        if self._place < len(self._stages) and self._stages[self._place][0] != operation:
            places = [name for name, _ in self._stages[self._place :]]
            if operation not in places:
                return
            self._place += places.index(operation)
        while self._place < len(self._stages) and self._stages[self._place][0] == operation:
            self._place += 1
        self._within = 0.0

    @property
    def share(self) -> float:
        """Share done, from 0 to 1."""
        return 1.0 - self._left() / self._total

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is done; None before the speed is known."""
        if self._worked < LEAST_WORK or self._worth <= 0:
            return 0.0 if self._left() == 0 else None
        # Time goes on while a batch is under way, and its report comes at its end.
        since = self._clock() - self._last
        return max(0.0, self._left() * self._worked / self._worth - since)

    @property
    def words(self) -> str:
        """Both in words, as ``42%, about 6 min left``; empty if an operation gives no stages."""
        if not self.is_known:
            return ""
        left = self.seconds_left
        return f"{self.share:.0%}" + ("" if left is None else f", about {in_words(left)} left")

    def _left(self) -> float:
        rest = sum(stage.seconds for _, stage in self._stages[self._place :])
        if self._place < len(self._stages):
            rest -= self._within * self._stages[self._place][1].seconds
        return rest

    def _find(self, operation: str, stage: str, share: float) -> int | None:
        """The place of a stage: the one under way, or the next of the name, as one may come again."""
        for place in range(self._place, len(self._stages)):
            name, planned = self._stages[place]
            again = place == self._place and share < self._within
            if name == operation and planned.name in {stage, ""} and not again:
                return place
        return None


def in_words(seconds: float) -> str:
    """Return a rough time in words: ``40 s``, ``6 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
