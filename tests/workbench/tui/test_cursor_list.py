"""The base of lists with a cursor: bounds, pages, what is in view, what is reported, what is clicked."""

from __future__ import annotations

from itertools import accumulate

import pytest
from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Size

from workbench.tui import keys
from workbench.tui.panes.hypotheses.listing import HypothesisList
from workbench.tui.widgets.cursor_list import CursorList
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.text_columns import SampleList
from workbench.tui.widgets.token_table import TokenTable
from workbench.tui.widgets.virtual_list import Flow

LISTS = (Rows, TokenTable, HypothesisList, SampleList, Flow)
SIZE = (30, 10)


class Blocks(CursorList):
    """Blank items of given heights."""

    def set_heights(self, *heights: int) -> None:
        self._tops = [0, *accumulate(heights)]
        self.virtual_size = Size(10, self._tops[-1])
        self.cursor = self.cursor  # There may be fewer now.


class ListApp(App):
    """An app of one list, which notes what the list reports."""

    def __init__(self, shown: CursorList) -> None:
        super().__init__()
        self.list = shown
        self.moved: list[int] = []
        self.chosen: list[int] = []

    def compose(self):
        yield self.list

    def on_cursor_list_moved(self, event: CursorList.Moved) -> None:
        assert event.control is self.list
        self.moved.append(event.index)

    def on_cursor_list_chosen(self, event: CursorList.Chosen) -> None:
        assert event.control is self.list
        self.chosen.append(event.index)

    @property
    def in_view(self) -> range:
        top = self.list.scroll_offset.y
        return range(top, top + self.list.size.height)


def blocks() -> Blocks:
    shown = Blocks()
    shown.set_heights(*[1] * 50)
    return shown


@pytest.mark.parametrize("kind", LISTS)
def test_every_list_with_a_cursor_has_one_of_each(kind):
    """The cursor, its bounds, its report and the keys are the base's; only the drawing is not."""
    assert issubclass(kind, CursorList)
    for name in ("cursor", "validate_cursor", "action_to", "action_choose", "on_click", "Chosen"):
        assert name not in vars(kind), (kind, name)
    of_list = {binding.id for binding in Binding.make_bindings(keys.bindings("list"))}
    bound = {
        binding.id for found in kind._merge_bindings().key_to_bindings.values() for binding in found
    }
    assert of_list <= bound


async def test_the_cursor_stays_within_bounds_and_in_view():
    app = ListApp(blocks())
    async with app.run_test(size=SIZE) as pilot:
        app.list.focus()
        seen = []
        for key in ("up", "down", "pagedown", "end", "down", "pageup", "home", "pageup"):
            await pilot.press(key)
            seen.append(app.list.cursor)
            assert app.list.cursor in app.in_view
        assert seen == [0, 1, 10, 49, 49, 40, 0, 0]
        # Reported once when the list is made, then only if it moved.
        assert app.moved == [0, 1, 10, 49, 40, 0]


async def test_a_list_that_shrinks_takes_the_cursor_along():
    app = ListApp(blocks())
    async with app.run_test(size=SIZE) as pilot:
        app.list.go_to(30)
        app.list.set_heights(1, 1, 1)
        await pilot.pause()
        assert (app.list.cursor, app.moved) == (2, [0, 30, 2])
        app.list.set_heights()
        app.list.focus()
        await pilot.press("down", "pagedown", "end", "up", "home")
        app.list.action_choose()
        await pilot.pause()
        assert (app.list.count, app.list.cursor, app.chosen) == (0, 0, [])


async def test_a_key_brings_the_cursor_back_into_view():
    app = ListApp(blocks())
    async with app.run_test(size=SIZE) as pilot:
        app.list.focus()
        app.list.scroll_to_line(30)
        assert 0 not in app.in_view
        await pilot.press("home")
        assert (app.list.cursor, app.in_view.start, app.moved) == (0, 0, [0])


@pytest.mark.parametrize(("start", "index"), [(0, 2), (60, 2), (60, 1), (0, 3)])
async def test_of_an_item_taller_than_the_view_the_top_is_shown(start, index):
    heights = (3, 2, 25, 4, 40)
    shown = Blocks()
    shown.set_heights(*heights)
    app = ListApp(shown)
    async with app.run_test(size=SIZE):
        shown.scroll_to_line(start)
        shown.go_to(index)
        top = sum(heights[:index])
        assert top in app.in_view
        assert top + min(heights[index], SIZE[1]) - 1 in app.in_view


async def test_a_click_moves_the_cursor_and_a_second_one_opens():
    shown = Blocks()
    shown.set_heights(3, 2, 2)
    app = ListApp(shown)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.click(offset=(1, 4))
        assert (shown.cursor, app.chosen) == (1, [])
        await pilot.click(offset=(1, 7))
        assert shown.cursor == 1, "below the last item there is none"
        await pilot.click(offset=(1, 5), times=2)
        assert (shown.cursor, app.chosen, app.moved) == (2, [2], [0, 1, 2])


async def test_a_click_on_the_head_of_a_table_moves_the_column_alone():
    table = TokenTable(lambda row, column, width: Text(f"{row} {column}"))
    app = ListApp(table)
    async with app.run_test(size=(80, 10)) as pilot:
        table.set_table(40, 3)
        table.move_to(20, 0)
        await pilot.pause()
        app.moved.clear()
        await pilot.click(offset=(45, 0))
        assert (table.row, table.column, app.moved) == (20, 1, [20])
        await pilot.click(offset=(10, 1))
        top = round(table.scroll_y)
        assert (table.row, table.column) == (top, 0)
        await pilot.press("pagedown")
        assert table.row == top + 8


async def test_items_of_a_guessed_height_are_brought_into_view_by_the_same_keys():
    texts = [[Content("\n".join(["line"] * (index + 1)))] for index in range(20)]
    flow = Flow(lambda index, width: texts[index])
    app = ListApp(flow)
    async with app.run_test(size=SIZE) as pilot:
        flow.set_count(20)
        flow.focus()
        await pilot.press("end")
        assert flow.cursor == 19
        assert flow._tops[19] in app.in_view
        await pilot.press("home")
        assert (flow.cursor, app.in_view.start) == (0, 0)
