"""The timeline lists every event and leads to it."""

from __future__ import annotations

import pytest

from tests.workbench.tui.conftest import PaneApp
from workbench.tui.panes.timeline import TimelinePane
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows


async def test_enter_asks_for_the_event_under_the_cursor():
    app = PaneApp(TimelinePane)
    async with app.run_test(size=(80, 24)) as pilot:
        rows = app.query_one(Rows)
        assert rows.count == len(app.first.timeline)
        assert rows.cursor == rows.count - 1
        await pilot.press("home", "down", "enter")
        assert [message.seq for message in app.asked if isinstance(message, Pane.Jump)] == [2]


async def test_the_cursor_stays_when_it_was_moved_from_the_end():
    app = PaneApp(TimelinePane)
    async with app.run_test(size=(80, 24)) as pilot:
        rows = app.query_one(Rows)
        await pilot.press("up", "up")
        before = rows.cursor
        rows.set_count(rows.count + 5, follow=True)
        assert rows.cursor == before


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture(snap_compare, size):
    assert snap_compare(PaneApp(TimelinePane), terminal_size=size)
