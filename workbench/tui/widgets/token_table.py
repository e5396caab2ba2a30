"""A table of tokens by rank and column, with a cursor on one cell and the heads always in sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.cells import set_cell_size
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Size
from textual.strip import Strip

from workbench.tui import keys
from workbench.tui.widgets.cursor_list import CursorList

CellMaker = Callable[[int, int, int], Text]
"""Called with (row, column, width); row -1 is the head."""

_RANK = 4
_NARROWEST = 15
_WIDEST = 26
_HEAD = -1


class TokenTable(CursorList):
    """Cells by row and column; only the visible ones are made. ``make_cell`` returns clean text."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("table")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "token-table--cursor",
        "token-table--head",
        "token-table--rank",
        "token-table--bar",
        "token-table--null",
        "token-table--mark",
        "token-table--shared",
    }
    DEFAULT_CSS = """
    TokenTable > .token-table--head { background: $panel; color: $text-muted; }
    TokenTable > .token-table--rank { color: $text-muted; }
    TokenTable > .token-table--bar { color: $accent; }
    TokenTable > .token-table--null { color: $foreground-muted; }
    TokenTable > .token-table--shared { color: $warning; }
    TokenTable > .token-table--mark { color: $success; text-style: bold; }
    TokenTable > .token-table--cursor { background: $surface-lighten-2; text-style: bold; }
    TokenTable:focus > .token-table--cursor { background: $block-cursor-background;
        color: $block-cursor-foreground; text-style: $block-cursor-text-style; }
    """

    def __init__(self, make_cell: CellMaker, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._make_cell = make_cell
        self._columns = 0
        self._first_column = 0
        self._instead = Content()
        self.column = 0

    # --- what is in it ----------------------------------------------------------------------

    def set_table(self, rows: int, columns: int, instead: Content | None = None) -> None:
        """Set the numbers of rows and columns; without columns ``instead`` is shown."""
        self._tops, self._columns = range(rows + 1), columns
        self._instead = instead or Content()
        self._resize()
        self.move_to(self.cursor, self.column)
        self.refresh()

    def move_to(self, row: int, column: int) -> None:
        """Put the cursor on a cell, or on the nearest there is."""
        column = max(0, min(column, self._columns - 1))
        sideways = column != self.column
        self.column = column
        self.go_to(row)
        if sideways:
            self.report_cursor()

    def part_style(self, part: str) -> Style:
        """The foreground of a part of a cell: ``bar``, ``null``, ``mark`` or ``shared``."""
        style = self.get_component_rich_style(f"token-table--{part}", partial=True)
        return style.without_color + Style(color=style.color)

    @property
    def row(self) -> int:
        """The cursor's row; ``column`` is its column."""
        return self.cursor

    @property
    def _head_lines(self) -> int:
        """1 for the head; where there is room for one line alone, that is a row's."""
        return int(self.size.height > 1)

    @property
    def _room(self) -> int:
        return max(0, self.scrollable_content_region.width - _RANK)

    @property
    def _shown_columns(self) -> int:
        return max(1, min(self._columns, self._room // _NARROWEST))

    @property
    def _column_width(self) -> int:
        return min(_WIDEST, self._room // self._shown_columns)

    def _resize(self) -> None:
        self.virtual_size = Size(
            self.size.width, self.count + self._head_lines if self._columns else 0
        )

    @property
    def page_size(self) -> int:
        """Rows that the view has room for, less one."""
        return max(1, self.size.height - 1 - self._head_lines)

    def item_at(self, y: int) -> int | None:
        """Return the row at line ``y``; the head counts as the cursor's row."""
        if not self._columns:
            return None
        return self.cursor if y < self._head_lines else super().item_at(y - self._head_lines)

    def scroll_to_cursor(self) -> None:
        """Bring the cell under the cursor into view, below the head."""
        last = self._columns - self._shown_columns
        nearest = max(self.column - self._shown_columns + 1, min(self._first_column, self.column))
        self._first_column = max(0, min(nearest, last))
        # The head takes the first line of the view, whatever is scrolled to.
        body = max(1, self.size.height - self._head_lines)
        top = round(self.scroll_y)
        wanted = max(self.cursor - body + 1, min(top, self.cursor))
        if wanted != top:
            self.scroll_to_line(wanted)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._resize()
        self.scroll_to_cursor()

    # --- drawing ----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """The head, a row of cells, or a line of what is shown in place of a table."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        if width <= 0:
            return Strip.blank(0, base)
        if not self._columns:
            return self._instead_line(y, width)
        row = round(self.scroll_y) + y - self._head_lines
        if y < self._head_lines:
            row = _HEAD
        if row >= self.count:
            return Strip.blank(width, base)
        line = self._line(row)
        line.truncate(width, pad=True)
        line.no_wrap = True
        if row == _HEAD:
            base += self.get_component_rich_style("token-table--head")
        return Strip(line.render(self.app.console), width).apply_style(base).simplify()

    def _line(self, row: int) -> Text:
        more_left = "‹" if self._first_column else " "
        last = self._first_column + self._shown_columns
        rank = f"{more_left:>{_RANK - 1}} " if row == _HEAD else f"{row + 1:>{_RANK - 1}} "
        line = Text(rank, style=self.get_component_rich_style("token-table--rank"), end="")
        width = self._column_width
        for column in range(self._first_column, last):
            cell = self._make_cell(row, column, width - 1)
            cell.truncate(width - 1, overflow="ellipsis", pad=True)
            if (row, column) == (self.cursor, self.column):
                cell.stylize(self.get_component_rich_style("token-table--cursor"))
            elif row == _HEAD and column == self.column:
                cell.stylize("bold underline")
            line.append_text(cell)
            line.append(" ")
        if row == _HEAD and last < self._columns:
            line.right_crop(1)
            line.append("›")
        return line

    def _instead_line(self, y: int, width: int) -> Strip:
        lines = self._instead.wrap(width) if self._instead else []
        if y >= len(lines):
            return Strip.blank(width, self.rich_style)
        shown = Text(set_cell_size(lines[y].plain, width), style="dim" if y else "", end="")
        return Strip(shown.render(self.app.console), width).apply_style(self.rich_style)

    # --- keys -------------------------------------------------------------------------------

    def action_move_column(self, step: int) -> None:
        """Move the cursor by so many columns."""
        self.move_to(self.cursor, self.column + step)

    def click_item(self, index: int, event: events.Click) -> None:
        """Move the cursor to the cell; on the head, to the column."""
        on_columns = max(0, event.x - _RANK)
        self.move_to(index, self._first_column + on_columns // max(1, self._column_width))
