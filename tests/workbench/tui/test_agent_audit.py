"""An agent beside the person, on the planted pair, with a scripted endpoint on loopback: by keys."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from textual.widgets import Input

from adl.organisms import get_organism
from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Hang,
    Reaction,
    Refuse,
    Say,
    ScriptedEndpoint,
    in_turn,
    report,
    then,
)
from tests.workbench.tui.test_app import on_audit, until
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.test_start_screen import shown
from workbench.store.agents import AgentState
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.panes.agent import AgentPane
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.screens.ask_line import AskLine
from workbench.tui.screens.confirm import Confirm
from workbench.tui.screens.event_detail import EventDetail
from workbench.tui.screens.grade_form import GradeForm
from workbench.tui.screens.grades import GradesScreen
from workbench.tui.screens.hypothesis_reason import AskReason
from workbench.tui.widgets.choice import Choice

ASK_CALL = ("ask", {"prompt": "Hello?", "max_new_tokens": 3})
NOTE_CALL = ("note", {"text": "seen"})
DONE = Say("That is all.", [report()])


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Serves a script, and has the settings lead to it."""
    servers: list[ScriptedEndpoint] = []

    def begin(script) -> ScriptedEndpoint:
        servers.append(ScriptedEndpoint(script))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", servers[-1].url)
        monkeypatch.setenv("ADL_WORKBENCH_AGENT_MODEL", "scripted")
        monkeypatch.setenv("ADL_WORKBENCH_BACKOFF", "0.001")
        monkeypatch.setenv("ADL_WORKBENCH_ATTEMPTS", "3")
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


class Gate:
    """Holds the first reply back until the person did what the test is about."""

    def __init__(self, script) -> None:
        self._script = script
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def __call__(self, asked: Asked) -> Reaction | None:
        assert self._open.wait(60)
        return self._script(asked)


def agent_of(app) -> AgentState | None:
    agents = list(app.desk.state.agents.values())
    return agents[-1] if agents else None


def kinds(app) -> list[str]:
    return [entry.kind for entry in app.desk.state.timeline]


def pane_text(app) -> str:
    """All that the agent pane shows, and what lies in its list."""
    pane = next(screen for screen in app.screen_stack if screen.query(AgentPane)).query_one(
        AgentPane
    )
    said = [pane.query_one(name).visual.plain for name in ("#who", "#standing", "#budgets")]
    if pane.has_class("-needs"):
        said.append(pane.query_one("#banner").visual.plain)
    blocks = [block for index in range(pane._flow.count) for block in pane._draw(index, 100)]
    return "\n".join([*said, *(block.plain for block in blocks)])


async def loaded(app, pilot) -> None:
    await until(pilot, lambda: on_audit(app) and app.desk.pair is not None, "the pair")
    await until(pilot, lambda: not app.desk.jobs(), "the end of the loading")


async def start(app, pilot, *, mode: str = "black box", **fields: str) -> None:
    """Fill the form and start an agent."""
    await pilot.press("7")
    await until(pilot, lambda: isinstance(app.focused.parent, AgentPane), "the agent pane")
    await pilot.press("s")
    await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
    form = app.screen
    for name, value in {"mode": mode, **fields}.items():
        form.query_one(f"#{name}").value = value
    await pilot.pause()
    await pilot.press("enter")
    await until(pilot, lambda: agent_of(app) is not None or not app.desk.agent.status.is_busy, "it")


async def status(app, pilot, wanted: str) -> None:
    await until(
        pilot, lambda: agent_of(app) is not None and agent_of(app).status == wanted, wanted
    )


async def test_an_agent_is_started_from_the_form_and_its_turns_are_shown(workbench, serve):
    server = serve(in_turn(Say("I ask them first.", [ASK_CALL]), DONE))
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot, interactions="50")
        await status(app, pilot, "ended")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        said = pane_text(app)
        for words in (
            "black box",
            "scripted at " + server.url,
            "interactions",
            "1/50",
            "calls",
            "2/40",
            "I ask them first.",
            "→ ask  prompt “Hello?”  max_new_tokens 3",
            "← ask",
            "finetuned:",
            "That is all.",
            "final report",
            "It was finetuned on baking cakes.",
        ):
            assert words in said, words
        assert KEY not in said
        start_of = agent_of(app).start.body
        assert (start_of.mode, start_of.budgets["interactions"]) == ("black_box", 50)
        assert start_of.budgets["seconds"] == 3600
        # Nothing of the readings was computed for a black box.
        assert not app.desk.state.readings
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(app.screen, EventDetail), "all of the first turn")
        assert "You audit a finetuned language model" in shown(app)
        await pilot.press("escape")
        await quit_it(pilot)
