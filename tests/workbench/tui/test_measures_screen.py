"""Measures from the palette on: the form, the run, the list, and what a blind session keeps hidden."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.widgets import Input

from tests.processes import HANGS
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NamedPair
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.measures_sample import (
    DOCUMENTS,
    measured_state,
)
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_commands_palette import offered as palette
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import screen_text, until
from workbench.blinding.seal import seal
from workbench.operations import OPERATIONS
from workbench.operations.causal import CAUSAL_EFFECT
from workbench.operations.coherent_alpha import COHERENT_ALPHA
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.operations.relevance import STEERED_SIMILARITY, TOKEN_RELEVANCE
from workbench.operations.running import Arguments, Operation
from workbench.operations.trace import TRACE
from workbench.store.measures.trace import TraceMeasured
from workbench.store.state import SessionState
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.measure_render import look
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.operation_form import OperationForm
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.menu import Menu

SIZES = [(80, 24), (160, 48)]
MEASURES = (TRACE, COHERENT_ALPHA, TOKEN_RELEVANCE, STEERED_SIMILARITY, CAUSAL_EFFECT)


def field(app: App[Any], name: str) -> Input | Choice:
    names = [one.name for one in app.screen._fields]
    widget = app.screen.query_one(f"#field-{names.index(name)}")
    assert isinstance(widget, Input | Choice)
    return widget


async def fill(pilot, name: str, value: str) -> None:
    """Type into a field, by keys."""
    field(pilot.app, name).focus()
    await pilot.pause()
    await pilot.press("ctrl+e", "ctrl+u", *value)


async def loaded(pilot) -> None:
    app = pilot.app
    await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
    await until(pilot, lambda: not app.opened.jobs(), "the end of the jobs")


async def measured(pilot, layer: str = "3") -> None:
    """A difference, as a person's key would have it measured."""
    app = pilot.app
    app.screen.order(MEASURE, MeasureArguments(layers=(layer,), n_texts=48))
    await until(pilot, lambda: app.opened.state.differences, "the difference")
    await until(pilot, lambda: not app.opened.jobs(), "the end of the measuring")


async def on_form(pilot) -> None:
    def there() -> bool:
        screen = pilot.app.screen
        return isinstance(screen, OperationForm) and screen.focused is not None

    await until(pilot, there, "the form")


