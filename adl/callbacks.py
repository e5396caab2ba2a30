"""Callbacks of long computations: how they report progress and how they are stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ShouldStop = Callable[[], bool]
"""Asked between two steps; once it returns True the computation raises ``Stopped``."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

StageProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total); a stage is a few words for a person.

Text after `STAGE_DETAIL` is a detail of the moment, such as a loss, not another stage.
"""

STAGE_DETAIL = " · "


STOP_POLL_SECONDS = 0.05
"""Between two questions to a ``ShouldStop`` while waiting for something else."""


def stage_name(stage: str) -> str:
    """Return the stage without its detail."""
    return stage.partition(STAGE_DETAIL)[0]


def never_stop() -> bool:
    """A ``ShouldStop`` that never stops."""
    return False


_stop: ContextVar[ShouldStop] = ContextVar("should_stop", default=never_stop)


@contextmanager
def stopped_by(should_stop: ShouldStop) -> Iterator[None]:
    """Have :func:`asked_to_stop` ask ``should_stop`` inside, for a long wait within one step."""
    token = _stop.set(should_stop)
    try:
        yield
    finally:
        _stop.reset(token)


def asked_to_stop() -> bool:
    """Return True if the computation that this thread is in was asked to stop."""
    return _stop.get()()


def ignore_progress(_done: int, _total: int) -> None:
    """A ``Progress`` that does nothing."""


def ignore_stages(_stage: str, _done: int, _total: int) -> None:
    """A ``StageProgress`` that does nothing."""
