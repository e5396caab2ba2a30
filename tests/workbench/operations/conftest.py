"""A session over the planted pair, and watching what an operation does to its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.running import Arguments, Operation, Outcome, Session, run
from workbench.store.events import HUMAN, Event
from workbench.store.log import SessionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "arrays")


@pytest.fixture
def log(path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(path) as log:
        yield log


@pytest.fixture
def session(log: SessionLog, cache: ArrayCache, planted: PlantedPair) -> Session:
    return Session(log, log.start_session("an audit"), cache, planted)


@pytest.fixture
def measured(session: Session) -> Session:
    """The session with a difference over 32 texts at layer 3."""
    do(session, MEASURE, MeasureArguments(layers=("3",), n_texts=32))
    return session


@dataclass
class Stop:
    """A stop flag that goes up at a moment of the work itself, not of the clock.

    ``at`` is asked at every progress call (stage, done, total).
    """

    at: Callable[[str, int, int], bool]
    is_set: bool = False
    seen: list[tuple[str, int, int]] = field(default_factory=list)

    def progress(self, stage: str, done: int, total: int) -> None:
        self.seen.append((stage, done, total))
        self.is_set = self.is_set or self.at(stage, done, total)

    def __call__(self) -> bool:
        return self.is_set


def do(
    session: Session,
    operation: Operation[Any],
    arguments: Arguments,
    stop: Stop | None = None,
) -> Outcome:
    if stop is None:
        return run(session, operation, arguments, actor=HUMAN)
    return run(session, operation, arguments, actor=HUMAN, progress=stop.progress, should_stop=stop)


def committed(session: Session, *kinds: str) -> list[Event]:
    """What the log itself holds, whatever the session's state says."""
    return list(session.log.events(session.id, kinds=kinds or None))


def kinds(session: Session) -> list[str]:
    return [event.body.kind for event in committed(session)]


def assert_as_recorded(session: Session) -> None:
    """The file verifies, and the session's state is the fold of it."""
    report = session.log.verify()
    assert report.ok, report.problems
    again = Session(session.log, session.id, session.cache)
    assert again.state.digest() == session.state.digest()
