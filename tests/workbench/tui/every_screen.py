"""Every screen, pane and dialog of the workbench over recorded material, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from textual.app import App, ComposeResult
from textual.content import Content
from textual.screen import Screen

import workbench.tui
from adl.readings.registry import READINGS
from tests.workbench.tui.agent_sample import ASKING, GRADED, RUN, Recording
from tests.workbench.tui.chat_sample import many_kinds
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.experiments_sample import CLAIM, tested_state
from tests.workbench.tui.hypotheses_sample import gone_on_state
from tests.workbench.tui.leads_sample import SCANNED, WORDS
from tests.workbench.tui.listings import ENGINES, SHELF, TROUBLED, FixedLibrary
from tests.workbench.tui.measures_sample import measured_state
from tests.workbench.tui.recording import recording
from tests.workbench.tui.sample import (
    BEGAN,
    read_sample_array,
    read_sample_event,
    sample,
    sample_state,
)
from workbench.engine.agent_request import EndpointFacts
from workbench.engine.agent_runner import WorkStatus
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.jobs import Job
from workbench.operations.relevance import STEERED_SIMILARITY
from workbench.replay.compare import compare
from workbench.store.errors import StoreError
from workbench.store.events import HUMAN
from workbench.store.findings import Finding
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm, ConfirmByName
from workbench.tui.dialogs.engine_gone import EngineGone
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.dialogs.grade_form import GradeForm, GradeSheet
from workbench.tui.dialogs.grades import GradesScreen
from workbench.tui.dialogs.hypothesis_tests import (
    HypothesisTests,
    JudgeAnswers,
    waiting_answers,
)
from workbench.tui.dialogs.jump import JumpOverlay
from workbench.tui.dialogs.leads import LeadsDialog
from workbench.tui.dialogs.pane_help import KeyHelp, PaneHelp
from workbench.tui.dialogs.question_sets import QuestionSets
from workbench.tui.dialogs.queue import QueueDialog
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.dialogs.report import ReportScreen
from workbench.tui.dialogs.token_texts import TokenTexts
from workbench.tui.dialogs.two_lists import TwoLists
from workbench.tui.event_fields import event_fields
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.panes.chat.form import ChatForm
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.panes.chat.settings import ProbeSettings
from workbench.tui.panes.hypotheses.form import HypothesisForm
from workbench.tui.panes.hypotheses.history import HypothesisHistory
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.panes.hypotheses.render import history
from workbench.tui.panes.readings.form import ReadForm
from workbench.tui.panes.readings.index import Index
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.request_form import empty_request
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.screens.compare import CompareScreen
from workbench.tui.screens.coverage import CoverageScreen
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.new_pair import NewPairScreen, empty_pair
from workbench.tui.screens.opening import LoadingScreen, OpeningScreen
from workbench.tui.screens.operation_form import OperationForm
from workbench.tui.screens.panes import PANES
from workbench.tui.screens.replay import ReplayScreen
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.pane import Pane

END = len(sample()[0])
READY = EndpointFacts("https://models.example.org/v1", True, True, "big-model", "/home/a/c.toml")
NOT_READY = EndpointFacts("https://api.openai.com/v1", False, True, None, "/home/a/config.toml")
LONG = "A sentence that goes on beyond the end of every line of a small terminal, " * 4


class ShownApp(App[None]):
    """One screen alone."""

    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, make: Callable[[], Screen[Any]]) -> None:
        super().__init__()
        self._make = make

    def on_mount(self) -> None:
        self.push_screen(self._make())


class LivePane(Screen[None]):
    """One pane as a live session has it, where there is room for one at a time."""

    def __init__(self, kind: type[Pane], state: SessionState | None = None) -> None:
        super().__init__(classes="-single")
        self.pane = kind(read_array=read_sample_array)
        self.pane.read_event = read_sample_event
        # As on a narrow audit screen, which shows one pane at a time.
        self.pane.styles.border = ("none", "white")
        self.pane.styles.padding = 0
        self._state = sample_state() if state is None else state

    def compose(self) -> ComposeResult:
        yield self.pane
        yield KeyBar()

    def on_mount(self) -> None:
        if isinstance(self.pane, AgentPane) and self._state.agents:
            graded = Recording(GRADED if self._state.grades else ASKING)
            self.pane.read_event = graded.event
            self.pane.clock = lambda: BEGAN
            self.pane.show_work(WorkStatus("idle" if self._state.grades else "working"))
            self.pane.show_endpoint(READY)
        self.pane.update_state(self._state)
        self.pane.focus_pane()


class SomeJobs:
    """A job that runs and others that wait."""

    def jobs(self) -> list[Job]:
        steer = SteerArguments(prompts=("How was your day?", LONG), layer="3", alphas=(0.2, 0.4))
        asked = [
            Job(str(n), ASK, AskArguments(prompt=f"{n}: {LONG}"), HUMAN, status="waiting")
            for n in range(12)
        ]
        running = Job(
            "r", STEER, steer, HUMAN, status="running", stage="write texts", done=2, total=7
        )
        return [running, *asked]

    def move(self, _job: str, _step: int) -> bool:
        return False

    def stop(self, _job: str) -> None:
        pass


def _report() -> Any:
    raise StoreError("the report is not built here")


def _tokens() -> list[tuple[str, list[str]]]:
    lists = [taken.body for taken in sample_state().readings.values() if taken.body.chosen]
    return [(f"{body.reading}, {LONG}", [token.text for token in body.tokens]) for body in lists]


def _grade_sheet() -> GradeSheet:
    state = Recording(GRADED).state
    report = state.agents[RUN].report
    assert report is not None
    return GradeSheet(
        f"{report.body.summary}\n{report.body.description}",
        "SDF",
        dict.fromkeys(range(1, 6), LONG),
        "Documents with false facts about baking.",
        ("Butter is frozen.", "The oven is at 230 degrees."),
        tuple(state.grades),
        "anna",
    )


def _history() -> HypothesisHistory:
    state = gone_on_state()
    hypothesis = state.ranked()[0]
    return HypothesisHistory("History of H1", list(history(state, hypothesis)))


def _tests() -> HypothesisTests:
    return HypothesisTests("H1", tested_state(), recorded=False)


def _judging() -> JudgeAnswers:
    state = tested_state()
    waiting = waiting_answers(state.experiments["X2"], state)
    return JudgeAnswers("Does the answer show it? (X2)", CLAIM, waiting, lambda *_: None)


def _leads(finding: Finding) -> LeadsDialog:
    return LeadsDialog(Recorded(40, BEGAN, HUMAN, None, finding), sample_state())


def _replay() -> ReplayScreen:
    screen = ReplayScreen(recording(), seq=END)
    screen._follows = False
    return screen


def _help() -> PaneHelp:
    screen = LivePane(ReadingsPane)
    return PaneHelp(screen.pane, screen)


def _measures(chosen: int | None = None, **changes: Any) -> MeasuresScreen:
    screen = MeasuresScreen(measured_state(), lambda: None, has_pair=True, chosen=chosen)
    screen.show_jobs(SomeJobs().jobs() if changes else [])
    return screen


def _catalogue() -> Iterator[tuple[str, Callable[[], Screen[Any]]]]:
    for kind in PANES:
        yield f"{kind.__name__}, live", partial(LivePane, kind)
        yield f"{kind.__name__}, before a pair", partial(LivePane, kind, SessionState())
    yield "ReplayScreen", _replay
    yield "AgentPane that asks", lambda: LivePane(AgentPane, Recording(ASKING).state)
    yield "AgentPane, graded", lambda: LivePane(AgentPane, Recording(GRADED).state)
    yield "ChatPane, many kinds", lambda: LivePane(ChatPane, many_kinds().state)
    yield "HypothesesPane, gone on", lambda: LivePane(HypothesesPane, gone_on_state())
    listings = {"": SHELF, ", troubled": TROUBLED, ", engines": ENGINES}
    for name, listing in listings.items():
        library: Any = FixedLibrary(read=listing)
        yield (
            f"StartScreen{name}",
            partial(StartScreen, library, listing=listing, draft=empty_pair()),
        )
        yield f"SessionsScreen{name}", partial(SessionsScreen, library, listing=listing)
    yield "NewPairScreen", lambda: NewPairScreen(empty_pair())
    yield (
        "NewPairScreen, refused",
        lambda: NewPairScreen(empty_pair(), {"base": LONG, "finetuned": LONG, "whole": LONG}),
    )
    yield "OpeningScreen", lambda: OpeningScreen(LONG)
    yield "LoadingScreen", lambda: LoadingScreen(LONG)
    for measure in measured_state().measures[:2]:
        yield f"MeasuresScreen, {measure.body.kind}", partial(_measures, measure.seq)
    yield "MeasuresScreen at work", lambda: _measures(working=True)
    yield "LeadsDialog", lambda: _leads(SCANNED)
    yield "LeadsDialog, words", lambda: _leads(WORDS)
    yield "OperationForm", lambda: OperationForm(STEERED_SIMILARITY, {"layer": "14"})
    yield "AgentForm", lambda: AgentForm(dict(empty_request()), NOT_READY, missing=["measure"])
    yield "CompareScreen", lambda: CompareScreen(compare([sample_state(), gone_on_state()]))
    yield "CoverageScreen", lambda: CoverageScreen(sample_state())
    yield "AskLine", lambda: AskLine("Session database", "/srv/sessions.db", LONG)
    yield "AskReason", lambda: AskReason("Reject H1", Content(LONG))
    yield "Confirm", lambda: Confirm(Content(LONG), "Take the mark back", "Keep it")
    yield "ConfirmByName", lambda: ConfirmByName("20260314-planted", LONG, 1_200)
    yield "EngineGone", lambda: EngineGone(LONG)
    yield "EventDetail", lambda: EventDetail("Event 30", event_fields(sample()[0][29]))
    yield "GradeForm", lambda: GradeForm(_grade_sheet())
    yield "GradesScreen", lambda: GradesScreen(Recording(GRADED).state.grades)
    yield "JumpOverlay", lambda: JumpOverlay([pane.TITLE for pane in PANES])
    yield "KeyHelp", lambda: KeyHelp("adl-workbench", StartScreen.HELP, [])
    yield "PaneHelp", _help
    yield "QuestionSets", lambda: QuestionSets(Path("/nowhere"), ["How was your day?"])
    yield "QueueDialog", lambda: QueueDialog(SomeJobs())
    yield "ReportScreen", lambda: ReportScreen(_report, "report")
    yield "TokenTexts", lambda: TokenTexts(sample_state(), "e")
    yield "TwoLists", lambda: TwoLists(_tokens()[0], _tokens()[1:])
    yield (
        "ChatForm",
        lambda: ChatForm(
            ProbeSettings(), measured={"layer": LONG, "position": "0"}, begin="temperature"
        ),
    )
    yield (
        "HypothesisForm",
        lambda: HypothesisForm(
            "Revise H1",
            {"text": LONG, "reason": LONG},
            lambda _: None,
            lambda _: None,
            asks_why=True,
        ),
    )
    yield (
        "ReadForm",
        lambda: ReadForm(
            Index(sample_state().readings, sample_state().differences),
            "0.5",
            next(iter(READINGS)),
            24,
        ),
    )
    yield "HypothesisHistory", _history
    yield "HypothesisTests", _tests
    yield "JudgeAnswers", _judging


CATALOGUE: dict[str, Callable[[], Screen[Any]]] = dict(_catalogue())


def all_screens() -> set[str]:
    """The names of all screens and dialogs of the workbench, their bases left out."""
    for module in pkgutil.walk_packages(workbench.tui.__path__, "workbench.tui."):
        importlib.import_module(module.name)
    found, names = [Screen], set()
    while found:
        below = found.pop().__subclasses__()
        found += below
        names |= {
            kind.__name__
            for kind in below
            if kind.__module__.startswith("workbench.") and not kind.__subclasses__()
        }
    return names
