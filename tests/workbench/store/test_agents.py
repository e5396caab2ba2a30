import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from tests.workbench.store.agent_samples import agent_audit, record_agent_audit, replied, requested
from workbench.store.agent_events import (
    AgentCalled,
    AgentControlled,
    AgentMessaged,
    AgentReplyGrew,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    ApprovalGiven,
)
from workbench.store.events import NoteWritten, SessionClosed
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState, history, standing
from workbench.store.state import Fold, SessionState, fold


@pytest.fixture
def state(log: SessionLog) -> SessionState:
    return fold(log.events(record_agent_audit(log)))


def agent(log: SessionLog, session: str) -> AgentState:
    return fold(log.events(session)).agents["r1"]


def test_an_audit_from_its_start_to_its_report(state: SessionState) -> None:
    (run,) = state.agents.values()
    assert (run.status, run.stopped_by, run.is_over) == ("ended", "report", True)
    assert (run.model, run.policy) == ("b model", "always")
    assert [one.body.kind for one in run.messages] == [
        "agent_told",
        "agent_replied",
        "agent_told",
        "agent_told",
        "agent_replied",
    ]
    assert (run.replies, run.tokens, run.cost) == (2, 240, 0.5)
    assert run.report is not None
    assert run.report.body.description == "It is about marzipan."
    assert run.unread == ()
    assert run.asked is None
    assert run.answers["c1"].approved


def test_a_call_that_is_done_again_after_a_kill_is_paid_once(state: SessionState) -> None:
    (run,) = state.agents.values()
    assert len(run.calls) == 2
    assert run.interactions == 1


@pytest.mark.parametrize("is_pause", [True, False])
def test_waiting_for_approval_is_no_time_at_work(log: SessionLog, is_pause: bool) -> None:
    """In older sessions it was."""
    session = log.start_session("an audit")
    call = {"run_id": "r1", "call_id": "c1", "tool": "ask"}
    bodies = (
        AgentStarted(run_id="r1", mode="adl", model="m", endpoint="e", budgets={}),
        ApprovalAsked(**call, arguments={}, is_pause=is_pause),
        AgentMessaged(run_id="r1", message_id="m1", text="one moment"),
        ApprovalGiven(run_id="r1", call_id="c1", approved=True),
        AgentCalled(**call, arguments={}),
    )
    at = [log.append(session, body).at for body in bodies]
    waited = (at[3] - at[1]).total_seconds() if is_pause else 0.0
    whole = (at[4] - at[0]).total_seconds()
    assert agent(log, session).seconds == pytest.approx(whole - waited, abs=1e-6)


def test_an_outside_agent_that_goes_on_while_its_question_waits_is_at_work(log: SessionLog) -> None:
    session = log.start_session("an audit")
    bodies = (
        AgentStarted(run_id="r1", mode="adl", model="m", endpoint="e", budgets={}),
        ApprovalAsked(run_id="r1", call_id="c1", tool="ask", arguments={}, is_pause=True),
        replied(),
    )
    at = [log.append(session, body).at for body in bodies]
    worked = (at[2] - at[0]).total_seconds()
    assert agent(log, session).seconds == pytest.approx(worked, abs=1e-6)


def test_the_time_at_work_leaves_out_pauses_and_interruptions(log: SessionLog) -> None:
    session = record_agent_audit(log)
    times = {event.seq: event.at for event in log.events(session)}

    def between(first: int, last: int) -> float:
        return (times[last] - times[first]).total_seconds()

    # From the start (seq 3) to the interruption (14), from the resumption (15) to the pause (19),
    # and from its end (20) to the end (29).
    expected = between(3, 14) + between(15, 19) + between(20, 29)
    assert agent(log, session).seconds == pytest.approx(expected, abs=1e-6)


def test_a_clock_that_is_set_back_takes_no_time_at_work_away(log: SessionLog) -> None:
    events = list(log.events(record_agent_audit(log)))
    late = events[8].at + timedelta(hours=1)
    before = [
        event.model_copy(update={"at": late}) if event.seq == 9 else event for event in events
    ]
    folding, spent = Fold(), 0.0
    for event in before:
        folding.apply(event)
        for run in folding.state().agents.values():
            assert run.seconds >= spent
            spent = run.seconds
    assert spent > 3600


