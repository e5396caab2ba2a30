"""A virtual list of one-line rows: only the visible ones are made, so that 50,000 cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.strip import Strip

from workbench.tui import keys
from workbench.tui.widgets.cursor_list import CursorList

RowMaker = Callable[[int, int], Text]


class Rows(CursorList):
    """Rows by number, with a cursor. ``make_row(index, width)`` gives one as clean text."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("rows")
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor", "rows--row"}
    DEFAULT_CSS = """
    Rows > .rows--cursor { background: $surface-lighten-2; text-style: bold; }
    Rows:focus > .rows--cursor { background: $block-cursor-background;
        color: $block-cursor-foreground; text-style: $block-cursor-text-style; }
    """

    def __init__(self, make_row: RowMaker, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._make_row = make_row

    def set_count(self, count: int, *, follow: bool = False) -> None:
        """Set the number of rows, and redraw them.

        With ``follow`` the cursor goes to the new last row if it was on the last one before.
        """
        at_end = self.cursor >= self.count - 1
        self._tops = range(count + 1)
        self.virtual_size = Size(self.size.width, count)
        self.cursor = count - 1 if follow and at_end else self.cursor
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """Rows are as wide as the list; the cursor stays in sight."""
        self.virtual_size = Size(event.size.width, self.count)
        self.scroll_to_cursor()

    def render_line(self, y: int) -> Strip:
        """Make the row that is visible at ``y``."""
        index = self.item_at(y)
        width = self.scrollable_content_region.width
        base = self.rich_style
        if index is None or width <= 0:
            return Strip.blank(max(width, 0), base)
        text = self._make_row(index, width)
        text.truncate(width, overflow="ellipsis", pad=True)
        if index == self.cursor:
            text = text.copy()
            text.stylize(self.get_component_rich_style("rows--cursor"))
        text.no_wrap = True
        return Strip(text.render(self.app.console), width).apply_style(base).simplify()
