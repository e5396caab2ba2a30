"""Base against itself: every operation gives a result that is nothing, or is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from adl.errors import AdlError
from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.workbench.test_every_measure import given, in_order
from workbench.agent.shown_evidence import compute, missing_evidence
from workbench.operations.pair import LOAD
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

ZERO = "the difference at layer 3, position 1-4 is zero"
REFUSED = {
    "style_bank": "predicts what base predicts",
    **dict.fromkeys(("steer", "ask", "coherent_alpha", "steered_similarity"), ZERO),
    "causal_effect": "the difference is zero",
}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = log.start_session("base against itself")
        yield Session(log, session, ArrayCache(tmp_path / "arrays"), PlantedPair(strength=0.0))
        assert log.verify().ok


@pytest.mark.slow
def test_every_operation(session: Session, tmp_path: Path):
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(f"the{word} and{''.join(DOMAIN)}" for word in FILLER[:6]))
    refused = {}
    for operation in in_order():
        if operation is LOAD:
            continue
        arguments = operation.arguments(**given(operation, str(documents)))
        try:
            with warnings.catch_warnings():
                # numpy's of a mean over nothing: a figure that is none.
                warnings.simplefilter("error", RuntimeWarning)
                run(session, operation, arguments, actor=HUMAN)
        except AdlError as exc:
            refused[operation.name] = exc
    assert refused.keys() == REFUSED.keys()
    for name, said in REFUSED.items():
        assert said in refused[name].message
        assert refused[name].hint
    # Whatever was measured is nothing, and its line says so.
    for found in session.state.measures:
        assert not found.body._line().endswith((":", ": "))
    lists = [taken.body for taken in session.state.readings.values()]
    assert not any(taken.tokens for taken in lists if taken.source == "difference")


@pytest.mark.slow
def test_an_agent_is_shown_what_there_is(session: Session):
    """An evaluation audits such a pair: without a difference its overview still stands."""

    def tried(operation, arguments):
        run(session, operation, arguments, actor=HUMAN)

    provenance = session.require_pair().provenance
    compute(missing_evidence(session.state, provenance.n_layers, n_prompts=1), tried)
    assert session.state.readings
    assert {found.body.kind for found in session.state.measures} >= {"trace_measured"}
