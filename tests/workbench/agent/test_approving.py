"""`agent run --approve`: a person at a real terminal says yes and no."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench.agent.scripted import KEY, Say, in_turn, report, serving
from tests.workbench.tui.terminal import Terminal
from workbench.store.agent_events import ApprovalGiven
from workbench.store.events import Event
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState
from workbench.store.state import fold

SCRIPT = in_turn(
    Say("", [("note", {"text": "free of charge"})]),
    Say("", [("ask", {"prompts": ["What do you bake?"], "max_new_tokens": 3})]),
    Say("", [("ask", {"prompts": ["And now?"], "max_new_tokens": 3})], ids=["again"]),
    Say("", [report("It bakes.")]),
)
RUN = ["agent", "run", "--demo", "--mode", "black-box", "--model", "m", "--approve"]


def begun(url: str, home: Path, policy: str) -> Terminal:
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}
    return Terminal([*RUN, policy], home=home, size=(160, 48), environment=environment, forked=True)


def recorded(home: Path) -> tuple[AgentState, list[Event]]:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        assert log.verify().ok
        events = list(log.events(log.find_session("last").id))
    (agent,) = fold(events).agents.values()
    return agent, [event for event in events if isinstance(event.body, ApprovalGiven)]


@pytest.mark.slow
def test_each_spending_call_is_asked_about_and_what_is_answered_counts(tmp_path: Path):
    with serving(SCRIPT) as server, begun(server.url, tmp_path, "spending") as terminal:
        terminal.shows("wants to call ask (1 model interactions)")
        terminal.shows("What do you bake?")
        terminal.shows("Let it? [Y/n]:")
        terminal.press("n", "enter")
        terminal.shows("Why not (may be empty):")
        terminal.press("too early", "enter")
        terminal.shows("And now?")
        terminal.wait(lambda: terminal.text.count("Let it?") == 2, "it asked only once")
        terminal.press("enter")
        assert terminal.ends(60) == 0, terminal.text
        assert "It bakes." in terminal.text
    agent, answers = recorded(tmp_path)
    assert [(one.body.approved, one.body.reason) for one in answers] == [
        (False, "too early"),
        (True, ""),
    ]
    assert {one.actor.kind for one in answers} == {"human"}
    assert (agent.stopped_by, agent.interactions) == ("report", 1)
    assert "refused by a person: too early" in server.asked[2].last
    assert KEY.encode() not in terminal.written


@pytest.mark.slow
@pytest.mark.parametrize("keys", [("ctrl+d",), ("ctrl+c", "ctrl+c")])
def test_a_question_that_is_left_stops_the_audit_and_stands_when_it_is_resumed(
    tmp_path: Path, keys: tuple[str, ...]
):
    with serving(SCRIPT) as server:
        with begun(server.url, tmp_path, "always") as terminal:
            terminal.shows("wants to call note")
            terminal.shows("Let it? [Y/n]:")
            for key in keys:
                terminal.press(key)
                terminal.settle()
            assert terminal.ends(60) == 130, terminal.text
            assert "Traceback" not in terminal.text
        agent, answers = recorded(tmp_path)
        assert (agent.status, answers) == ("interrupted", [])
        environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
        with Terminal(
            ["agent", "resume"], home=tmp_path, environment=environment, forked=True
        ) as terminal:
            for name in ("note", "ask", "ask", "submit_report"):
                terminal.shows(f"wants to call {name}")
                terminal.shows("Let it? [Y/n]:")
                terminal.settle()
                terminal.press("enter")
                terminal.settle()
            assert terminal.ends(60) == 0, terminal.text
    agent, answers = recorded(tmp_path)
    assert agent.stopped_by == "report"
    assert len(answers) == 4
    # The reply that was there was not asked for again.
    assert len(server.asked) == 4