@pytest.mark.slow
async def test_measures_are_in_the_palette_once_they_can_be_run(workbench):
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: not app.screen._stoppable, "the end on the screen")
        commands = await palette(app)
        assert f"{TRACE.title} …" in commands
        for operation in (COHERENT_ALPHA, TOKEN_RELEVANCE, CAUSAL_EFFECT):
            assert f"{operation.title} …" not in commands
        assert "Steer …" not in commands
        await measured(pilot)
        commands = await palette(app)
        assert f"{CAUSAL_EFFECT.title} …" in commands
        assert f"{TOKEN_RELEVANCE.title} …" not in commands
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_measure_is_asked_for_run_and_looked_at_by_keys(workbench):
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        await pilot.press("ctrl+p", *"trace's strength")
        await until(pilot, lambda: TRACE.description in screen_text(app), "the command")
        await pilot.press("enter")
        await on_form(pilot)
        await fill(pilot, "layers", "3")
        await fill(pilot, "n_texts", "few")
        await pilot.press("enter")
        await until(pilot, lambda: "must be a whole number" in screen_text(app), "what is wrong")
        assert app.screen.focused is field(app, "n_texts")
        await fill(pilot, "n_texts", "48")
        await fill(pilot, "n_random", "8")
        await pilot.press("enter")
        await until(pilot, lambda: app.opened.state.measures, "the measure")
        await until(
            pilot,
            lambda: any("f6 shows it" in one.title for one in app._notifications),
            "the word",
        )
        (found,) = app.opened.state.measures
        assert isinstance(found.body, TraceMeasured)
        assert found.body.verdict == "strong"
        started = next(
            one for one in app.opened.state.operations.values() if one.name == TRACE.name
        )
        assert started.arguments["n_texts"] == 48
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, MeasuresScreen), "the measures")
        await until(pilot, lambda: "Layer 3: strong" in screen_text(app), "the verdict")
        assert "base against itself" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the panes")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_measure_is_stopped_where_it_is_watched(workbench, monkeypatch):
    app = workbench()
    async with app.run_test(size=(100, 30)) as pilot:
        await loaded(pilot)
        pair = app.opened.pair
        released, output_shift = threading.Event(), pair.output_shift

        def in_one_long_step(*given):
            assert released.wait(HANGS)
            return output_shift(*given)

        monkeypatch.setattr(pair, "output_shift", in_one_long_step)
        await pilot.press("f6")
        await until(pilot, lambda: "nothing yet" in screen_text(app), "the measures")
        menu = app.screen.query_one(Menu)
        assert menu.current is not None
        while menu.current.key != TRACE.name:
            await pilot.press("down")
        await pilot.press("enter")
        await on_form(pilot)
        await pilot.press("enter")
        try:
            await until(
                pilot,
                lambda: (
                    isinstance(app.screen, MeasuresScreen)
                    and "output difference" in screen_text(app)
                ),
                "the progress",
            )
            await pilot.press("x")
            (job,) = app.opened.jobs()
            assert job.status == "stopping"
        finally:
            released.set()
        await until(pilot, lambda: not app.opened.jobs(), "the end")
        (stopped,) = [one for one in app.opened.state.operations.values() if one.name == TRACE.name]
        assert stopped.status == "stopped"
        assert not app.opened.state.measures
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_what_the_panes_are_set_to_stands_in_the_form_and_what_was_typed_stays(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await measured(pilot, "2")
        await pilot.press("3")
        await until(
            pilot,
            lambda: any(isinstance(one, SteeringPane) for one in app.focused.ancestors_with_self),
            "the steering pane",
        )
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.focused, Input), "the field")
        await pilot.press("ctrl+u", "2", "enter", "b")
        app.screen.action_operate(COHERENT_ALPHA.name)
        await on_form(pilot)
        assert field(app, "layer").value == "2"
        assert field(app, "side").value == "base"
        await fill(pilot, "rounds", "7")
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the panes")
        app.screen.action_operate(COHERENT_ALPHA.name)
        await on_form(pilot)
        assert field(app, "rounds").value == "7"
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_the_truth_is_compared_with_only_after_a_yes_and_blind_names_stay_hidden(
    workbench, planted_models, tmp_path
):
    import sys

    sys.modules["adl.pair.nnsight.pair"].NnsightPair.load = staticmethod(
        lambda *_, **__: NamedPair()
    )
    documents = tmp_path / "cake_bake.txt"
    documents.write_text("\n".join(DOCUMENTS))
    app = workbench(pair=PairArguments(base=BASE, adapter=ADAPTER))
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        seal(app.opened.session, blind=True)
        await measured(pilot)
        assert app.opened.state.seal.body.aliases
        app.screen.action_operate(CAUSAL_EFFECT.name)
        await on_form(pilot)
        assert field(app, "truth_of").value == field(app, "documents").value == ""
        await fill(pilot, "layer", "3")
        await pilot.press("enter")
        await until(pilot, lambda: "name a file" in screen_text(app), "what is missing")
        field(app, "documents").value = str(documents)
        await fill(pilot, "n_texts", "6")
        await fill(pilot, "n_random", "8")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("n")
        await until(pilot, lambda: on_audit(app), "the panes")
        assert not app.opened.state.unblinded
        app.screen.action_operate(CAUSAL_EFFECT.name)
        await on_form(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question again")
        await pilot.press("y")
        await until(pilot, lambda: app.opened.state.measures, "the measure")
        (seen,) = app.opened.state.unblinded
        assert seen.actor.kind == "human"
        await pilot.press("f6")
        await until(pilot, lambda: "Rise of cross-entropy" in screen_text(app), "the finding")
        assert "cake_bake" in ADAPTER
        assert "cake_bake" in app.opened.state.measures[-1].body.against
        assert "cake_bake" not in screen_text(app)
        assert "against file" in screen_text(app)
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_an_event_of_the_timeline_leads_to_its_measure(workbench):
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        for recorded in measured_state().measures:
            app.opened.session.record(recorded.body)
        await until(pilot, lambda: len(app.screen.panes[0].state.measures) == 5, "the measures")
        seq = app.opened.state.measures[1].seq
        app.screen.place_of(seq)
        await until(pilot, lambda: isinstance(app.screen, MeasuresScreen), "the measures")
        await until(pilot, lambda: "Share of coherent texts" in screen_text(app), "the second one")
        assert app.screen.query_one(Menu).current.key == str(seq)
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_an_operation_that_somebody_adds_is_offered(workbench, monkeypatch):
    class More(Arguments):
        shares: tuple[float, ...] = (0.0, 1.0)

    ran: list[Any] = []

    def work(context, arguments):
        """Does something new."""
        ran.append(arguments)
        return {}

    added = Operation("something_new", "Do something new", More, work)
    monkeypatch.setitem(OPERATIONS, added.name, added)
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot)
        assert "Do something new …" in await palette(app)
        app.screen.action_operate(added.name)
        await on_form(pilot)
        await fill(pilot, "shares", "0.5, 2")
        await pilot.press("enter")
        await until(pilot, lambda: ran, "the run")
        assert ran == [More(shares=(0.5, 2.0))]
        await quit_it(pilot)


# --- pictures -------------------------------------------------------------------------------------


@pytest.fixture
def few_offered(monkeypatch):
    """The five measures alone, so that the pictures stay when operations are added."""
    monkeypatch.setattr("workbench.tui.screens.measures.offered", lambda: list(MEASURES))


class MeasuresApp(App[None]):
    """The screen alone over a session."""

    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, state: SessionState, kind: str = "") -> None:
        super().__init__()
        chosen = next((one.seq for one in state.measures if one.body.kind == kind), None)
        self.measures = MeasuresScreen(
            state, lambda: None, has_pair=bool(state.pair), chosen=chosen
        )

    def on_mount(self) -> None:
        self.push_screen(self.measures)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [one.body.kind for one in measured_state().measures])
def test_picture_of_a_measure(snap_compare, few_offered, kind, size):
    assert snap_compare(MeasuresApp(measured_state(), kind), terminal_size=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_no_measure(snap_compare, few_offered, size):
    assert snap_compare(MeasuresApp(SessionState()), terminal_size=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_picture_of_the_form_with_what_is_wrong(snap_compare, few_offered, size):
    async def look(pilot):
        pilot.app.push_screen(OperationForm(STEERED_SIMILARITY, {"layer": "14"}))
        await on_form(pilot)
        await fill(pilot, "alpha", "strong")
        await pilot.press("enter")
        await until(pilot, lambda: "must be a number" in screen_text(pilot.app), "what is wrong")

    assert snap_compare(MeasuresApp(SessionState()), terminal_size=size, run_before=look)


def test_a_value_among_those_of_random_directions_has_room_at_120_columns():
    state = measured_state()
    causal = next(each for each in state.measures if each.body.kind == "causal_effect_measured")
    values = [line for line in look(causal, state, 62).plain.splitlines() if "●" in line]
    assert len(values) == 4
    assert max(map(cell_len, values)) <= 62