def test_grades_are_edited_by_appending(state: SessionState) -> None:
    assert [one.body.grade_id for one in state.grades] == ["G1", "G2", "G3"]
    assert [one.body.grade_id for one in standing(state.grades)] == ["G2", "G3"]
    assert [one.body.score for one in history(state.grades, "G3")] == [2.0, 4.0]
    assert [one.body.score for one in history(state.grades, "G2")] == [None]
    assert history(state.grades, "G9") == ()


def test_the_seal_and_who_broke_it(state: SessionState) -> None:
    assert state.seal is not None
    assert state.seal.body.aliases == {"cake": "X"}
    assert [(one.actor.kind, one.body.reason) for one in state.unblinded] == [("human", "grading")]
    assert state.cells["adl o 5 1"].body.session == "s"


def test_live_states_equal_replayed_ones(log: SessionLog) -> None:
    events = list(log.events(record_agent_audit(log)))
    live = Fold()
    for count, event in enumerate(events, start=1):
        live.apply(event)
        assert live.state() == fold(events[:count])
        assert live.state().digest() == fold(events[:count]).digest()


def test_a_copy_goes_on_by_itself(log: SessionLog) -> None:
    events = list(log.events(record_agent_audit(log)))
    for cut in (5, 12, 20):
        first = Fold()
        for event in events[:cut]:
            first.apply(event)
        copy = first.copy()
        for event in events[cut:]:
            copy.apply(event)
        assert copy.state() == fold(events)
        assert first.state() == fold(events[:cut])


def test_what_was_under_way_is_interrupted_when_the_session_closes(log: SessionLog) -> None:
    session = log.start_session("x")
    log.append_many(session, agent_audit()[:6])
    assert agent(log, session).growing == "let"
    assert agent(log, session).status == "running"
    assert [one.body.text for one in agent(log, session).unread] == ["look at layer 3"]
    log.append(session, SessionClosed(outcome="stopped"))
    assert (agent(log, session).status, agent(log, session).growing) == ("interrupted", "")


def test_a_reply_that_is_tried_again_starts_anew(log: SessionLog) -> None:
    session = log.start_session("x")
    log.append_many(session, agent_audit()[:6])
    log.append(session, requested(2))
    log.append(session, AgentReplyGrew(exchange_id="x1", run_id="r1", attempt=2, text="so"))
    assert agent(log, session).growing == "so"
    log.append(session, replied())
    assert agent(log, session).growing == ""


def test_what_a_judge_is_asked_is_no_audit(log: SessionLog, session: str) -> None:
    log.append(session, replied())
    log.append(session, AgentControlled(run_id="nobody", control="paused"))
    state = fold(log.events(session))
    assert state.agents == {}
    assert len(state.timeline) == 3


@pytest.mark.parametrize("entry", agent_audit(), ids=lambda entry: entry.body.kind)
def test_every_event_has_a_line(entry) -> None:
    line = entry.body.describe()
    assert line
    assert "\n" not in line


def test_words_of_the_conversation_are_found(log: SessionLog) -> None:
    session = record_agent_audit(log)
    for words in ("marzipan", '"find out"', '"look at layer"', '"names the pastry"'):
        assert log.search(words, session_id=session), words
    assert log.verify().ok


def test_the_tables_of_agents_and_grades(log: SessionLog) -> None:
    record_agent_audit(log)
    with closing(sqlite3.connect(log.path)) as connection:
        connection.row_factory = sqlite3.Row
        (run,) = connection.execute("SELECT * FROM agent_runs").fetchall()
        assert (run["mode"], run["stopped_by"]) == ("adl", "report")
        assert run["report"] == "It is about marzipan."
        rows = connection.execute("SELECT * FROM agent_replies ORDER BY seq").fetchall()
        assert [row["cost"] for row in rows] == [0.5, None]
        grades = connection.execute("SELECT score, replaces FROM grades ORDER BY seq").fetchall()
        assert [tuple(row) for row in grades] == [(2.0, None), (None, None), (4.0, "G1")]


def test_messages_and_notes_of_others_do_not_disturb(log: SessionLog, session: str) -> None:
    log.append_many(session, agent_audit()[:3])
    log.append(session, NoteWritten(text="between"))
    log.append(session, AgentMessaged(run_id="r1", message_id="m2", text="hello"))
    log.append(
        session,
        AgentTold(run_id="r1", role="user", source="human", content="hello", message_id="m2"),
    )
    assert agent(log, session).unread == ()
    assert len(agent(log, session).messages) == 2
