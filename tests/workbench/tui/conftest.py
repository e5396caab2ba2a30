"""The app on the planted pair, and one pane alone over the sample."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.planted import PlantedPair
from tests.workbench.tui.sample import read_sample_array, read_sample_event, sample_state
from tests.workbench.tui.waiting import (
    screen_text,
    until_still,
    wait_for_apps_rather_than_for_the_clock,
)
from workbench.operations.pair import PairArguments
from workbench.store.state import SessionState
from workbench.tui.app import WorkbenchApp
from workbench.tui.key_table import BY_ID
from workbench.tui.startup import Startup
from workbench.tui.widgets.pane import Pane

wait_for_apps_rather_than_for_the_clock()

PLANTED = PairArguments(base="planted", adapter="planted-adapter")


def plant_models(monkeypatch: pytest.MonkeyPatch) -> list[PlantedPair]:
    """Have the loading of a pair give a planted one; returns those that were loaded."""
    module = ModuleType("adl.pair.nnsight.pair")
    made: list[PlantedPair] = []

    class NnsightPair:
        @staticmethod
        def load(_spec: Any, *_args: Any, **_settings: Any) -> PlantedPair:
            made.append(PlantedPair())
            return made[-1]

    module.NnsightPair = NnsightPair  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.pair", module)
    return made


@pytest.fixture
def planted_models(monkeypatch: pytest.MonkeyPatch) -> Callable[[], PlantedPair]:
    """Loading a pair gives the planted one; the value is what makes it, to be replaced."""
    made = plant_models(monkeypatch)
    return lambda: made[-1]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sessions are recorded; caches lie beside it and not in the person's own folders."""
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path))
    return tmp_path / "sessions.db"


@pytest.fixture
def workbench(database: Path, planted_models: Any) -> Iterator[Callable[..., WorkbenchApp]]:
    """Makes the app, on the planted pair unless told otherwise."""
    made: list[WorkbenchApp] = []

    def make(**startup: Any) -> WorkbenchApp:
        startup.setdefault("pair", None if "session" in startup else PLANTED)
        startup.setdefault("prepare", False)
        made.append(WorkbenchApp(Startup(database=database, **startup)))
        return made[-1]

    yield make
    # A test that ends in the middle of an audit leaves its threads to the tests that follow.
    for app in made:
        if app.opened is not None:
            app.opened.close({})


@pytest.fixture
def snap_compare(
    snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., bool]:
    """Compares pictures of apps that had drawn themselves before the first key, and are still.

    What has not been drawn by the time a dialog opens over it stays blank under the dialog. Cursors
    do not blink: a picture that took half a second would lack them. Where a picture differs, the
    failure tells the screen as text: the pictures themselves may lie on another machine.
    """
    for field in (Input, TextArea):
        monkeypatch.setattr(field.cursor_blink, "_default", False)

    def compare(
        app: App[Any],
        *,
        press: Iterable[str] = (),
        terminal_size: tuple[int, int] = (80, 24),
        run_before: Callable[[Pilot[Any]], Awaitable[None]] | None = None,
    ) -> bool:
        drawn: list[str] = []

        async def draw(pilot: Pilot[Any]) -> None:
            await until_still(pilot)
            if run_before is not None:
                await run_before(pilot)
            await pilot.press(*press)
            await until_still(pilot)
            drawn.extend(screen_text(app).split("\n"))

        if not snap_compare(app, (), terminal_size, draw):
            told = ["The picture differs from the recorded one. The screen:", *drawn]
            pytest.fail("\n".join(told), pytrace=False)
        return True

    return compare


def key_for(idea: str) -> str:
    """The key that stands for an idea in the table of keys, as it is pressed."""
    return BY_ID[idea].names[0]


class PaneApp(App[None]):
    """One pane alone, over a state; what it asks for is kept in ``asked``."""

    CSS_PATH = str(Path(sys.modules[WorkbenchApp.__module__].__file__ or "").with_name("app.tcss"))

    def __init__(self, pane: type[Pane], state: SessionState | None = None) -> None:
        super().__init__()
        self.pane = pane(read_array=read_sample_array)
        self.pane.read_event = read_sample_event
        self.first = sample_state() if state is None else state
        self.asked: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_mount(self) -> None:
        self.pane.update_state(self.first)
        self.pane.focus_pane()

    def on_pane_submit(self, message: Pane.Submit) -> None:
        self.asked.append(message)

    def on_pane_jump(self, message: Pane.Jump) -> None:
        self.asked.append(message)
