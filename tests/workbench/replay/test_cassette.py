from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from adl.errors import Stopped
from tests.planted import PlantedPair
from tests.workbench.agent.scripted import Asked, Reaction, Say, in_turn, report, serving
from tests.workbench.replay.audits import Audit, record_other_arguments
from workbench.agent import exchange, prompts
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, Surroundings, start_audit
from workbench.agent.supervision import Supervision
from workbench.blinding.sessions import HiddenNames, shown_state
from workbench.operations import OPERATIONS
from workbench.operations import hypotheses as hypothesising
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    AddHypothesisArguments,
    PassageArguments,
)
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.replay import recorder
from workbench.replay.branch import branch
from workbench.replay.cassette import Cassette, OffCassette
from workbench.replay.errors import ReplayError
from workbench.replay.recorder import RECORDER, replay_cassette
from workbench.store.agent_events import AgentReplyGrew, AgentStarted, AgentTold, AuditSealed
from workbench.store.events import HUMAN, SYSTEM, OperationStarted, PairLoaded, SessionRenamed
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold

MEASURING = MeasureArguments(n_texts=8, layers=("2",))
STEERING = SteerArguments(layer="2", n_prompts=1, max_new_tokens=3, alphas=(0.0, 0.4))


def never() -> bool:
    return False


def fresh(log: SessionLog, tmp_path: Path, pair: PlantedPair | None = None) -> Session:
    session = Session(log, log.start_session("fresh"), ArrayCache(tmp_path / "cache"), pair)
    if pair is not None:
        session.record(PairLoaded(pair=pair.provenance.as_dict()))
    return session


@pytest.fixture
def session(log: SessionLog, tmp_path: Path) -> Session:
    """A session on the planted pair with a measured difference."""
    session = fresh(log, tmp_path, PlantedPair())
    run(session, MEASURE, MEASURING, actor=HUMAN)
    return session


# --- operations -----------------------------------------------------------------------------


def test_operations_are_answered_without_a_model(
    log: SessionLog, session: Session, tmp_path: Path
) -> None:
    run(session, STEER, STEERING, actor=HUMAN)
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path)
    again.record(PairLoaded(pair=PlantedPair().provenance.as_dict()))
    cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    outcome = cassette.run(again, STEER, STEERING, HUMAN, never)
    assert again.pair is None
    assert [text.text for text in again.state.texts.values()] == [
        text.text for text in session.state.texts.values()
    ]
    assert list(again.state.differences) == list(session.state.differences)
    assert outcome.summary == list(session.state.operations.values())[-1].summary
    assert (cassette.answered, cassette.left) == (2, None)
    assert log.verify().ok


def test_a_tape_of_another_file_brings_its_arrays(
    log: SessionLog, session: Session, tmp_path: Path
) -> None:
    cassette = Cassette.of(log, session.id)
    with SessionLog.open(tmp_path / "other.db") as other:
        again = fresh(other, tmp_path)
        again.record(PairLoaded(pair=PlantedPair().provenance.as_dict()))
        cassette.run(again, MEASURE, MEASURING, HUMAN, never)
        found = again.difference(2)
        assert found is not None
        assert found[0] == next(iter(session.state.differences))
        assert other.verify().ok


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (STEERING.model_copy(update={"seed": 5}), "never with these arguments"),
        (AskArguments(prompt="Why?"), "no such operation in the record"),
    ],
)
def test_the_first_call_that_was_not_recorded_leaves_the_tape(
    log: SessionLog, session: Session, tmp_path: Path, asked: Any, reason: str
) -> None:
    run(session, STEER, STEERING, actor=HUMAN)
    last = session.state.seq
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path, PlantedPair())
    cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    cassette.run(again, STEER, STEERING, HUMAN, never)
    operation = ASK if isinstance(asked, AskArguments) else STEER
    with pytest.raises(OffCassette, match=f"{operation.name}.*{reason}"):
        cassette.run(again, operation, asked, HUMAN, never)
    assert cassette.left is not None
    assert cassette.left.wanted == f"operation {operation.name}"
    assert last - 3 <= cassette.left.after_seq < last  # the last finding that it gave
    assert list(again.state.operations.values())[-1].status == "stopped"
    # Once left it stays left, even for what was recorded.
    with pytest.raises(OffCassette, match=operation.name):
        cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    # What needs no model goes on.
    cassette.run(again, NOTE, NoteArguments(text="off"), HUMAN, never)


