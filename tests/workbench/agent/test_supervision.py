"""A person beside the agent, from a thread of their own, as a screen has one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from adl.errors import Stopped
from tests.processes import HANGS
from tests.workbench.agent.scripted import Asked, Reaction, Say, ScriptedEndpoint, in_turn, report
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import AgentError
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.agent.short_ids import text_id
from workbench.agent.supervision import Supervision
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN, Event
from workbench.store.slices.agents import AgentState

ASK_CALL = ("ask", {"prompts": ["Hello?"], "max_new_tokens": 3})
NOTE_CALL = ("note", {"text": "seen"})
DONE = Say("", [report()])


@dataclass
class Stage:
    """An audit on a thread, and the person's hand on it."""

    session: Session
    person: Supervision
    server: ScriptedEndpoint
    stop: threading.Event
    ending: Future[AgentState]
    waiting: dict[str, threading.Event]

    def when(self, kind: str) -> None:
        """Wait until an event of this kind is committed."""
        assert self.waiting.setdefault(kind, threading.Event()).wait(HANGS), kind

    def start(self, work: Callable[[], AgentState]) -> None:
        def body() -> None:
            try:
                self.ending.set_result(work())
            except BaseException as exc:
                self.ending.set_exception(exc)

        threading.Thread(target=body, daemon=True).start()


@pytest.fixture
def stage(session: Session) -> Iterator[Callable[..., Stage]]:
    opened: list[tuple[ScriptedEndpoint, Endpoint, threading.Event]] = []

    def begin(script, approval="never", **options) -> Stage:
        server = ScriptedEndpoint(script)
        endpoint = Endpoint(server.settings())
        stop = threading.Event()
        opened.append((server, endpoint, stop))
        waiting: dict[str, threading.Event] = {}

        def arrived(event: Event) -> None:
            waiting.setdefault(event.body.kind, threading.Event()).set()

        session.log.subscribe(arrived)
        person = Supervision(session)
        made = Stage(session, person, server, stop, Future(), waiting)
        plan = AuditPlan(model="scripted", approval=approval, **options)
        surroundings = Surroundings(supervisor=person, should_stop=stop.is_set)
        made.start(lambda: start_audit(session, endpoint, plan, surroundings=surroundings))
        return made

    yield begin
    for server, endpoint, stop in opened:
        stop.set()
        server.close()
        endpoint.close()


def test_spending_calls_wait_for_approval_and_others_do_not(stage):
    on = stage(in_turn(Say("", [NOTE_CALL]), Say("", [ASK_CALL]), DONE), "spending")
    on.when("approval_asked")
    asked = on.person.agent.asked.body
    assert (asked.tool, asked.spends) == ("ask", 1)
    assert asked.arguments["prompts"] == ["Hello?"]
    assert len(on.session.state.notes) == 1
    assert not any(one.start.body.purpose == "ask" for one in on.session.state.texts.values())
    on.person.approve(asked.call_id, "go ahead")
    state = on.ending.result(HANGS)
    assert (state.stopped_by, state.interactions) == ("report", 1)
    assert state.answers[asked.call_id].reason == "go ahead"
    given = [e for e in on.session.log.events(on.session.id) if e.body.kind == "approval_given"]
    assert [event.actor for event in given] == [HUMAN]


def test_what_a_person_refuses_is_not_done_and_costs_nothing(stage):
    on = stage(in_turn(Say("", [ASK_CALL]), DONE), "spending")
    on.when("approval_asked")
    on.person.refuse(on.person.agent.asked.body.call_id, "too dear")
    state = on.ending.result(HANGS)
    assert (state.stopped_by, state.interactions) == ("report", 0)
    assert "refused by a person: too dear" in on.server.asked[-1].last
    assert not any(one.start.body.purpose == "ask" for one in on.session.state.texts.values())


def test_always_asks_about_every_call(stage):
    on = stage(in_turn(Say("", [NOTE_CALL]), DONE), "always")
    on.when("approval_asked")
    on.person.set_policy("never")
    on.person.approve(on.person.agent.asked.body.call_id)
    state = on.ending.result(HANGS)
    assert (state.stopped_by, state.policy) == ("report", "never")


def test_an_answer_to_what_was_not_asked_is_refused(stage):
    on = stage(in_turn(Say("", [ASK_CALL]), DONE), "spending")
    on.when("approval_asked")
    with pytest.raises(AgentError, match="does not ask about"):
        on.person.approve("another")
    on.person.approve(on.person.agent.asked.body.call_id)
    assert on.ending.result(HANGS).is_over
    assert on.person.agent is None
    with pytest.raises(AgentError, match="no agent is at work"):
        on.person.pause()


