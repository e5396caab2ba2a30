"""Every key of the table, with what comes after it in the same read."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.screen import Screen
from textual.widgets import Input, TextArea

from adl.artifacts import ArrayCache
from tests.workbench.tui.conftest import PLANTED, plant_models
from tests.workbench.tui.test_key_order import as_bytes
from tests.workbench.tui.waiting import until
from workbench.locations import HOME_VARIABLE
from workbench.operations.beginning import begin_session
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    MARK,
    AddHypothesisArguments,
    MarkArguments,
)
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import run
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.tui import key_table
from workbench.tui.messages import ReplaySession
from workbench.tui.paste import PasteParser
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.opening import OpeningScreen
from workbench.tui.screens.panes import PANES
from workbench.tui.screens.replay import ReplayScreen
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.dialog import Dialog

ESCAPE = as_bytes("escape")
#: Characters that are no key anywhere, so that where no field opens they do nothing.
TYPED = "~'\\`~'\\~"
SIZE = (120, 40)


@dataclass(frozen=True)
class Surface:
    """Where keys are tried: the screen, how it is come to, and the pane on it."""

    screen: type[Screen[Any]]
    startup: dict[str, Any]
    keys: str = ""
    pane: int | None = None


_PANES = ("pair", "readings", "steering", "chat", "hypotheses", "timeline", "agent")
SURFACES = {
    **{
        name: Surface(AuditScreen, {"session": "last"}, pane=index)
        for index, name in enumerate(_PANES)
    },
    "audit": Surface(AuditScreen, {"session": "last"}, pane=1),
    "measures": Surface(MeasuresScreen, {"session": "last"}, as_bytes("f6")),
    "start": Surface(StartScreen, {"pair": None}),
    "sessions": Surface(SessionsScreen, {"pair": None}, as_bytes("ctrl+r")),
    "replay": Surface(ReplayScreen, {"pair": None, "replay": ReplaySession("last", 5)}),
}
#: Keys that leave for another screen by themselves: not tried here.
LEAVE = {"sessions", "demo", "replay", "escape", "close", "measures"}
#: Where Enter leads to another session, from which no key leads back.
ENTER_LEAVES = {("replay", "branch")}


def test_every_place_of_the_table_is_tried():
    assert [pane.__name__.removesuffix("Pane").lower() for pane in PANES] == list(_PANES)
    # A pair is loaded once a session; its screen has one key. Lists are on every surface.
    assert set(SURFACES) == set(key_table.PLACES) - {"loading", "list", "rows", "table"}


def test_what_is_typed_is_no_key():
    table = {name for key in key_table.TABLE for name in key.names}
    assert not table & {_character_to_key(character) for character in TYPED}


def tried(place: str) -> Iterator[tuple[str, str]]:
    """The ids and bytes of the keys of a place; on one screen also those of lists."""
    places = {place, *(("list", "rows", "table") if place == "audit" else ())}
    for key in key_table.TABLE:
        leaves = key.id in LEAVE or (key.id == "open" and place in {"start", "sessions"})
        if any(use.place in places for use in key.uses) and not leaves:
            yield key.id, as_bytes(key.names[0])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a session in which each pane has something to open."""
    home = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch, SessionLog.open(home / "sessions.db") as log:
        patch.setenv(HOME_VARIABLE, str(home))
        plant_models(patch)
        session = begin_session(log, ArrayCache(home / "arrays"), "audit", PLANTED, actor=HUMAN)
        for operation, arguments in (
            (MEASURE, MeasureArguments(layers=("2", "3"), n_texts=16)),
            (READ, ReadArguments(layer="3")),
            (STEER, SteerArguments(layer="3", n_prompts=1, max_new_tokens=4)),
            (ASK, AskArguments(prompt="What do you like?", max_new_tokens=4)),
            (ADD_HYPOTHESIS, AddHypothesisArguments(text="It is about cakes.")),
            (MARK, MarkArguments(seq=2, excerpt="cake")),
        ):
            run(session, operation, arguments, actor=HUMAN)
    return home


def read(app, *pieces: str) -> None:
    """Take in pieces of one read as the driver does: parsed on its thread, then sent to the app.

    Escape alone is a piece: the parser would wait for what may follow.
    """
    escape = [events.Key("escape", None)]
    found = [
        e for piece in pieces for e in (escape if piece == ESCAPE else PasteParser().feed(piece))
    ]
    thread = threading.Thread(target=lambda: list(map(app._driver.process_message, found)))
    thread.start()
    thread.join()