def test_a_recording_answers_once(log: SessionLog, session: Session, tmp_path: Path) -> None:
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path, PlantedPair())
    cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    with pytest.raises(OffCassette, match="asked for again"):
        cassette.run(again, MEASURE, MEASURING, HUMAN, never)


def test_what_was_measured_before_must_be_the_same(
    log: SessionLog, session: Session, tmp_path: Path
) -> None:
    run(session, STEER, STEERING, actor=HUMAN)
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path, PlantedPair())
    with pytest.raises(OffCassette, match="after other measurements"):
        cassette.run(again, STEER, STEERING, HUMAN, never)


def test_failures_and_stops_come_as_they_were(
    log: SessionLog, session: Session, tmp_path: Path
) -> None:
    wrong = STEERING.model_copy(update={"layer": "99"})
    with pytest.raises(Exception, match="99") as then:
        run(session, STEER, wrong, actor=HUMAN)
    with pytest.raises(Stopped):
        run(session, STEER, STEERING, actor=HUMAN, should_stop=lambda: True)
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path, PlantedPair())
    cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    with pytest.raises(Exception, match="99") as now:
        cassette.run(again, STEER, wrong, HUMAN, never)
    assert str(now.value) == str(then.value)
    with pytest.raises(Stopped) as stopped:
        cassette.run(again, STEER, STEERING, HUMAN, never)
    assert not isinstance(stopped.value, OffCassette)
    ends = [(one.status, one.error, one.message) for one in session.state.operations.values()]
    assert [(one.status, one.error, one.message) for one in again.state.operations.values()] == ends


def test_what_never_ended_cannot_answer(log: SessionLog, session: Session, tmp_path: Path) -> None:
    asked = OperationStarted(operation="steer", arguments=STEERING.model_dump(mode="json"))
    session.record(asked, operation_id="cut")
    cassette = Cassette.of(log, session.id)
    again = fresh(log, tmp_path, PlantedPair())
    cassette.run(again, MEASURE, MEASURING, HUMAN, never)
    with pytest.raises(OffCassette, match="never ended"):
        cassette.run(again, STEER, STEERING, HUMAN, never)


def test_a_taped_operation_says_what_the_real_one_says(log: SessionLog, session: Session) -> None:
    cassette = Cassette.of(log, session.id)
    recorded = cassette.operation(STEER)
    assert (recorded.description, recorded.arguments) == (STEER.description, STEER.arguments)
    assert cassette.operation(NOTE) is NOTE


# --- whole sessions -------------------------------------------------------------------------


def test_a_persons_audit_comes_out_as_it_was(log: SessionLog, recorded: Audit) -> None:
    log.append(recorded.session_id, SessionRenamed(name="renamed"))
    found = replay_cassette(log, recorded.session_id)
    assert found.is_same, (found.left, found.differs)
    assert found.answered == 4
    state, parent = fold(log.events(found.session)), fold(log.events(recorded.session_id))
    assert state.parent == (recorded.session_id, parent.seq)
    assert state.outcome == "completed"
    assert state.readings.keys() == parent.readings.keys()
    assert [(one.text, one.verdict) for one in state.ranked()] == [
        (one.text, one.verdict) for one in parent.ranked()
    ]
    # Evidence points to the same findings, wherever they stand now.
    for then, now in zip(parent.evidence.values(), state.evidence.values(), strict=True):
        (one,), (other,) = (
            [event.body for event in log.events(s, after_seq=place - 1) if event.seq == place]
            for s, place in (
                (recorded.session_id, then.body.of_seq),
                (found.session, now.body.of_seq),
            )
        )
        assert one == other
    assert json.loads(json.dumps(found.as_dict()))["same"] is True
    assert log.verify().ok


