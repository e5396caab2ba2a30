"""Sessions on the planted pair: what an agent finds there is known."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from adl.readings.registry import READINGS, ReadingName
from tests.planted import N_LAYERS, PlantedPair
from workbench.operations import running
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.state import Fold

LAYER = (N_LAYERS - 1) // 2


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A session file with everything computed that an overview shows, and the session's id."""
    folder = tmp_path_factory.mktemp("computed")
    with SessionLog.open(folder / "sessions.db") as log:
        session = fresh_session(log, folder)
        compute(session)
        return log.path, session.id


@pytest.fixture(scope="session")
def folded(computed: tuple[Path, str]) -> Fold:
    """Its state: of hundreds of readings, folding them takes longer than most tests do."""
    path, session_id = computed
    folded = Fold()
    with SessionLog.open(path, read_only=True) as log:
        folded.apply_all(log.events(session_id))
    return folded


@pytest.fixture
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SessionLog]:
    """An empty log, or one with the computed session where the test wants that."""
    if "session" in request.fixturenames:
        path, _ = request.getfixturevalue("computed")
        shutil.copy(path, tmp_path / "sessions.db")
    with SessionLog.open(tmp_path / "sessions.db") as log:
        yield log


@pytest.fixture
def fresh(log: SessionLog, tmp_path: Path) -> Session:
    """A session with a pair loaded and nothing computed."""
    return fresh_session(log, tmp_path)


@pytest.fixture
def session(
    log: SessionLog,
    tmp_path: Path,
    computed: tuple[Path, str],
    folded: Fold,
    monkeypatch: pytest.MonkeyPatch,
) -> Session:
    """A session with everything computed that an overview shows."""
    _, session_id = computed
    with monkeypatch.context() as patch:
        patch.setattr(running, "Fold", folded.copy)
        return Session(log, session_id, ArrayCache(tmp_path / "cache"), PlantedPair())


def fresh_session(log: SessionLog, tmp_path: Path, pair: PlantedPair | None = None) -> Session:
    pair = pair or PlantedPair()
    session = Session(log, log.start_session("an audit"), ArrayCache(tmp_path / "cache"), pair)
    session.record(PairLoaded(pair=pair.provenance.as_dict()))
    return session


def compute(
    session: Session, readings: tuple[ReadingName, ...] = tuple(READINGS), n_prompts: int = 2
) -> None:
    run(session, MEASURE, MeasureArguments(n_texts=16), actor=HUMAN)
    run(session, READ, ReadArguments(readings=readings, n_texts=16, top=30), actor=HUMAN)
    steer = SteerArguments(n_prompts=n_prompts, max_new_tokens=8, alphas=(0.0, 0.6))
    run(session, STEER, steer, actor=HUMAN)