def paused_at_first(stage, **options) -> Stage:
    """An audit of one note that a person pauses while the first reply is on its way; it has come in."""
    script = in_turn(Say("", [NOTE_CALL]), DONE)
    asked_once, on_stage = threading.Event(), threading.Event()

    def paused(asked: Asked) -> Reaction | None:
        if asked.n_replies == 0 and not asked_once.is_set():
            asked_once.set()
            assert on_stage.wait(HANGS)
            here.person.pause("let me think")
        return script(asked)

    here = stage(paused, **options)
    on_stage.set()
    here.when("agent_replied")
    return here


def test_a_pause_lets_the_reply_come_in_and_waits_before_its_calls(stage):
    here = paused_at_first(stage)
    state = here.person.agent
    assert (state.status, state.replies) == ("paused", 1)
    assert not here.session.state.notes
    here.person.message("look at the tokens")
    assert [one.body.text for one in here.person.agent.unread] == ["look at the tokens"]
    here.person.go_on()
    ended = here.ending.result(HANGS)
    assert ended.stopped_by == "report"
    assert len(here.session.state.notes) == 1
    last = here.server.asked[-1]
    assert last.messages[-1]["role"] == "user"
    assert "look at the tokens" in last.last
    assert last.messages[-2]["role"] == "tool"
    assert ended.unread == ()


def test_the_agent_is_told_what_a_person_did_in_its_place(stage):
    here = paused_at_first(stage)
    here.person.take_over()
    assert here.person.agent.status == "taken_over"
    asked = AskArguments(prompt="What is best?", max_new_tokens=3)
    texts = run(here.session, ASK, asked, actor=HUMAN).summary["texts"]
    run(here.session, NOTE, NoteArguments(text="mine"), actor=HUMAN)
    here.person.hand_back("I asked them what is best")
    assert here.ending.result(HANGS).stopped_by == "report"
    told = here.server.asked[-1].last
    assert "I asked them what is best" in told
    assert "What is best?" in told
    assert f'"{text_id(here.session.state, texts["finetuned"][0])}"' in told
    assert "mine" in told
    # What the models said is looked up with a tool: here it would stand in a person's turn.
    said = here.session.state.texts[texts["finetuned"][0]].text
    assert said
    assert said not in told


def test_a_black_box_hears_of_questions_alone(stage):
    here = paused_at_first(stage, mode="black_box")
    here.person.take_over()
    run(here.session, ASK, AskArguments(prompt="plain", max_new_tokens=2), actor=HUMAN)
    steered = AskArguments(prompt="steered", alpha=0.6, layer="2", max_new_tokens=2)
    run(here.session, ASK, steered, actor=HUMAN)
    run(here.session, NOTE, NoteArguments(text="the tokens say cake"), actor=HUMAN)
    here.person.hand_back()
    assert here.ending.result(HANGS).is_over
    sent = here.server.sent.decode()
    assert "plain" in here.server.asked[-1].last
    assert '\\"prompt\\": \\"steered' not in sent
    assert "the tokens say cake" not in sent


def test_a_pause_can_be_stopped_and_the_audit_resumed(stage):
    here = paused_at_first(stage)
    here.stop.set()
    with pytest.raises(Stopped):
        here.ending.result(HANGS)
    assert here.person.agent.status == "interrupted"
    endpoint = Endpoint(here.server.settings())
    state = resume_audit(here.session, endpoint)
    endpoint.close()
    assert (state.stopped_by, state.replies) == ("report", 2)
    assert len(here.server.asked) == 2


def test_a_person_on_the_spot_is_asked_at_once(session: Session):
    asked = []

    def person(one):
        asked.append(one.tool)
        return one.tool != "ask", "no questions"

    with_server = ScriptedEndpoint(in_turn(Say("", [ASK_CALL]), DONE))
    endpoint = Endpoint(with_server.settings())
    plan = AuditPlan(model="scripted", approval="always")
    surroundings = Surroundings(supervisor=Supervision(session, ask=person))
    state = start_audit(session, endpoint, plan, surroundings=surroundings)
    endpoint.close()
    with_server.close()
    assert asked == ["ask", "submit_report"]
    assert state.stopped_by == "report"
    assert "no questions" in with_server.asked[-1].last