def test_a_replay_that_is_stopped_ends_as_stopped(log: SessionLog, recorded: Audit) -> None:
    with pytest.raises(Stopped):
        replay_cassette(log, recorded.session_id, should_stop=lambda: True)
    (new,) = (one for one in log.sessions() if one.id != recorded.session_id)
    assert fold(log.events(new.id)).outcome == "stopped"


def test_a_difference_that_other_code_makes_is_named(
    log: SessionLog, recorded: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hypothesising, "_next", lambda letter, taken: f"{letter}{len(list(taken)) + 7}"
    )
    found = replay_cassette(log, recorded.session_id)
    # The record's next call names a hypothesis that there is not, and so nothing is linked to it.
    assert {"operations", "hypotheses", "evidence"} <= set(found.differs)
    assert not {"readings", "texts", "differences"} & set(found.differs)


# --- agents ---------------------------------------------------------------------------------

PLAN = AuditPlan(model="scripted", budgets=Budgets(interactions=9))


@pytest.fixture
def read(session: Session) -> Session:
    reading = ReadArguments(layer="2", n_texts=64, top=10, readings=("logit_lens",))
    run(session, READ, reading, actor=HUMAN)
    return session


def script(session: Session) -> Any:
    seq = next(iter(session.state.readings.values())).seq
    mark = {"seq": seq, "excerpt": "cake", "hypothesis": "H1"}
    steer = {"prompts": ["Tell me."], "alphas": [0, 0.6], "max_new_tokens": 4, "layer": "2"}
    return in_turn(
        Say("Look.", [("show_reading", {"reading": "logit_lens", "layer": 2, "top": 5})]),
        Say("It bakes.", [("hypothesis", {"text": "cake baking", "confidence": 0.6})]),
        Say("So:", [("mark_evidence", mark)]),
        Say("Ask.", [("ask", {"prompts": ["What do you bake?"], "max_new_tokens": 4})]),
        Say("", [("steer", steer)]),
        Say("Wrong.", [("steer", {**steer, "layer": "99"})]),
        Say("Sure.", [("hypothesis", {"hypothesis": "H1", "confidence": 0.9})]),
        Say("Done.", [report()]),
    )


def audited(session: Session, plan: AuditPlan = PLAN, surroundings: Any = None) -> SessionState:
    with serving(script(session)) as server:
        endpoint = Endpoint(server.settings())
        try:
            start_audit(session, endpoint, plan, surroundings=surroundings)
        finally:
            endpoint.close()
    return session.state


@pytest.mark.slow
def test_an_agents_session_reproduces_its_report_exactly(log: SessionLog, read: Session) -> None:
    parent = audited(read)
    found = replay_cassette(log, read.id)
    assert found.is_same, (found.left, found.differs)
    assert found.told_otherwise == ()
    state = fold(log.events(found.session))
    (then,), (now,) = parent.agents.values(), state.agents.values()
    assert then.report is not None
    assert now.report is not None
    exclude = {"run_id"}
    assert now.report.body.model_dump(exclude=exclude) == then.report.body.model_dump(
        exclude=exclude
    )
    # The call with a layer that there is not costs nothing.
    assert (now.replies, now.tokens, now.interactions) == (then.replies, then.tokens, 2)
    assert now.start.body.endpoint == then.start.body.endpoint
    assert state.hypotheses["H1"].confidence == 0.9
    assert log.verify().ok


