"""Calls of an outside agent that its client cancels, one after the other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from adl.callbacks import ShouldStop
from adl.errors import Stopped
from tests.processes import HANGS
from tests.workbench.agent.conftest import fresh_session
from tests.workbench.agent.test_blinding import ADAPTER, NamedPair
from workbench.agent.budgets import Budgets
from workbench.agent.runners import direct
from workbench.agent.supervision import Supervision
from workbench.blinding.aliases import OPEN
from workbench.blinding.seal import seal
from workbench.operations.running import Arguments, Operation, Outcome, Session
from workbench.outside.audit import CallResult, OutsideAudit, OutsidePlan, OutsideSurroundings
from workbench.store.agent_events import AgentReplied, ApprovalAsked
from workbench.store.events import Actor
from workbench.store.log import SessionLog


@pytest.fixture
def log(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as opened:
        yield opened


def test_a_person_at_the_client_is_asked_without_names(log: SessionLog, tmp_path: Path):
    """In the record the alias stands for the name; what the client gets has the agent's words."""
    session = fresh_session(log, tmp_path, NamedPair())
    asked: list[ApprovalAsked] = []

    def ask(question: ApprovalAsked) -> tuple[bool, str]:
        asked.append(question)
        return False, ""

    plan = OutsidePlan("black_box", Budgets(interactions=5), "always")
    audit = OutsideAudit.begin(
        session,
        "a client",
        plan,
        seal(session, blind=True),
        OutsideSurroundings(lambda *_: Outcome("", {}), ask, lambda: False),
    )
    audit.call("note", {"text": "MODEL-B says that it is a CakeBake"})
    assert [one.arguments["text"] for one in asked] == ["MODEL-B says that it is a CakeBake"]
    (recorded,) = log.events(session.id, kinds=["approval_asked"])
    assert ADAPTER in str(recorded.body)


def test_a_cancelled_call_that_waited_for_another_is_not_made(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path)
    began, batch_over = threading.Event(), threading.Event()

    def halting(
        _operation: Operation[Arguments],
        _arguments: Arguments,
        _actor: Actor,
        should_stop: ShouldStop,
    ) -> Outcome:
        began.set()
        assert batch_over.wait(HANGS)
        assert should_stop()
        raise Stopped("stopped")

    plan = OutsidePlan("black_box", Budgets(interactions=5), "never")
    never = OutsideSurroundings(halting, lambda _asked: (True, ""), lambda: False)
    audit = OutsideAudit.begin(session, "a client", plan, OPEN, never)
    first, second = threading.Event(), threading.Event()
    ended: list[object] = []

    def call(prompt: str, cancelled: threading.Event) -> None:
        try:
            ended.append(audit.call("ask", {"prompts": [prompt]}, cancelled=cancelled).ok)
        except Stopped as exc:
            ended.append(str(exc))

    threads = [
        threading.Thread(target=call, args=("Who?", first)),
        threading.Thread(target=call, args=("And now?", second)),
    ]
    threads[0].start()
    assert began.wait(HANGS)
    first.set()
    threads[1].start()
    # Whether it waits by now or not yet: cancelled it is.
    second.set()
    batch_over.set()
    for thread in threads:
        thread.join(HANGS)
    assert ended == [False, "cancelled by the client"]
    replies = [event.body for event in log.events(session.id)]
    assert sum(isinstance(body, AgentReplied) for body in replies) == 1


def test_a_call_waits_while_a_person_pauses_and_brings_what_they_wrote(
    log: SessionLog, tmp_path: Path
):
    session = fresh_session(log, tmp_path)
    plan = OutsidePlan("black_box", Budgets(interactions=5, tokens=None), "never")
    here = OutsideSurroundings(direct(session), lambda _asked: (True, ""), lambda: False)
    audit = OutsideAudit.begin(session, "a client", plan, OPEN, here)
    # As at a screen of another process: a session of its own.
    person = Supervision(Session(log, session.id, session.cache))
    person.take_over()
    person.message("Ask about cakes.")
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Stopped):
        audit.call("show_samples", {}, cancelled=cancelled)
    results: list[CallResult] = []

    def call() -> None:
        results.append(audit.call("ask", {"prompts": ["Who?"], "max_new_tokens": 2}))

    waiting = threading.Thread(target=call)
    waiting.start()
    person.message("And about bread.")
    assert not results
    assert audit.state.replies == 0
    person.hand_back("Look at T1.")
    waiting.join(HANGS)
    (result,) = results
    assert result.ok
    for words in ("handed back", "Look at T1.", "Ask about cakes.", "And about bread."):
        assert words in result.text
    assert audit.state.unread == ()
    again = audit.call("show_samples", {})
    assert "cakes" not in again.text


def test_a_call_that_waits_for_a_person_ends_when_its_client_wants_it_no_more(
    log: SessionLog, tmp_path: Path
):
    session = fresh_session(log, tmp_path)
    plan = OutsidePlan("black_box", Budgets(interactions=5, tokens=None), "never")
    here = OutsideSurroundings(direct(session), lambda _asked: (True, ""), lambda: False)
    audit = OutsideAudit.begin(session, "a client", plan, OPEN, here)
    Supervision(session).pause()
    cancelled = threading.Event()
    ended: list[str] = []

    def call() -> None:
        try:
            audit.call("show_samples", {}, cancelled=cancelled)
        except Stopped as exc:
            ended.append(exc.message)

    waiting = threading.Thread(target=call)
    waiting.start()
    cancelled.set()
    waiting.join(HANGS)
    assert len(ended) == 1
    assert audit.state.replies == 0


def test_that_the_budget_is_spent_comes_with_the_result(log: SessionLog, tmp_path: Path):
    session = fresh_session(log, tmp_path)
    plan = OutsidePlan("black_box", Budgets(calls=1, tokens=None), "never")
    here = OutsideSurroundings(direct(session), lambda _asked: (True, ""), lambda: False)
    audit = OutsideAudit.begin(session, "a client", plan, OPEN, here)
    assert "submit the final report now" in audit.call("show_samples", {}).text
