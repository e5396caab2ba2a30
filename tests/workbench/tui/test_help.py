"""Help says what a place is for, and its keys, the nearest first."""

from __future__ import annotations

import pytest

from tests.workbench.tui.listings import ScreenApp
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import screen_text, until
from workbench.tui.dialogs.pane_help import KeyHelp, PaneHelp
from workbench.tui.keys import own_bindings
from workbench.tui.screens.new_pair import empty_pair
from workbench.tui.screens.panes import PANES
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.menu import Menu


@pytest.mark.slow
async def test_each_pane_has_help_with_its_keys_before_those_of_the_screen(workbench):
    app = workbench()
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        for index, pane in enumerate(PANES):
            app.screen.action_pane(index)
            await pilot.pause()
            app.screen.action_help()
            await until(pilot, lambda: isinstance(app.screen, PaneHelp), "the help")
            said = app.screen._keys().plain
            assert "Anywhere" in said, pane
            if "In this pane" in said:
                assert said.index("In this pane") < said.index("Anywhere")
            anywhere = said[said.index("Anywhere") :]
            for text in ("Measure the difference and read it", "Leave; the session is kept"):
                assert text in anywhere
            assert pane.HELP.strip(), pane
            await pilot.press("escape")
            await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)


def test_keys_of_the_library_are_not_ours():
    keys = {binding.key for binding in own_bindings(Menu())}
    assert {"up", "down", "enter"} <= keys
    assert "shift+pageup" not in keys


@pytest.mark.parametrize("screen", [StartScreen, SessionsScreen])
async def test_each_screen_has_help(screen):
    settings = {"draft": empty_pair()} if screen is StartScreen else {}
    app = ScreenApp(screen, **settings)
    async with app.run_test(size=(100, 50)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, KeyHelp), "the help")
        await until(pilot, lambda: "Here" in screen_text(app), "the keys")
        await pilot.press("q")
        await until(pilot, lambda: type(app.screen) is screen, "the screen")


@pytest.mark.slow
def test_picture(snap_compare):
    async def look(pilot):
        await until(pilot, lambda: "confirmed 90%" in screen_text(pilot.app), "what it came to")
        await pilot.press("f1")
        await until(pilot, lambda: "In the list" in screen_text(pilot.app), "the help")

    assert snap_compare(ScreenApp(SessionsScreen), terminal_size=(80, 48), run_before=look)