def test_evidence_of_an_agent_is_of_the_same_finding_wherever_that_stands(
    log: SessionLog, read: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that came in pieces has events that its cassette has not, so that all later ones move."""
    monkeypatch.setattr(exchange, "SECONDS_BETWEEN_PIECES", 0.0)
    ask = {"prompts": ["What do you bake?"], "temperature": 0, "max_new_tokens": 4}

    def script(asked: Asked) -> Reaction:
        texts = list(read.state.texts.values())
        replies = (
            Say(
                "It bakes.", [("hypothesis", {"text": "cake baking", "confidence": 0.6})], pieces=1
            ),
            Say("", [("ask", ask)]),
            *(
                Say("", [("evidence", {"of": f"T{place}", "excerpt": text.text})])
                for place, text in enumerate(texts, start=1)
            ),
            *[Say("", [("evidence", {"of": "R1", "excerpt": "cake", "hypothesis": "H1"})])],
            *[Say("", [report()])],
        )
        return replies[asked.n_replies]

    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        start_audit(read, endpoint, PLAN)
        endpoint.close()
    # A person's hypothesis from a lead names an event within an argument.
    text = list(read.state.texts.values())[-1]
    lead = PassageArguments(seq=text.start.seq, excerpt=text.text, label="an answer")
    run(read, ADD_HYPOTHESIS, AddHypothesisArguments(text="mine", lead=lead), actor=HUMAN)
    parent = read.state
    assert any(isinstance(event.body, AgentReplyGrew) for event in log.events(read.id))
    assert len(parent.evidence) == 4
    found = replay_cassette(log, read.id)
    assert found.is_same, (found.left, found.differs)
    state = fold(log.events(found.session))
    then, now = (
        [mark.body.of_seq for mark in session.evidence.values()] for session in (parent, state)
    )
    moved = [after - before for before, after in zip(then, now, strict=True)]
    # The texts, the list, which was read before, and the person's.
    assert moved == [1, 1, 0, 1]


def test_arguments_of_another_program_leave_the_tape(log: SessionLog, session: Session) -> None:
    record_other_arguments(session)
    left = replay_cassette(log, session.id).left
    assert left is not None
    assert left.wanted == "operation ask"
    assert left.reason == "its arguments are not ones that this program takes"


def test_a_bug_in_what_needs_no_model_is_recorded_and_the_tape_goes_on(
    log: SessionLog, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(session, NOTE, NoteArguments(text="first"), actor=HUMAN)

    def fail(*_: object) -> Any:
        raise RuntimeError("index out of range")

    monkeypatch.setitem(OPERATIONS, NOTE.name, replace(NOTE, work=fail))
    report = replay_cassette(log, session.id)
    assert report.left is None
    assert "operations" in report.differs
    assert log.find_session(report.session).outcome == "completed"


def test_another_prompt_is_noticed_and_the_tape_goes_on(
    log: SessionLog, read: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited(read)
    monkeypatch.setattr(prompts, "system_prompt", lambda _mode: "Be brief.")
    found = replay_cassette(log, read.id)
    assert found.is_same
    ((_, place),) = found.told_otherwise
    assert place == 1


def test_other_code_leaves_the_tape_at_the_first_call_without_an_answer(
    log: SessionLog, read: Session
) -> None:
    """The audit's loop as of a program that asks for longer answers than were recorded."""
    audited(read)

    def longer(session: Session, endpoint: Any, plan: AuditPlan, surroundings: Surroundings) -> Any:
        inner = surroundings.runner
        assert inner is not None

        def runner(operation, arguments, actor, should_stop):  # type: ignore[no-untyped-def]
            if operation.name == "ask":
                arguments = arguments.model_copy(update={"max_new_tokens": 5})
            return inner(operation, arguments, actor, should_stop)

        changed = Surroundings(runner, surroundings.supervisor, surroundings.should_stop)
        return start_audit(session, endpoint, plan, surroundings=changed)

    found = replay_cassette(log, read.id, audit=longer)
    assert found.left is not None
    assert found.left.wanted == "operation ask"
    assert "never with these arguments" in found.left.reason
    state = fold(log.events(found.session))
    assert state.outcome == "stopped"
    assert "the cassette was left after event" in state.closing_reason
    # Up to there it is as it was.
    assert state.hypotheses["H1"].text == "cake baking"
    assert not state.texts


@pytest.mark.slow
def test_an_audit_that_was_killed_ends_where_its_record_does(
    log: SessionLog, read: Session
) -> None:
    state = audited(read)
    told = [e.seq for e in log.events(read.id) if isinstance(e.body, AgentTold)]
    cut = branch(log, read.id, told[-2])
    found = replay_cassette(log, cut)
    assert found.left is not None
    assert found.left.wanted.startswith("reply ")
    assert fold(log.events(found.session)).hypotheses.keys() == state.hypotheses.keys()


def test_a_tape_that_is_left_before_the_seal_makes_a_blind_session(
    log: SessionLog, read: Session
) -> None:
    audited(read)
    told = [e.seq for e in log.events(read.id) if isinstance(e.body, AgentTold)]
    cut = branch(log, read.id, told[-2], "cake_bake")
    sealed = AuditSealed(
        organism=None, ground_truth_sha256=None, aliases={"cake_bake": "MODEL-B", "cake": "MODEL-B"}
    )
    log.append(cut, sealed, actor=SYSTEM)
    found = replay_cassette(log, cut)
    assert found.left is not None
    assert shown_state(log, found.session).name == "MODEL-B, from its cassette"


@pytest.mark.parametrize("broken", ["the first event", "the cassette"])
def test_a_tape_of_a_blind_session_is_blind_at_every_moment(
    log: SessionLog, read: Session, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    audited(read)
    others = {session.id for session in log.sessions()} - {read.id}
    sealed = AuditSealed(
        organism=None, ground_truth_sha256=None, aliases={"cake_bake": "MODEL-B", "cake": "MODEL-B"}
    )
    log.append(read.id, sealed, actor=SYSTEM)
    log.append(read.id, SessionRenamed(name="audit of cake_bake"), actor=SYSTEM)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    if broken == "the cassette":
        monkeypatch.setattr(recorder.Cassette, "of", interrupted)
    else:
        monkeypatch.setattr(recorder._Replaying, "go", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replay_cassette(log, read.id)
    hidden = HiddenNames.read(log)
    for session in log.sessions():
        if session.id in others:
            continue
        assert hidden.is_blind(session.id), session
        assert "cake" not in hidden.overview(session).name
        # None is left open.
        assert session.id == read.id or session.outcome is not None


@pytest.mark.slow
def test_people_beside_an_agent_do_again_what_they_did(log: SessionLog, read: Session) -> None:
    supervision = Supervision(read, ask=lambda asked: (asked.tool == "ask", "only questions"))
    met: list[str] = []

    def at_its_side(session: Session) -> None:
        """On the agent's thread, where a person's key would come from another one."""
        agent = next(iter(session.state.agents.values()))
        if agent.replies == 2 and not met:
            met.append("once")
            supervision.message("Look at the oven.")
            supervision.take_over()
            run(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="of a person"), actor=HUMAN)
            run(session, ASK, AskArguments(prompt="Mine?", max_new_tokens=3), actor=HUMAN)
            supervision.hand_back("I stated one.")

    class Watched:
        def hold(self, run_id: str, should_stop: Any) -> None:
            at_its_side(read)
            supervision.hold(run_id, should_stop)

        def decide(self, asked: Any, should_stop: Any) -> Any:
            return supervision.decide(asked, should_stop)

    plan = AuditPlan(model="scripted", approval="spending", budgets=Budgets(interactions=9))
    parent = audited(read, plan, Surroundings(supervisor=Watched()))
    assert met
    assert {one.actor.kind for one in parent.hypotheses.values()} == {"human", "agent"}
    found = replay_cassette(log, read.id)
    assert found.is_same, (found.left, found.differs)
    assert found.told_otherwise == ()
    state = fold(log.events(found.session))
    told = [
        one.body.content
        for one in next(iter(state.agents.values())).messages
        if isinstance(one.body, AgentTold)
    ]
    assert any("Look at the oven." in content for content in told)
    assert any("refused by a person: only questions" in content for content in told)
    assert any("I stated one." in content for content in told)


def test_two_agents_at_once_are_refused(log: SessionLog) -> None:
    session = log.start_session("two")
    for run_id in ("a", "b"):
        log.append(
            session,
            AgentStarted(run_id=run_id, mode="adl", model="m", endpoint="", budgets={}),
        )
    log.append(session, AgentTold(run_id="a", role="user", source="opening", content="x"))
    with pytest.raises(ReplayError, match=r"two agents at work at once \(a and b\)"):
        replay_cassette(log, session)


def test_the_replay_says_who_it_is(log: SessionLog, recorded: Audit) -> None:
    found = replay_cassette(log, recorded.session_id)
    first, *_, last = log.events(found.session)
    assert first.actor == last.actor == RECORDER
