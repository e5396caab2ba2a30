"""The cells of a token in the table: its sign, its text, its score and a bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from adl.nulls import NULLS
from workbench.display import clean_line
from workbench.store.events import ReadToken, StruckRead
from workbench.tui.keys import shown
from workbench.tui.panes.readings.columns import Column, Table
from workbench.tui.panes.readings.marks import Marks
from workbench.tui.panes.readings.render import NOT_COMPUTED, plain, scale_name, short

#: Shares of the highest score above which a token is highlighted, and below which it is dimmed.
STRONG, WEAK = 0.66, 0.2

MARKED, IN_NULL, BOTH = "\u25cf", "~", "\u25c9"

#: From these widths on a cell has room for the score, and for a longer bar.
_WITH_SCORE, _WITH_LONG_BAR = 23, 17

StyleOf = Callable[[str], Style]
"""The style of a part (``bar``, ``null``, ``mark``, ``shared``)."""


@dataclass(frozen=True)
class Cells:
    """Makes the cells of one table."""

    table: Table
    marks: Marks
    unfiltered: bool

    def head(self, at: int, width: int) -> Text:
        """Position and scale; of a list set beside the others, what it is."""
        column, first = self.table.columns[at], self.table.columns[0]
        reading = self.table.group.reading
        if column.source == self.table.group.source:
            head = Text(f" {clean_line(column.position)}", end="")
            scale = scale_name(column.scale, reading)
        else:
            name = f" {plain(column.source)}"
            null = " null" if column.source in NULLS and len(name) + 5 <= width else ""
            head = Text(name + null, end="")
            scale = "" if column.scale == first.scale else scale_name(column.scale, reading)
        if scale:
            head.append(f" {scale}{'*' if column.starred else ''}", style="dim")
        return head

    def cell(self, row: int, at: int, width: int, style_of: StyleOf) -> Text:
        """One token, or why there is none."""
        column = self.table.columns[at]
        token = self.table.token(row, at)
        if token is None:
            return Text(f" {self._missing(column)}" if row == 0 else "", style="dim", end="")
        share = self.table.share(token)
        sign = self.sign(column, token)
        cell = Text(end="")
        cell.append(sign, style=style_of("shared" if sign == IN_NULL else "mark"))
        digits = 7 if width >= _WITH_SCORE else 0
        length = 5 if width >= _WITH_LONG_BAR else 3
        word = Text(
            short(column.word(token), unfiltered=self.unfiltered),
            style="strike dim"
            if isinstance(token, StruckRead)
            else "bold"
            if share >= STRONG
            else "dim"
            if share < WEAK
            else "",
        )
        word.truncate(width - 2 - length - digits, overflow="ellipsis", pad=True)
        cell.append_text(word)
        if digits:
            cell.append(f"{_score(token.score):>{digits}}", style="dim")
        cell.append(" ")
        is_null = column.source in NULLS
        cell.append(thin_bar(share, length), style=style_of("null" if is_null else "bar"))
        return cell

    def sign(self, column: Column, token: ReadToken) -> str:
        """Return the sign of a token: marked, in a null, both or neither."""
        in_null = column.source not in NULLS and any(
            self.table.raised_by(null, token) for null in self.table.nulls
        )
        if self.marks.of(column, token):
            return BOTH if in_null else MARKED
        return IN_NULL if in_null else " "

    def _missing(self, column: Column) -> str:
        if column.taken is None:
            return NOT_COMPUTED
        if self.unfiltered and column.taken.body.tokens:
            return f"words only: {shown('filter')}"
        return "no token"


def _score(score: float) -> str:
    """Return a score in at most six cells, decimal points aligned."""
    size = abs(score)
    if size < 1000:
        return format(score, ".3f" if size < 10 else ".2f" if size < 100 else ".1f")
    return format(score, ".0e")


def thin_bar(share: float, width: int) -> str:
    """A bar one line thin, in halves of a cell, so that rows of them stay rows."""
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    return ("\u2501" * (halves // 2) + "\u2578" * (halves % 2)).ljust(width)
