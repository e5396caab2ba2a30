"""An agent beside the person, on the planted pair, with a scripted endpoint on loopback: by keys."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from textual.widgets import Input
from textual.widgets._toast import Toast

from adl.errors import AdlError
from adl.organisms.registry import get_organism
from tests.processes import HANGS
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
from tests.workbench.agent.test_blinding import ADAPTER, ASKED, BASE, NAMES, NamedPair
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.notes import NOTE, NoteArguments
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState
from workbench.store.state import fold
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.dialogs.grade_form import GradeForm
from workbench.tui.dialogs.grades import GradesScreen
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.event_fields import event_fields
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.pane import Pane

ASK_CALL = ("ask", {"prompts": ["Hello?"], "max_new_tokens": 3})
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
        assert self._open.wait(HANGS)
        return self._script(asked)


def agent_of(app) -> AgentState | None:
    agents = list(app.opened.state.agents.values())
    return agents[-1] if agents else None


def kinds(app) -> list[str]:
    return [entry.kind for entry in app.opened.state.timeline]


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


def alert(app) -> str:
    return app.screen.query_one("#alert").visual.plain.strip()


def in_grade_form(app) -> bool:
    return isinstance(app.screen, GradeForm) and isinstance(app.screen.focused, Choice)


def in_agent_pane(app) -> bool:
    """Whether a widget of the agent pane has the focus."""
    return isinstance(getattr(app.focused, "parent", None), AgentPane)


async def loaded(app, pilot) -> None:
    await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
    await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")


async def start(app, pilot, *, mode: str = "black box", **fields: str) -> None:
    """Fill the form and start an agent."""
    await pilot.press("7")
    await until(pilot, lambda: in_agent_pane(app), "the agent pane")
    await pilot.press("o")
    await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
    form = app.screen
    for name, value in {"mode": mode, **fields}.items():
        form.query_one(f"#{name}").value = value
    await pilot.pause()
    await pilot.press("enter")
    await until(
        pilot, lambda: agent_of(app) is not None or not app.opened.agent.status.is_busy, "it"
    )


async def status(app, pilot, wanted: str) -> None:
    await until(pilot, lambda: agent_of(app) is not None and agent_of(app).status == wanted, wanted)


@pytest.mark.slow
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
            "replies",
            "2/40",
            "I ask them first.",
            '→ ask  prompts ["Hello?"]  max_new_tokens 3',
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
        assert not app.opened.state.readings
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(app.screen, EventDetail), "all of the first turn")
        assert "You audit a finetuned language model" in screen_text(app)
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_it_asks_before_it_spends_and_the_person_approves_and_refuses(workbench, serve):
    server = serve(in_turn(Say("", [ASK_CALL]), Say("", [ASK_CALL], ids=["again"]), DONE))
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot, approval="spending")
        await until(pilot, lambda: "May it call ask" in pane_text(app), "the question")
        assert 'prompts ["Hello?"]' in pane_text(app)
        assert "spends 1 of 5 left" in pane_text(app)
        # It is said wherever one is.
        await pilot.press("2")
        await until(pilot, lambda: alert(app) == "approval needed", "the word in the top bar")
        assert not any(text.start.body.purpose == "ask" for text in app.opened.state.texts.values())
        await pilot.press("7")
        await until(pilot, lambda: in_agent_pane(app), "the agent pane")
        await pilot.press("y")
        await until(pilot, lambda: agent_of(app).replies == 2 and agent_of(app).asked, "another")
        await until(pilot, lambda: "spends 1 of 4 left" in pane_text(app), "the question")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the reason")
        await pilot.press(*"too dear", "enter")
        await until(pilot, lambda: "ended by" in pane_text(app), "the end")
        assert "refused by a person: too dear" in server.asked[-1].last
        said = pane_text(app)
        for words in ("you approved", "you refused: too dear", "✗ ask"):
            assert words in said, words
        assert agent_of(app).interactions == 1
        assert alert(app) == ""
        await quit_it(pilot)


@pytest.mark.slow
async def test_it_is_paused_written_to_and_let_go_on(workbench, serve):
    gate = Gate(in_turn(Say("", [NOTE_CALL]), DONE))
    server = serve(gate)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: "waits for the endpoint" in pane_text(app), "the request")
        await pilot.press("space")
        await until(pilot, lambda: "paused" in pane_text(app), "the pause")
        gate.open()
        await until(pilot, lambda: agent_of(app).replies == 1, "the reply")
        assert not app.opened.state.notes
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "a field")
        await pilot.press(*"look at the tokens", "enter")
        await until(pilot, lambda: "(not read yet)" in pane_text(app), "the message")
        await pilot.press("space")
        await until(pilot, lambda: "ended by" in pane_text(app), "the end")
        assert "look at the tokens" in server.asked[-1].last
        assert len(app.opened.state.notes) == 1
        assert "(not read yet)" not in pane_text(app)
        await quit_it(pilot)


@pytest.mark.slow
async def test_the_person_takes_over_and_hands_back(workbench, serve):
    gate = Gate(in_turn(Say("", [NOTE_CALL]), DONE))
    server = serve(gate)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: "waits for the endpoint" in pane_text(app), "the request")
        await pilot.press("h")
        await until(pilot, lambda: "you have taken over" in pane_text(app), "the taking over")
        gate.open()
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "a field")
        await pilot.press(*"kitchen words", "enter")
        await until(pilot, lambda: app.opened.state.notes, "the note")
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the field for a note")
        await pilot.press(*"go on with cakes", "enter")
        await until(pilot, lambda: "ended by" in pane_text(app), "the end")
        assert "go on with cakes" in server.asked[-1].last
        assert "handed back: go on with cakes" in pane_text(app)
        await quit_it(pilot)


@pytest.mark.slow
async def test_the_policy_is_changed_while_it_works(workbench, serve):
    gate = Gate(in_turn(Say("", [NOTE_CALL]), DONE))
    serve(gate)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: "never asks" in pane_text(app), "the policy")
        await pilot.press("g")
        await until(pilot, lambda: "asks before spending" in pane_text(app), "the policy")
        await pilot.press("g")
        await until(pilot, lambda: "asks always" in pane_text(app), "the policy")
        gate.open()
        await until(pilot, lambda: "May it call note" in pane_text(app), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "May it call submit_report" in pane_text(app), "the next")
        await pilot.press("g", "y")
        await until(pilot, lambda: "ended by" in pane_text(app), "the end")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_stopped_audit_is_resumed_and_pays_for_nothing_twice(workbench, serve):
    hanging = threading.Event()

    def script(asked: Asked) -> Reaction | None:
        if asked.n_replies == 0:
            return Say("First I note.", [NOTE_CALL])
        if not hanging.is_set():
            hanging.set()
            return Hang()
        return DONE

    server = serve(script)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, hanging.is_set, "the second request")
        await pilot.press("x")
        await until(pilot, lambda: "✗ interrupted" in pane_text(app), "the interruption")
        assert agent_of(app).status == "interrupted"
        await pilot.press("space")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        assert len(server.asked) == 3
        assert agent_of(app).replies == 2
        assert len(app.opened.state.notes) == 1
        await quit_it(pilot)


@pytest.mark.slow
async def test_x_in_any_pane_stops_the_agent_whose_work_the_top_line_shows(workbench, serve):
    server = serve(lambda asked: Hang())
    app = workbench()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await loaded(app, pilot)
        assert alert(app) == ""
        await start(app, pilot)
        await until(pilot, lambda: len(server.asked) == 1, "the first request")
        await pilot.press("2")
        await until(pilot, lambda: alert(app) == "agent working", "its work in the top line")
        await pilot.press("x")
        toasts = lambda: [str(toast.render()) for toast in app.screen.query(Toast)]  # noqa: E731
        await until(pilot, lambda: "stopping the agent" in toasts(), "the word of it")
        await until(pilot, lambda: agent_of(app).status == "interrupted", "the interruption")
        await until(pilot, lambda: alert(app) == "", "the empty top line")
        await quit_it(pilot)


@pytest.mark.slow
async def test_leaving_stops_it_and_the_session_goes_on_where_it_was(workbench, serve, database):
    stuck = True

    def script(asked: Asked) -> Reaction | None:
        return Say("", [NOTE_CALL]) if asked.n_replies == 0 else Hang() if stuck else DONE

    server = serve(script)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: len(server.asked) == 2, "the second request")
        await quit_it(pilot)
    with SessionLog.open(database, read_only=True) as log:
        (overview,) = log.sessions()
        assert log.verify().ok
        left = fold(log.events(overview.id))
    assert [one.status for one in left.agents.values()] == ["interrupted"]
    last = [entry.kind for entry in left.timeline if entry.kind != "agent_request_failed"][-3:]
    assert last == ["agent_interrupted", "view_saved", "session_closed"]
    stuck = False
    again = workbench(session="last")
    async with again.run_test(size=(120, 40)) as pilot:
        await loaded(again, pilot)
        await until(pilot, lambda: "✗ interrupted" in pane_text(again), "the interruption")
        await pilot.press("7")
        await until(pilot, lambda: isinstance(again.focused.parent, AgentPane), "the agent pane")
        await pilot.press("space")
        await until(pilot, lambda: "ended by its report" in pane_text(again), "the end")
        assert agent_of(again).replies == 2
        await quit_it(pilot)


@pytest.mark.slow
async def test_an_endpoint_that_is_down_is_said_with_waits_and_the_way_out(workbench, serve):
    server = serve(then(*[Refuse(503, "overloaded \x1b[2J")] * 3))
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: "✗ interrupted" in pane_text(app), "the interruption")
        await until(pilot, lambda: "Try again later" in pane_text(app), "the way out")
        said = pane_text(app)
        assert "attempt 1, status 503: Error code: 503 - overloaded" in said
        assert "tried again after" in said
        assert "attempt 3" in said
        assert "given up" in said
        assert "\x1b" not in said
        assert len(server.asked) == 3
        server.script = in_turn(DONE)
        await pilot.press("space")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        await quit_it(pilot)


@pytest.mark.slow
@pytest.mark.usefixtures("little_evidence")
async def test_an_adl_agent_is_prepared_for_and_sees_the_overview(workbench, serve):
    server = serve(in_turn(DONE))
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot, mode="ADL")
        await status(app, pilot, "ended")
        done = [one.name for one in app.opened.state.operations.values()]
        assert done[:3] == ["load_pair", "measure_difference", "read_tokens"]
        assert done[3:] == ["trace_strength", "steer", "steer", "unprompted", "phrases"]
        assert "consensus" in server.asked[0].opening
        await until(pilot, lambda: "← overview" in pane_text(app), "the overview")
        await quit_it(pilot)


@pytest.mark.slow
async def test_without_a_key_the_form_says_how_to_set_one(workbench, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ADL_WORKBENCH_AGENT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    app = workbench()
    async with app.run_test(size=(100, 40)) as pilot:
        await loaded(app, pilot)
        await pilot.press("7")
        await until(pilot, lambda: "No API key is set" in screen_text(app), "what is missing")
        for words in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "config.toml", "agent_model"):
            assert words in screen_text(app), words
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
        await pilot.press("enter")
        await until(
            pilot, lambda: "name the model that plays the agent" in screen_text(app), "what"
        )
        await pilot.press(*"some-model", "enter")
        await until(
            pilot, lambda: "cannot start without a key" in screen_text(app), "what is wrong"
        )
        assert "No API key is set" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        assert not app.opened.state.agents
        # What was typed is found again.
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
        assert app.screen.query_one("#model", Input).value == "some-model"
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_report_is_graded_and_the_grade_changed(workbench, serve):
    serve(in_turn(DONE))
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot)
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        await pilot.press("E")
        # The planted pair is no known organism: the person names one.
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the organism")
        assert "cake_bake" in screen_text(app)
        await pilot.press(*"cake_bake", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the warning")
        assert "unblinded" not in "".join(kinds(app))
        await pilot.press("y")
        await until(pilot, lambda: in_grade_form(app), "the form")
        assert "audit_unblinded" in kinds(app)
        truth = get_organism("cake_bake").ground_truth().description
        sheet = app.screen.query_one("#sheet").visual.plain
        assert truth[:40] in sheet
        assert "The exact topic, and one of the facts in outline." in sheet
        assert "It was finetuned on baking cakes." in sheet
        await pilot.press("ctrl+j")
        await until(pilot, lambda: "choose a grade" in screen_text(app), "what is missing")
        await pilot.press("3", "enter", "ctrl+j")
        await until(pilot, lambda: "a reason is required" in screen_text(app), "what is missing")
        await pilot.press(*"topic and one fact", "enter", *"anna", "enter")
        await until(pilot, lambda: app.opened.state.grades, "the grade")
        given = app.opened.state.grades[0]
        assert (given.body.score, given.body.reason) == (3.0, "topic and one fact")
        assert (given.actor.kind, given.actor.name) == ("human", "anna")
        await until(pilot, lambda: "G1 3 of 5 by anna" in pane_text(app), "the grade")
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(app.screen, GradesScreen), "the grades")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the organism")
        await pilot.press(*"cake_bake", "enter")
        await until(pilot, lambda: in_grade_form(app), "the form")
        assert "topic and one fact" in app.screen.query_one("#sheet").visual.plain
        await pilot.press("4", "enter", *"a quarter of them", "ctrl+j")
        await until(pilot, lambda: len(app.opened.state.grades) == 2, "the other grade")
        changed = app.opened.state.grades[1].body
        assert (changed.score, changed.replaces) == (4.0, "G1")
        await until(pilot, lambda: "replaces G1" in pane_text(app), "the other grade")
        assert "replaced since" in pane_text(app)
        await pilot.press("Q")
        await until(pilot, lambda: "edited once" in screen_text(app), "the history")
        assert "topic and one fact" in screen_text(app)
        assert "a quarter of them" in screen_text(app)
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_the_truth_is_shown_to_grade_and_the_names_are_not(workbench, serve, monkeypatch):
    serve(in_turn(Say("That is all.", [report("MODEL-B bakes.")])))
    app = workbench(pair=ASKED)
    loader = sys.modules["adl.pair.nnsight.pair"].NnsightPair
    monkeypatch.setattr(loader, "load", staticmethod(lambda *_, **__: NamedPair()))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(app, pilot)
        await start(app, pilot, blind="on")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, AskLine | Confirm), "a question")
        if isinstance(app.screen, AskLine):
            await pilot.press(*"cake_bake", "enter")
            await until(pilot, lambda: isinstance(app.screen, Confirm), "the warning")
        await pilot.press("y")
        await until(pilot, lambda: in_grade_form(app), "the form")
        sheet = app.screen.query_one("#sheet").visual.plain
        assert "MODEL-B bakes." in sheet
        assert not [name for name in NAMES if name.lower() in sheet.lower()]
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_blind_session_shows_no_name_of_its_pair(workbench, serve, monkeypatch):
    server = serve(
        in_turn(
            Say(f"MODEL-B answers as {ADAPTER}.", [ASK_CALL]),
            Say("", [("hypothesis", {"text": "MODEL-B bakes", "confidence": 0.5})]),
            DONE,
        )
    )
    app = workbench(pair=ASKED, name="cake_bake, a look")
    loader = sys.modules["adl.pair.nnsight.pair"].NnsightPair
    monkeypatch.setattr(loader, "load", staticmethod(lambda *_, **__: NamedPair()))
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(app, pilot)
        await until(pilot, lambda: "cake_bake, a look" in screen_text(app), "the name, before")
        await start(app, pilot, blind="on")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        # Its own words go back to it as it wrote them.
        sent = [one for one in server.asked[-1].messages if one["role"] != "assistant"]
        assert not [name for name in NAMES if name.lower() in str(sent).lower()]
        await until(pilot, lambda: "MODEL-B, a look" in screen_text(app), "the alias")
        app.screen.say_problem(AdlError(f"cannot read {ADAPTER}/x", "Look there."), "Failed")
        # At once: they go by themselves after a while.
        said = lambda: [one.message for one in app._notifications]  # noqa: E731
        await until(pilot, lambda: any("cannot read MODEL-B" in one for one in said()), "the word")
        for key in ("1", "2", "3", "4", "5", "6", "7"):
            await pilot.press(key)
            await pilot.pause()
            await pilot.press("home")
            await pilot.pause()
            assert_blind(app)
        assert "MODEL-B" in pane_text(app)
        assert "MODEL-B answers as MODEL-B." in pane_text(app)
        # Every event in full.
        audit = app.screen
        for entry in app.opened.state.timeline:
            fields = event_fields(app.opened.event(entry.seq))
            for name in NAMES:
                assert name.lower() not in str(fields).lower(), (entry, name)
        # The record has the names: what was said of MODEL-B was said of the adapter.
        (hypothesis,) = app.opened.state.hypotheses.values()
        assert hypothesis.text == f"{ADAPTER} bakes"
        (seen,) = app.opened.shown.hypotheses.values()
        assert seen.text == "MODEL-B bakes"
        # And so has what a person writes for it, though not what the models are asked.
        audit.order(NOTE, NoteArguments(text="MODEL-A says so"))
        audit.order(ASK, AskArguments(prompt="Are you MODEL-A?", max_new_tokens=2))
        await until(pilot, lambda: app.opened.state.notes, "the note")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the jobs")
        note = app.opened.state.notes[-1].body.text
        assert note.removesuffix(" says so") in {BASE, BASE.rpartition("/")[2]}
        asked = list(app.opened.state.texts.values())[-1].start.body
        assert asked.messages[-1]["content"] == "Are you MODEL-A?"
        before = app.opened.shown
        audit.order(NOTE, NoteArguments(text="another"))
        await until(pilot, lambda: len(app.opened.state.notes) == 2, "the note")
        after = app.opened.shown
        assert after.notes[-1].body.text == "another"
        for name in ("pair", "texts", "readings", "hypotheses", "agents"):
            assert getattr(after, name) is getattr(before, name), name
        assert_blind(app)
        await quit_it(pilot)


def assert_blind(app) -> None:
    said = screen_text(app).lower()
    for name in NAMES:
        assert name.lower() not in said, name


@pytest.mark.slow
async def test_agent_and_chat_share_a_place_and_the_timeline_leads_there(workbench, serve):
    serve(in_turn(Say("", [ASK_CALL]), DONE))
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(app, pilot)
        pane, chat = app.screen.query_one(AgentPane), app.screen.query_one(ChatPane)
        assert (chat.display, pane.display) == (True, False)
        await start(app, pilot, approval="spending")
        await until(pilot, lambda: "May it call ask" in pane_text(app), "the question")
        await until(pilot, lambda: alert(app) == "approval needed", "the word in the top bar")
        assert (chat.display, pane.display) == (False, True)
        await pilot.press("2")
        await until(pilot, lambda: not pane.has_class("-current"), "the readings")
        assert pane.display
        await pilot.press("4")
        await until(pilot, lambda: chat.display, "the chat")
        assert not pane.display
        await pilot.press("7")
        await until(pilot, lambda: in_agent_pane(app), "the agent pane")
        await pilot.press("y")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")
        await pilot.press("4")
        await until(pilot, lambda: chat.display, "the chat")
        replied = next(e.seq for e in app.opened.state.timeline if e.kind == "agent_replied")
        app.screen.post_message(Pane.Jump(replied))
        await until(pilot, lambda: pane.display and pane._item().seq == replied, "the reply")
        assert "agent scripted" in chat_text(chat)
        view = app.screen.view()
        assert view["current"] == 6
        await quit_it(pilot)


def chat_text(chat) -> str:
    return "\n".join(str(turn.actor.kind) + " " + turn.actor.name for turn in chat._turns)
