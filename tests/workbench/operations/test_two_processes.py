"""What another process records at the same moment: no id is given twice, and no decision is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.operations.conftest import assert_as_recorded, do
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    MARK,
    REVISE,
    AddHypothesisArguments,
    MarkArguments,
    ReviseArguments,
)
from workbench.operations.running import Session
from workbench.operations.testing import TEST
from workbench.store.log import SessionLog

Meanwhile = Callable[[str, Callable[[Session], Any]], None]


@pytest.fixture
def meanwhile(
    session: Session, path: Path, cache: ArrayCache, planted: PlantedPair, monkeypatch
) -> Iterator[Meanwhile]:
    """Has another process do something once, right before the session commits an event of a kind."""
    with SessionLog.open(path) as log:
        other = Session(log, session.id, cache, planted)
        commit = session.log.append_many

        def when(kind: str, work: Callable[[Session], Any]) -> None:
            waiting = [work]

            def append_many(session_id, entries, **options):
                if waiting and any(entry.body.kind == kind for entry in entries):
                    waiting.pop()(other)
                return commit(session_id, entries, **options)

            monkeypatch.setattr(session.log, "append_many", append_many)

        yield when


def test_two_hypotheses_added_at_once_have_ids_of_their_own(session: Session, meanwhile: Meanwhile):
    added = AddHypothesisArguments(text="cakes")
    meanwhile("hypothesis_stated", lambda other: do(other, ADD_HYPOTHESIS, added))
    outcome = do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="stories"))
    assert outcome.summary == {"hypothesis": "H2"}
    assert {one.id: one.text for one in session.state.hypotheses.values()} == {
        "H1": "cakes",
        "H2": "stories",
    }
    assert_as_recorded(session)


def test_two_marks_made_at_once_have_ids_of_their_own(session: Session, meanwhile: Meanwhile):
    meanwhile(
        "evidence_marked", lambda other: do(other, MARK, MarkArguments(seq=1, excerpt="cake"))
    )
    outcome = do(session, MARK, MarkArguments(seq=1, excerpt="oven"))
    assert outcome.summary == {"evidence": "E2"}
    marks = {name: marked.body.excerpt for name, marked in session.state.evidence.items()}
    assert marks == {"E1": "cake", "E2": "oven"}


@pytest.mark.slow
def test_two_tests_begun_at_once_have_ids_of_their_own(session: Session, meanwhile: Meanwhile):
    def asked(word: str) -> ExperimentArguments:
        prompts = tuple(f"{word} {number}?" for number in range(4))
        return ExperimentArguments(hypothesis=f'It says "{word}".', prompts=prompts, n_samples=1)

    meanwhile("experiment_sealed", lambda other: do(other, TEST, asked("cake")))
    do(session, TEST, asked("oven"))
    words = {
        name: found.sealed.body.hypothesis for name, found in session.state.experiments.items()
    }
    assert words == {"X1": 'It says "cake".', "X2": 'It says "oven".'}
    assert list(session.state.hypotheses) == ["H1", "H2"]


def test_a_new_probability_keeps_the_words_given_at_the_same_moment(
    session: Session, meanwhile: Meanwhile
):
    do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="cakes", confidence=0.5))
    revised = ReviseArguments(hypothesis="H1", text="sweet cakes")
    meanwhile("hypothesis_revised", lambda other: do(other, REVISE, revised))
    do(session, REVISE, ReviseArguments(hypothesis="H1", confidence=0.9))
    found = session.state.hypotheses["H1"]
    assert (found.text, found.confidence) == ("sweet cakes", 0.9)
