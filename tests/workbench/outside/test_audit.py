"""Calls of an outside agent that its client cancels, one after the other."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from adl.callbacks import ShouldStop
from adl.errors import Stopped
from tests.processes import HANGS
from tests.workbench.agent.conftest import fresh_session
from workbench.agent.budgets import Budgets
from workbench.blinding.aliases import OPEN
from workbench.operations.running import Arguments, Operation, Outcome
from workbench.outside.audit import OutsideAudit, OutsidePlan, OutsideSurroundings
from workbench.store.agent_events import AgentReplied
from workbench.store.events import Actor
from workbench.store.log import SessionLog


@pytest.fixture
def log(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as opened:
        yield opened


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