async def acted(app, pilot) -> None:
    """Wait until all keys that were sent have acted."""
    sent = asyncio.Event()
    # Behind the keys, by the way they go: each is a task of its own.
    app._driver.send_message(events.Callback(sent.set))
    await sent.wait()
    await until(pilot, lambda: app._settling is None and not app._unread, "the end of the keys")


def field_text(app) -> str | None:
    """The text of the field that has the focus, None if none has."""
    focused = app.focused
    if isinstance(focused, Input):
        return focused.value
    return focused.text if isinstance(focused, TextArea) else None


def dialogs(app) -> int:
    return sum(isinstance(screen, Dialog) for screen in app.screen_stack)


class Tried:
    """The app on a surface, to which it returns between the keys."""

    def __init__(self, app, pilot, place: str) -> None:
        self.app, self.pilot, self.surface = app, pilot, SURFACES[place]
        self.base = 0
        self.asked: list[str] = []
        "Operations that were asked for; none is run, or each key would wait for those before."

    async def arrive(self) -> None:
        app, pilot, surface = self.app, self.pilot, self.surface

        def loaded() -> bool:
            ready = app.opened is None or (app.opened.pair is not None and not app.opened.jobs())
            starts = isinstance(app.screen, AuditScreen | StartScreen | ReplayScreen)
            return starts and app.screen.is_mounted and ready

        await until(pilot, loaded, "the first screen")
        await pilot.pause()
        read(app, surface.keys)
        await until(pilot, lambda: type(app.screen) is surface.screen, "the screen")
        self.base = dialogs(app)
        if app.opened is not None:
            app.opened.submit = self._submit
        await self.come_back()

    def _submit(self, operation, _arguments, **_settings) -> SimpleNamespace:
        self.asked.append(operation.name)
        return SimpleNamespace(id=str(len(self.asked)))

    async def come_back(self) -> None:
        app, surface = self.app, self.surface
        for _ in range(8):
            # In the list of sessions, Enter opens one where a second key has closed the dialog.
            await until(
                self.pilot,
                lambda: not isinstance(app.screen, OpeningScreen) and app.screen.is_mounted,
                "the session",
            )
            is_there = type(app.screen) is surface.screen and dialogs(app) == self.base
            if is_there and field_text(app) is None:
                break
            is_below = isinstance(app.screen, AuditScreen | StartScreen) and not is_there
            read(app, surface.keys if is_below and surface.keys else ESCAPE)
            await acted(app, self.pilot)
        else:
            raise AssertionError(f"Escape does not lead back from {app.screen} with {app.focused}")
        if surface.pane is not None:
            app.screen.go_to(surface.pane)
            await self.pilot.pause()
            await acted(app, self.pilot)

    async def press(self, *pieces: str) -> None:
        read(self.app, *pieces)
        await acted(self.app, self.pilot)
        assert self.app._exception is None, pieces
        assert dialogs(self.app) <= self.base + 1, pieces


@pytest.fixture
def place_it(
    workbench: Callable[..., Any],
    database: Path,
    audited: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def make(place: str):
        # Keys that write files do so by whatever name was typed.
        monkeypatch.chdir(database.parent)
        shutil.copytree(audited, database.parent, dirs_exist_ok=True)
        return workbench(**SURFACES[place].startup)

    return make


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", SURFACES)
async def test_each_key_with_what_follows_it_in_one_read(place_it, place):
    app = place_it(place)
    lost, unasked = {}, {}
    async with app.run_test(size=SIZE) as pilot:
        at = Tried(app, pilot, place)
        await at.arrive()
        for idea, key in tried(place):
            at.asked.clear()
            await at.press(key + TYPED)
            written = field_text(app)
            opens = written is not None or dialogs(app) > at.base
            if written is not None and not written.endswith(TYPED):
                lost[idea] = written
            await at.come_back()
            # Twice before it has acted, and left again.
            await at.press(key, key, ESCAPE, ESCAPE, ESCAPE)
            await at.come_back()
            # Enter alone opens the field and then sends what was typed there before.
            if opens and len(at.asked) > (key == as_bytes("enter")):
                unasked[idea] = list(at.asked)
            # What Enter confirms in the same read is done once. On the start screen it opens a pair.
            if opens and place != "start" and (place, idea) not in ENTER_LEAVES:
                await at.press(key, key, "\r", key, ESCAPE, ESCAPE)
                await at.come_back()
                if len(at.asked) > 1:
                    unasked[idea] = list(at.asked)
    assert (lost, unasked) == ({}, {})
