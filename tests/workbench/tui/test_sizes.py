"""From 20x6 to 300x80: nothing raises, every list keeps a row, and the keys fit on their line."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.listings import ScreenApp
from tests.workbench.tui.test_replay import LENGTH, ReplayApp
from tests.workbench.tui.waiting import until
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.panes.hypotheses.listing import HypothesisList
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.screens.panes import PANES
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.key_bar import LEFT_OUT, KeyBar
from workbench.tui.widgets.menu import Menu
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.text_columns import SampleList
from workbench.tui.widgets.token_table import TokenTable
from workbench.tui.widgets.virtual_list import Flow

SIZES = [(20, 6), (40, 12), (80, 24), (300, 80)]
LISTS = (Rows, TokenTable, HypothesisList, SampleList, Flow, Menu)


def bar_of(app) -> str:
    return app.screen.query_one(KeyBar).render().plain.rstrip()


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_every_pane_at_every_size(size):
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.standing.position == LENGTH, "the event")
        await pilot.pause()
        for index, kind in enumerate(PANES):
            await pilot.press(str(index + 1))
            pane = app.replay.panes[index]
            await until(pilot, lambda held=pane: held.has_class("-current"), kind.__name__)
            await pilot.pause()
            lists = [widget for one in LISTS for widget in pane.query(one) if widget.display]
            seen = [
                widget
                for widget in lists
                if widget.region.intersection(app.screen.region).height > 0
                and widget.size.height > 0
            ]
            assert not lists or seen, (kind.__name__, [(w, w.region) for w in lists])
            bar = bar_of(app)
            assert cell_len(bar) <= size[0], bar
            assert app.screen.query_one(KeyBar).region.bottom <= size[1]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("screen", [StartScreen, SessionsScreen])
async def test_every_screen_at_every_size(screen, size):
    from workbench.tui.screens.new_pair import empty_pair

    settings = {} if screen is SessionsScreen else {"draft": empty_pair()}
    app = ScreenApp(screen, **settings)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.focused is not None, "the focus")
        await pilot.pause()
        menus = list(app.screen.query(Menu))
        assert all(menu.region.intersection(app.screen.region).height > 0 for menu in menus), [
            menu.region for menu in menus
        ]
        assert cell_len(bar_of(app)) <= size[0]


async def test_the_main_key_help_and_quit_are_always_there(workbench):
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        from tests.workbench.tui.test_app import on_audit

        await until(pilot, lambda: on_audit(app), "the audit screen")
        for index, main in enumerate(
            ("^o Jump", "r Reading", "s Steer", "⏎ Ask", "o Add", "f Kind", "o Start")
        ):
            app.screen.action_pane(index)
            await until(
                pilot,
                lambda at=index: on_audit(app) and app.screen._current == at,
                "the pane",
            )
            await until(
                pilot, lambda words=main: bar_of(app).startswith(words), f"{main} in {bar_of(app)}"
            )
            bar = bar_of(app)
            assert bar.endswith("f1 Help ^q Quit"), bar
            assert cell_len(bar) <= 80
            keys, kept = app.screen.query_one(KeyBar).entries
            whole = " ".join(f"{entry.shown} {entry.title}" for entry in (*keys, *kept))
            assert (LEFT_OUT in bar) == (cell_len(whole) > 80), whole
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")


@pytest.mark.parametrize("size", [(20, 6), (40, 12)], ids=str)
@pytest.mark.parametrize("pane", [SteeringPane, ReadingsPane, ChatPane])
async def test_what_is_set_leaves_room_for_the_list(pane, size):
    """Live, with the settings that a replay hides."""
    app = PaneApp(pane)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        (shown,) = [
            widget for kind in (TokenTable, SampleList, Flow) for widget in pane_lists(app, kind)
        ]
        assert shown.region.intersection(app.screen.region).height >= 1
        assert shown.size.height >= 1


def pane_lists(app, kind):
    return app.pane.query(kind)


async def test_a_table_of_one_line_shows_a_row_and_not_its_head():
    app = PaneApp(ReadingsPane)
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        table = app.query_one(TokenTable)
        assert table.size.height == 1
        assert table.render_line(0).text.split()[0] == "1"
