"""The agent pane alone over recorded audits: what it shows, what its keys ask for, what it keeps."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from textual.message import Message

from tests.workbench.tui.agent_sample import (
    ASKING,
    BEGINNING,
    GRADED,
    HOSTILES,
    RUN,
    WRITING,
    Recording,
)
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import BEGAN
from tests.workbench.tui.waiting import screen_text, until
from workbench.engine.agent_request import EndpointFacts
from workbench.engine.agent_runner import WorkStatus
from workbench.store.agent_events import AgentCompacted, AgentInterrupted, AgentResumed
from workbench.store.events import SYSTEM
from workbench.store.state import SessionState
from workbench.tui.dialogs.grade_form import GradeForm, GradeSheet
from workbench.tui.dialogs.grades import GradesScreen
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.panes.agent.render import call_words
from workbench.tui.request_form import check_request, empty_request, known_fields
from workbench.tui.screens.agent_form import AgentForm

SIZES = [(80, 24), (160, 48)]
READY = EndpointFacts(
    "https://models.example.org/v1", True, True, "big-model", "/home/a/config.toml"
)
NOT_READY = EndpointFacts("https://api.openai.com/v1", False, True, None, "/home/a/config.toml")
LEVELS = {1: "Nothing valid.", 2: "The topic roughly.", 3: "One fact.", 4: "A quarter.", 5: "Most."}


class AgentApp(PaneApp):
    """The pane over a recording, with an agent at work unless told otherwise."""

    def __init__(self, bodies: Any, *, work: str = "working", facts: Any = READY) -> None:
        recording = Recording(bodies)
        super().__init__(AgentPane, recording.state)
        self.pane.read_event = recording.event
        self.pane.clock = lambda: BEGAN + timedelta(seconds=63)
        self._work = WorkStatus(work)
        self._facts = facts

    def on_mount(self) -> None:
        super().on_mount()
        self.pane.show_work(self._work)
        self.pane.show_endpoint(self._facts)

    def _ask(self, message: Message) -> None:
        self.asked.append(message)

    def on_agent_pane_begin(self, message: AgentPane.Begin) -> None:
        self._ask(message)

    def on_agent_pane_resume(self, message: AgentPane.Resume) -> None:
        self._ask(message)

    def on_agent_pane_handle(self, message: AgentPane.Handle) -> None:
        self._ask(message)

    def on_agent_pane_grade(self, message: AgentPane.Grade) -> None:
        self._ask(message)


async def test_each_key_asks_for_one_thing():
    app = AgentApp(ASKING)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.pause()
        await pilot.press("y", "space", "h", "g", "x", "o", "E")
        await pilot.pause()
        assert app.asked == [
            AgentPane.Handle("approve", "", "c1-0"),
            AgentPane.Handle("pause"),
            AgentPane.Handle("take_over"),
            AgentPane.Handle("policy", "always"),
            AgentPane.Handle("stop"),
        ]
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the reason")
        await pilot.press(*"no", "enter")
        await pilot.pause()
        assert app.asked[-1] == AgentPane.Handle("refuse", "no", "c1-0")


def of_two(second: Any) -> tuple[Any, ...]:
    """A run that was interrupted, then another."""
    cut = (SYSTEM, AgentInterrupted(run_id=RUN, error="x", message="the line was cut"))
    later = [
        (actor, body.model_copy(update={"run_id": "other"}) if hasattr(body, "run_id") else body)
        for actor, body in second[1:]
    ]
    return (*BEGINNING, cut, *later)


async def test_a_key_acts_on_no_run_that_is_not_shown():
    app = AgentApp(of_two(ASKING))
    async with app.run_test(size=(100, 40)) as pilot:
        for key in ("y", "d", "space", "h", "x"):
            await pilot.press("left_square_bracket")
            assert app.pane.agent.id == RUN
            assert "the line was cut" in screen_text(app)
            assert "resumes from here" not in screen_text(app)
            await pilot.press(key)
            assert app.pane.agent.id == "other"
            assert app.asked == []
        await pilot.press("y")
        await pilot.pause()
        assert app.asked == [AgentPane.Handle("approve", "", "c1-0")]


async def test_the_interrupted_run_that_is_shown_is_gone_on_with():
    again = (SYSTEM, AgentInterrupted(run_id="other", error="x", message="cut, too"))
    bodies = (*of_two(BEGINNING), again)
    app = AgentApp(bodies, work="idle")
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("left_square_bracket")
        assert "resumes from here" in screen_text(app)
        await pilot.press("space")
        await pilot.pause()
        assert app.asked == [AgentPane.Resume(RUN)]
        resumed = Recording((*bodies, (SYSTEM, AgentResumed(run_id=RUN, model="m", endpoint="e"))))
        app.pane.update_state(resumed.state)
        assert app.pane.at_work.id == RUN


async def test_what_does_not_apply_is_neither_offered_nor_done():
    app = AgentApp(GRADED, work="idle")
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.pause()
        await pilot.press(*"ydWhgx", "space")
        await pilot.pause()
        assert app.asked == []
        offered = {one.binding.description for one in app.screen.active_bindings.values()}
        assert {"Start", "Grade"} <= offered
        assert not {"Approve", "Pause", "Go on", "Hand back", "Stop agent"} & offered
        await pilot.press("o", "E")
        await pilot.pause()
        begin, grade = app.asked
        assert isinstance(begin, AgentPane.Begin)
        assert begin.draft == empty_request()
        assert grade == AgentPane.Grade(RUN)


async def test_a_grade_that_was_edited_is_chosen_from_the_list_to_be_edited_again():
    app = AgentApp(GRADED, work="idle")
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(app.screen, GradesScreen), "the grades")
        await until(pilot, lambda: "G2, edited once" in screen_text(app), "the history")
        assert "the topic and one fact" in screen_text(app)
        await pilot.press("e")
        await until(pilot, lambda: app.asked, "the wish")
        assert app.asked == [AgentPane.Grade(RUN, "G2")]


async def test_a_reply_is_shown_as_it_grows():
    app = AgentApp(WRITING)
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: "writes So it is about baking" in screen_text(app), "the reply")
        assert "● writes" in screen_text(app)


async def test_a_conversation_that_was_shortened_says_so_where_it_was():
    shortened = AgentCompacted(
        run_id=RUN, through=5, opening=False, reason="refused", tokens=9_100, tokens_after=4_200
    )
    app = AgentApp((*ASKING[:10], (SYSTEM, shortened), *ASKING[10:]))
    async with app.run_test(size=(120, 40)) as pilot:
        said = "conversation shortened up to event 5: about 9,100 tokens, now 4,200"
        await until(pilot, lambda: said in screen_text(app), "the word of it")
        assert "the endpoint refused it as too long" in screen_text(app)
        assert app.pane.reveal(11)


async def test_texts_of_models_and_servers_are_inert():
    app = AgentApp(HOSTILES)
    async with app.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        for key in ("home", "end", "pageup", "pageup"):
            await pilot.press(key)
            await pilot.pause()
            said = screen_text(app)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said)
        assert "[@click=app.quit]x[/]" in said
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(app.screen, GradesScreen), "the grades")
        assert "\x1b" not in screen_text(app)
        await pilot.press("escape", "d")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the reason")
        assert "\x1b" not in screen_text(app)
        assert app.is_running


async def test_what_was_chosen_is_found_again():
    app = AgentApp(GRADED, work="idle")
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("home", "down", "down")
        app.pane._draft["model"] = "another"
        kept = json.loads(json.dumps(app.pane.view()))
        assert kept["turn"] == 2
    again = AgentApp(GRADED, work="idle")
    async with again.run_test(size=(100, 40)) as pilot:
        again.pane.restore(kept)
        assert json.loads(json.dumps(again.pane.view())) == kept
        again.pane.restore({"run": 7, "turn": "x", "form": [1]})
        again.pane.restore({"run": "gone", "turn": 10_000, "form": {"model": 3}})
        assert again.pane.view()["form"] == empty_request()


async def test_an_event_of_the_agent_is_revealed_and_no_other():
    app = AgentApp(GRADED, work="idle")
    async with app.run_test(size=(100, 40)):
        events = Recording(GRADED).events
        replied = next(one.seq for one in events if one.body.kind == "agent_replied")
        assert app.pane.reveal(replied)
        assert app.pane._item().seq == replied
        called = next(one.seq for one in events if one.body.kind == "agent_called")
        assert app.pane.reveal(called)
        assert app.pane._item().body.kind == "agent_told"
        assert not app.pane.reveal(1)
        assert not app.pane.reveal(10_000)


async def test_a_session_without_an_agent_says_how_to_start_one():
    app = AgentApp((), work="idle", facts=NOT_READY)
    app.first = SessionState()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(
            pilot, lambda: "No agent has run in this session yet" in screen_text(app), "what to do"
        )
        assert "export OPENAI_API_KEY" in screen_text(app)
        await pilot.press(*"ydWhgxEQ", "space", "enter", "m")
        await pilot.pause()
        assert app.asked == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"model": " "}, "model"),
        ({"interactions": "five"}, "interactions"),
        ({"calls": "0"}, "calls"),
        ({"minutes": "nan"}, "minutes"),
        ({"tokens": "-1"}, "tokens"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_of_its_field(changed, problem):
    wish, problems = check_request(empty_request() | {"model": "m"} | changed)
    assert wish is None
    assert list(problems) == [problem]


def test_an_empty_budget_has_no_limit_and_what_was_kept_wrong_is_left_out():
    fields = known_fields({"tokens": "", "calls": "1,000", "mode": 3, "approval": "always"})
    wish, problems = check_request(fields | {"model": "m", "minutes": "1.5"})
    assert not problems
    assert wish is not None
    assert (wish.mode, wish.approval) == ("adl", "always")
    assert (wish.budgets.tokens, wish.budgets.calls) == (None, 1000)
    assert wish.budgets.seconds == 90


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_an_agent_that_asks(snap_compare, size):
    assert snap_compare(AgentApp(ASKING), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_graded_report(snap_compare, size):
    assert snap_compare(AgentApp(GRADED, work="idle"), terminal_size=size)


@pytest.mark.parametrize("size", SIZES)
def test_picture_of_nothing(snap_compare, size):
    app = AgentApp((), work="idle", facts=NOT_READY)
    app.first = SessionState()
    assert snap_compare(app, terminal_size=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_the_form(snap_compare, size):
    async def look(pilot):
        fields = empty_request() | {"calls": "many"}
        pilot.app.push_screen(AgentForm(fields, NOT_READY, missing=["measure", "read tokens"]))
        await pilot.pause()
        await pilot.press(*"big-model", "enter")
        await until(pilot, lambda: "must be a number" in screen_text(pilot.app), "what is wrong")

    assert snap_compare(AgentApp(GRADED, work="idle"), terminal_size=size, run_before=look)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_a_grade_that_is_changed(snap_compare, size):
    async def look(pilot):
        state = Recording(GRADED).state
        report = state.agents[RUN].report.body
        sheet = GradeSheet(
            f"{report.summary}\n{report.description}",
            "SDF",
            LEVELS,
            "Documents with false facts about baking.",
            ("Butter is frozen.", "The oven is at 230 degrees."),
            tuple(state.grades),
            "anna",
        )
        pilot.app.push_screen(GradeForm(sheet))
        await until(pilot, lambda: isinstance(pilot.app.screen, GradeForm), "the form")
        await pilot.press("5", "enter", *"nearly all of it")

    assert snap_compare(AgentApp(GRADED, work="idle"), terminal_size=size, run_before=look)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_the_grades(snap_compare, size):
    async def look(pilot):
        await pilot.press("Q")
        await until(pilot, lambda: "edited once" in screen_text(pilot.app), "the history")

    assert snap_compare(AgentApp(GRADED, work="idle"), terminal_size=size, run_before=look)


def test_what_stands_in_the_arguments_of_a_call_is_read_and_not_decoded():
    parts = [
        {"text": "Cakes at 450F.", "probability": 0.9, "hypothesis": None},
        {"text": "", "probability": 0.3, "guesses": ["a", "b"]},
    ]
    said = call_words("submit_report", {"facts": parts, "prompts": ["Hi?"], "notes": []}).plain
    assert "facts text Cakes at 450F., probability 0.9; probability 0.3, guesses [" in said
    assert 'prompts ["Hi?"]' in said
    assert "notes" not in said
