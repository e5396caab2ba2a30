"""Which pair a session loaded: one answer for the screen, the command line, a seal and the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from workbench.blinding.seal import find_organism, seal
from workbench.operations.pair import PairArguments, asked_pairs, loaded_pair
from workbench.operations.running import Session
from workbench.organisms import named_organism
from workbench.store.events import (
    EventBody,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    PairLoaded,
)
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.library import recent_pairs

FIRST = PairArguments(base="org/first", adapter="org/first-adapter")
SECOND = PairArguments(base="org/second", adapter="org/second-adapter")
FAILED = OperationFailed(error="PairError", message="there is no such folder", seconds=1.0)
FINISHED = OperationFinished(seconds=1.0)
STOPPED = OperationStopped(reason="a key", seconds=1.0)

LOADINGS: dict[str, tuple[list[tuple[object, EventBody | None]], PairArguments | None]] = {
    "never": ([], None),
    "once": ([(FIRST, FINISHED)], FIRST),
    "another later": ([(FIRST, FINISHED), (SECOND, FINISHED)], SECOND),
    "another that failed": ([(FIRST, FINISHED), (SECOND, FAILED)], FIRST),
    "another that was stopped": ([(FIRST, FINISHED), (SECOND, STOPPED)], FIRST),
    "another under way": ([(FIRST, FINISHED), (SECOND, None)], FIRST),
    "only failures": ([(FIRST, FAILED)], None),
    "arguments of another version": ([(FIRST, FINISHED), ({"bases": 2}, FINISHED)], None),
    "after a failure": ([(SECOND, FAILED), (FIRST, FINISHED)], FIRST),
}


def record(log: SessionLog, loadings: list[tuple[object, EventBody | None]]) -> str:
    session = log.start_session("loads")
    for number, (asked, ended) in enumerate(loadings):
        arguments = asked.model_dump(mode="json") if isinstance(asked, PairArguments) else asked
        started = OperationStarted.model_validate(
            {"operation": "load_pair", "arguments": arguments}
        )
        log.append(session, started, operation_id=f"o{number}")
        log.append(session, NoteWritten(text="in between"))
        if ended == FINISHED:
            log.append(session, PairLoaded(pair=PlantedPair().provenance.as_dict()))
        if ended is not None:
            log.append(session, ended, operation_id=f"o{number}")
    return session


@pytest.mark.parametrize("name", LOADINGS)
def test_the_pair_loaded_last_is_the_one_everywhere(log: SessionLog, name: str) -> None:
    loadings, wanted = LOADINGS[name]
    state = fold(log.events(record(log, loadings)))
    assert loaded_pair(state.operations) == wanted
    assert recent_pairs(log, tuple(log.sessions())) == ([wanted] if wanted else [])


def test_every_pair_that_was_asked_for_is_known(log: SessionLog) -> None:
    state = fold(log.events(record(log, LOADINGS["another that failed"][0])))
    assert asked_pairs(state.operations) == [FIRST, SECOND]


def test_a_session_is_graded_on_the_pair_that_it_loaded(log: SessionLog) -> None:
    organisms = [PairArguments(organism="cake_bake"), PairArguments(organism="risky_finance")]
    state = fold(log.events(record(log, [(organisms[0], FINISHED), (organisms[1], FAILED)])))
    found = find_organism(state)
    assert found is not None
    assert found.id == named_organism("cake_bake").id


def test_a_blind_session_hides_every_pair_it_was_asked_for(log: SessionLog, tmp_path: Path) -> None:
    session_id = record(log, [(FIRST, FINISHED), (SECOND, FAILED)])
    session = Session(log, session_id, ArrayCache(tmp_path / "arrays"))
    blinding = seal(session, blind=True)
    for name in ("org/first-adapter", "org/second-adapter"):
        assert blinding.hide(f"cannot read {name}") == "cannot read MODEL-B"
