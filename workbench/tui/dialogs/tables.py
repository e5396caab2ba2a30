"""Tables to be read, scrolled through, copied and written to a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.widgets import Static

from adl.paths import expanded
from workbench.display import clean_line
from workbench.private_files import new_text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.widgets.dialog import Dialog

#: Cells that a column of long texts needs for its words to be read; with less, one scrolls sideways.
_LEAST_COLUMN = 22
#: Cells between two columns.
_GAP = 2


@dataclass(frozen=True)
class Shown:
    """One table: title, column names and rows, all possibly untrusted.

    The first column is a name and never broken over lines, unless ``wide``.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    empty: str = "none"
    wide: bool = False


class TablesScreen(Dialog[None]):
    """Several tables, one below the other."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", tooltip="Close"),
        Binding("c", "copy", "Copy", tooltip="Copy all of it as Markdown"),
        Binding("w", "write", "Write", tooltip="Write all of it to a file (Markdown)"),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]
    DEFAULT_CSS = """
    TablesScreen { align: center middle; background: $background 60%; }
    TablesScreen > ScrollableContainer { width: 96%; max-width: 160; height: auto; max-height: 94%;
        border: round $accent; background: $surface; padding: 0 1; scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1; border-subtitle-color: $text-muted; }
    TablesScreen .heading { text-style: bold; margin-top: 1; }
    TablesScreen .heading.-first { margin-top: 0; }
    """

    def __init__(self, title: str, tables: Sequence[Shown], *, file: str) -> None:
        super().__init__()
        self._title = title
        self._tables = tables
        self._file = file

    def compose(self) -> ComposeResult:
        """Headings and tables."""
        with ScrollableContainer() as scroll:
            scroll.border_title = Content(clean_line(self._title))
            scroll.border_subtitle = "c copy \u00b7 w write \u00b7 escape close"
            for place, shown in enumerate(self._tables):
                heading = Static(Content(clean_line(shown.title)), classes="heading")
                heading.set_class(place == 0, "-first")
                yield heading
                if shown.rows:
                    table = Static(_drawn(shown))
                    table.styles.min_width = sum(_needs(shown))
                    yield table
                else:
                    yield Static(Content.styled(shown.empty, "$foreground-muted"))

    def on_mount(self) -> None:
        """Focus the tables, so that the keys scroll."""
        self.query_one(ScrollableContainer).focus()

    def action_scroll(self, direction: str) -> None:
        """Scroll by a line."""
        scroll = self.query_one(ScrollableContainer)
        if direction == "down":
            scroll.scroll_down(animate=False)
        else:
            scroll.scroll_up(animate=False)

    def action_copy(self) -> None:
        """Copy all of it."""
        self.app.copy_to_clipboard(self.as_markdown())
        self.notify("Copied.")

    def action_write(self) -> None:
        """Ask for a file, and write all of it there."""
        self.app.push_screen(AskLine("Write to a new file (Markdown)", self._file), self._write)

    def _write(self, written: str | None) -> None:
        if not written:
            return
        path = expanded(written).absolute()
        try:
            with new_text(path) as file:
                file.write(self.as_markdown())
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or exc
            self.notify(clean_line(f"{path}: {why}"), severity="error", markup=False)
        else:
            self.notify(clean_line(f"Wrote {path}"), markup=False)

    def as_markdown(self) -> str:
        """Everything as Markdown, with visible marks for control characters."""
        return "\n".join([f"# {clean_line(self._title)}", "", *self._markdown_lines()])

    def _markdown_lines(self) -> Iterator[str]:
        for shown in self._tables:
            yield f"## {clean_line(shown.title)}"
            yield ""
            if shown.rows:
                yield _markdown_row(shown.columns)
                yield _markdown_row(["---"] * len(shown.columns))
                yield from map(_markdown_row, shown.rows)
            else:
                yield shown.empty
            yield ""


def _drawn(shown: Shown) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    for place, (column, cells) in enumerate(zip(shown.columns, _needs(shown), strict=False)):
        is_name = place == 0 and not shown.wide
        share = None if is_name else cells
        table.add_column(Text(clean_line(column)), overflow="fold", no_wrap=is_name, ratio=share)
    for row in shown.rows:
        table.add_row(*(Text(clean_line(_plain(cell))) for cell in row))
    return table


def _markdown_row(cells: Sequence[Any]) -> str:
    escaped = (clean_line(_plain(cell)).replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(cell.replace("<", "&lt;") for cell in escaped) + " |"


def _plain(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _needs(shown: Shown) -> list[int]:
    """Return the cells that each column needs: one of short words no more than those."""
    columns = zip_longest(shown.columns, *shown.rows, fillvalue="")
    longest = (max(cell_len(_plain(cell)) for cell in column) + _GAP for column in columns)
    return [min(_LEAST_COLUMN, cells) for cells in longest]
