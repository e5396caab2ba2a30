"""The base of every list with a cursor: where it is, where it may go, and what is in view."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView

from workbench.tui import keys


class CursorList(ScrollView, can_focus=True):
    """Items by number, one below the other, with a cursor on one of them.

    A subclass draws them and keeps ``_tops``, the first line of each item and one past the last line
    of all. It has one more entry than there are items.
    """

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("list")
    DEFAULT_CSS = """
    CursorList { scrollbar-size-vertical: 1; overflow-x: hidden; min-height: 1; }
    """

    cursor: reactive[int] = reactive(0)

    @dataclass
    class Moved(Message):
        """The cursor moved to another item; posted once for the first when the list is mounted."""

        list: CursorList
        index: int

        @property
        def control(self) -> CursorList:
            """The list, for the selectors of ``@on``."""
            return self.list

    @dataclass
    class Chosen(Message):
        """An item was opened, by Enter or by a second click."""

        list: CursorList
        index: int

        @property
        def control(self) -> CursorList:
            """The list, for the selectors of ``@on``."""
            return self.list

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._tops: Sequence[int] = (0,)

    # --- where things are -------------------------------------------------------------------

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self._tops) - 1

    @property
    def page_size(self) -> int:
        """Items that Page up and Page down pass."""
        return max(1, self.size.height - 1)

    def item_at(self, y: int) -> int | None:
        """Return the item on line ``y`` of the view, or None below the last."""
        index = bisect_right(self._tops, y + self.scroll_offset.y) - 1
        return index if 0 <= index < len(self._tops) - 1 else None

    # --- moving -----------------------------------------------------------------------------

    def validate_cursor(self, index: int) -> int:
        """Keep the cursor on an item."""
        return max(0, min(index, self.count - 1))

    def watch_cursor(self) -> None:
        """Follow the cursor, and report it."""
        self.scroll_to_cursor()
        self.report_cursor()

    def report_cursor(self) -> None:
        """Draw the cursor where it is now, and post `Moved`."""
        self.refresh()
        self.post_message(self.Moved(self, self.cursor))

    def go_to(self, index: int) -> None:
        """Put the cursor on an item, and the item in view even if the cursor was on it."""
        self.cursor = index
        self.scroll_to_cursor()

    def scroll_to_cursor(self) -> None:
        """Scroll as little as shows the item under the cursor, or as much of its top as fits."""
        if self.cursor < len(self._tops) - 1:
            top, end = self._tops[self.cursor], self._tops[self.cursor + 1]
            height = max(1, min(end - top, self.scrollable_content_region.height))
            region = Region(0, top, 1, height)
            self.scroll_to_region(region, animate=False, force=True, immediate=True)

    def scroll_to_line(self, line: int) -> None:
        """Scroll at once so that ``line`` is the first in view."""
        self.scroll_to(y=line, animate=False, force=True, immediate=True)

    # --- keys and mouse ---------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Move the cursor by so many items."""
        self.go_to(self.cursor + step)

    def action_page(self, step: int) -> None:
        """Move the cursor by so many screenfuls."""
        self.go_to(self.cursor + step * self.page_size)

    def action_to(self, index: int) -> None:
        """Move the cursor to an item; -1 is the last."""
        self.go_to(self.count - 1 if index < 0 else index)

    def action_choose(self) -> None:
        """Open the item under the cursor."""
        if self.count:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Pass the item that was clicked to `click_item`."""
        index = self.item_at(event.y)
        if index is not None:
            self.click_item(index, event)

    def click_item(self, index: int, event: events.Click) -> None:
        """Move the cursor to an item; a second click opens it."""
        self.cursor = index
        if event.chain > 1:
            self.action_choose()
