"""A virtual list of one-line rows: only the visible ones are made, so that 50,000 cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import keys

RowMaker = Callable[[int, int], Text]


class Rows(ScrollView, can_focus=True):
    """Rows by number, with a cursor. ``make_row(index, width)`` gives one as clean text."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("list"), *keys.bindings("rows")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor", "rows--row"}
    DEFAULT_CSS = """
    Rows { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    Rows > .rows--cursor { background: $surface-lighten-2; text-style: bold; }
    Rows:focus > .rows--cursor { background: $block-cursor-background;
        color: $block-cursor-foreground; text-style: $block-cursor-text-style; }
    """

    cursor: reactive[int] = reactive(0)

    @dataclass
    class Moved(Message):
        """The cursor moved to another row."""

        rows: Rows
        index: int

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    @dataclass
    class Chosen(Message):
        """A row was opened, by Enter or by a click."""

        rows: Rows
        index: int

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    def __init__(self, make_row: RowMaker, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._make_row = make_row
        self._count = 0

    @property
    def count(self) -> int:
        """The number of rows."""
        return self._count

    def set_count(self, count: int, *, follow: bool = False) -> None:
        """Set the number of rows, and redraw them.

        With ``follow`` the cursor goes to the new last row if it was on the last one before.
        """
        at_end = self.cursor >= self._count - 1
        self._count = count
        self.virtual_size = Size(self.size.width, count)
        if follow and at_end:
            self.cursor = max(0, count - 1)
        else:
            self.cursor = max(0, min(self.cursor, count - 1))
        self.refresh()

    def validate_cursor(self, index: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(index, self._count - 1))

    def watch_cursor(self, index: int) -> None:
        """Scroll to the cursor, and post `Moved`."""
        if self._count:
            self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Moved(self, index))

    def on_resize(self, event: events.Resize) -> None:
        """Rows are as wide as the list."""
        self.virtual_size = Size(event.size.width, self._count)

    def render_line(self, y: int) -> Strip:
        """Make the row that is visible at ``y``."""
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if index >= self._count or width <= 0:
            return Strip.blank(max(width, 0), base)
        text = self._make_row(index, width)
        text.truncate(width, overflow="ellipsis", pad=True)
        if index == self.cursor:
            text = text.copy()
            text.stylize(self.get_component_rich_style("rows--cursor"))
        text.no_wrap = True
        return Strip(text.render(self.app.console), width).apply_style(base).simplify()

    def action_move(self, step: int) -> None:
        """Move the cursor by so many rows."""
        self.cursor += step

    def action_page(self, step: int) -> None:
        """Move the cursor by a screenful."""
        self.cursor += step * max(1, self.size.height - 1)

    def action_to(self, index: int) -> None:
        """Move the cursor to a row; -1 is the last."""
        self.cursor = self._count - 1 if index < 0 else index

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self._count:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the row; a second click opens it."""
        index = event.y + self.scroll_offset.y
        if 0 <= index < self._count:
            self.cursor = index
            if event.chain > 1:
                self.action_choose()
