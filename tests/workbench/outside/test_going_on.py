"""An outside agent's audit that was left goes on by what it began with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.workbench.agent.conftest import fresh_session
from workbench.agent.budgets import Budgets
from workbench.agent.errors import AgentError
from workbench.agent.runners import direct
from workbench.blinding.aliases import OPEN
from workbench.cli.outside import McpArguments, going_on
from workbench.operations.running import Session
from workbench.outside.audit import (
    ADDRESS,
    OutsideAudit,
    OutsidePlan,
    OutsideSurroundings,
    unfinished,
)
from workbench.store.agent_events import AgentMode, AgentStarted
from workbench.store.events import SYSTEM
from workbench.store.log import SessionLog

BUDGETS = Budgets(interactions=2, calls=200, tokens=None, seconds=14_400.0)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with SessionLog.open(tmp_path / "sessions.db") as log:
        yield fresh_session(log, tmp_path)


def begun(session: Session, mode: AgentMode = "black_box") -> OutsideAudit:
    surroundings = OutsideSurroundings(direct(session), lambda _asked: (True, ""), lambda: False)
    plan = OutsidePlan(mode, BUDGETS, "never")
    return OutsideAudit.begin(session, "a client", plan, OPEN, surroundings)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"mode": "adl"}, ["--mode adl", "--mode black-box"]),
        ({"interactions": 50}, ["--interactions 50", "--interactions 2,"]),
        ({"seconds": 60.0, "calls": 200}, ["--seconds 60:", "--seconds 14400"]),
        ({"approval": "always"}, ["--approve always", "--approve never"]),
        ({"n_prompts": 3}, ["--mode, --n-prompts", "black-box"]),
    ],
)
def test_an_option_that_is_not_the_audits_is_refused_with_both_values(
    session: Session, given: dict[str, Any], named: list[str]
):
    audit = begun(session)
    with pytest.raises(typer.BadParameter) as refused:
        going_on(McpArguments(**given), audit.state)
    for words in named:
        assert words in refused.value.message


@pytest.mark.parametrize("given", [{}, {"mode": "black-box", "interactions": 2, "blind": True}])
def test_without_one_the_audit_keeps_its_mode(session: Session, given: dict[str, Any]):
    begun(session).leave("gone")
    audit = unfinished(session.state)
    assert audit is not None
    wanted = going_on(McpArguments(**given), audit)
    assert wanted.mode == "black-box"
    assert wanted.blind == given.get("blind", False)


def test_an_audit_is_not_gone_on_with_in_another_mode(session: Session):
    begun(session).leave("gone")
    with pytest.raises(AgentError, match="black_box, not adl"):
        begun(session, "adl")


def test_an_audit_by_older_rules_keeps_their_tools(session: Session):
    session.record(
        AgentStarted(
            run_id="r",
            mode="black_box",
            model="an older client",
            endpoint=ADDRESS,
            budgets=BUDGETS.as_dict(),
            settings={"prompts": "2", "blind": False},
        ),
        actor=SYSTEM,
    )
    audit = begun(session)
    assert audit.call("add_hypothesis", {"text": "It bakes."}).ok
    assert not audit.call("hypothesis", {"text": "It bakes."}).ok
