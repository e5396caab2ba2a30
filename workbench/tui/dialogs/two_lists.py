"""Two token lists side by side, each with its ranks in the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from workbench.display import clean_line, shorten
from workbench.tui import text
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.rows import Rows

#: How much of a list counts as its top.
TOP = 20

TokenColumn = tuple[str, Sequence[str]]
"""A list's name and its tokens, the first one first."""


class TwoLists(Dialog[None]):
    """The list ``first`` beside one of ``others``; left and right take another beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "other(1)", "Next list", tooltip="Set the next list beside the first"),
        Binding("left", "other(-1)", "List before", tooltip="Set the list before beside it"),
        Binding("escape,q", "dismiss", "Close"),
    ]
    DEFAULT_CSS = """
    TwoLists > Vertical { border-subtitle-color: $text-muted; }
    TwoLists Static { height: auto; }
    """

    def __init__(self, first: TokenColumn, others: Sequence[TokenColumn]) -> None:
        super().__init__(classes="dialog")
        self._first = first
        self._others = others
        self._at = 0

    def compose(self) -> ComposeResult:
        """Names of both and what they share, then the tokens."""
        with Vertical(classes="listing") as frame:
            frame.border_title = "Two lists side by side"
            frame.border_subtitle = "\u2190 \u2192 another list \u00b7 esc close"
            yield Static(id="names", classes="if-roomy")
            yield Rows(self._row)

    def on_mount(self) -> None:
        """Show the first two."""
        self.query_one(Rows).focus()
        self._show()

    def action_other(self, step: int) -> None:
        """Set another list beside the first."""
        if self._others:
            self._at = (self._at + step) % len(self._others)
            self._show()

    def _show(self) -> None:
        name, tokens = self._first
        if not self._others:
            self.query_one("#names", Static).update(Text("There is no other list yet."))
            return
        other, beside = self._others[self._at]
        shared = len(set(tokens[:TOP]) & set(beside[:TOP]))
        place = f"List {self._at + 1} of {len(self._others)}"
        self.query_one("#names", Static).update(
            Text(
                f"left:  {clean_line(name)}\nright: {clean_line(other)}\n"
                f"{place}: {shared} of the first {TOP} tokens are in both. The number beside a token is its "
                "rank in the other list, - if it is not there."
            )
        )
        self.query_one(Rows).set_count(max(len(tokens), len(beside)))

    def _row(self, index: int, width: int) -> Text:
        left, right = list(self._first[1]), list(self._others[self._at][1])
        half = max(12, (width - 6) // 2)
        row = Text(f"{index + 1:>4}  ", style="dim")
        for tokens, other in ((left, right), (right, left)):
            if index >= len(tokens):
                row.append(" " * half)
                continue
            token = tokens[index]
            rank = other.index(token) + 1 if token in other else None
            shown = shorten(text.token(token).plain, half - 7)
            cell = Text(shown, style="bold" if rank is not None and rank <= TOP else "")
            cell.append(f"{' ' * max(1, half - 6 - cell.cell_len)}{rank or '-':>4}  ", style="dim")
            row.append(cell)
        return row
