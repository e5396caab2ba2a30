from __future__ import annotations

from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.replay.audits import Audit
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.running import Session, run
from workbench.replay.branch import branch
from workbench.replay.errors import ReplayError
from workbench.store.events import HUMAN, SessionRenamed
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold


def findings(state: SessionState) -> dict[str, object]:
    """What was found and thought, without when and without the session's own name."""
    return {
        "operations": [
            (one.id, one.name, one.arguments, one.actor, one.started_seq, one.summary)
            for one in state.operations.values()
        ],
        "differences": [(r.seq, r.body) for r in state.differences.values()],
        "readings": [(key, r.seq, r.body) for key, r in state.readings.items()],
        "texts": [(t.start.seq, t.start.body, t.text) for t in state.texts.values()],
        "comparisons": [(r.seq, r.body) for r in state.comparisons],
        "hypotheses": [
            (h.id, h.text, h.confidence, h.verdict, dict(h.evidence), len(h.history))
            for h in state.hypotheses.values()
        ],
        "ranking": state.ranking,
        "evidence": [(r.seq, r.actor, r.body) for r in state.evidence.values()],
        "pair": state.pair,
    }


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_branch_has_what_its_parent_had_there(
    log: SessionLog, recorded: Audit, where: str
) -> None:
    last = log.find_session(recorded.session_id).events
    seq = {"start": 1, "middle": last // 2, "end": last}[where]
    new = branch(log, recorded.session_id, seq)
    parent = fold(event for event in log.events(recorded.session_id) if event.seq <= seq)
    state = fold(log.events(new))
    assert findings(state) == findings(parent)
    assert state.parent == (recorded.session_id, seq)
    assert state.name == f"cakes, from event {seq}"
    assert state.outcome is None
    report = log.verify()
    assert report.ok, report.problems


def test_work_under_way_at_the_event_is_abandoned(log: SessionLog, recorded: Audit) -> None:
    started = next(
        event.seq for event in log.events(recorded.session_id) if event.body.kind == "text_started"
    )
    state = fold(log.events(branch(log, recorded.session_id, started, "early")))
    *_, steering = state.operations.values()
    assert (steering.name, steering.status) == ("steer", "abandoned")
    assert {text.status for text in state.texts.values()} == {"cut_off"}
    assert state.name == "early"


def test_a_branch_can_be_worked_on(log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    measured = next(
        event.seq
        for event in log.events(recorded.session_id)
        if event.body.kind == "operation_finished"
    )
    new = branch(log, recorded.session_id, measured)
    session = Session(log, new, ArrayCache(tmp_path / "cache"), PlantedPair())
    arguments = SteerArguments(layer="2", n_prompts=1, max_new_tokens=3, alphas=(0.5,))
    run(session, STEER, arguments, actor=HUMAN)
    assert [text.start.body.alpha for text in session.state.texts.values()] == [0.5]
    assert log.verify().ok


def test_a_renamed_parent_does_not_name_its_branch(log: SessionLog, recorded: Audit) -> None:
    log.append(recorded.session_id, SessionRenamed(name="sponges"))
    last = log.find_session(recorded.session_id).events
    assert fold(log.events(branch(log, recorded.session_id, last))).name == (
        f"sponges, from event {last}"
    )


def test_an_event_that_is_not_there_is_refused(log: SessionLog, recorded: Audit) -> None:
    before = log.sessions()
    for seq in (0, 10_000):
        with pytest.raises(ReplayError, match=f"no event {seq}"):
            branch(log, recorded.session_id, seq)
    assert log.sessions() == before
