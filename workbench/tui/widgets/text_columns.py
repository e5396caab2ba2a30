"""A list of texts side by side, wrapped, with a cursor; only the visible part is drawn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.strip import Strip

from adl.words import number_of
from workbench.display import clean_line, clean_lines, shorten
from workbench.tui import keys
from workbench.tui.widgets.cursor_list import CursorList

#: Narrower than this the texts of a pair are stacked.
SIDE_BY_SIDE = 70
#: More characters of one text are not shown: wrapping them takes time.
MOST_SHOWN = 12_000

_GUTTER = 2
_BETWEEN = " │ "

#: Pieces of a line: text and the name of its style.
Pieces = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Column:
    """One text with its settings, its status and its mark; all of it raw.

    ``notes`` are lines of their own above the text, which is None where there is none.
    ``growing`` while more is to come.
    """

    head: str
    state: str
    text: str | None
    kept: str = ""
    growing: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Columns side by side under one title; raw text."""

    title: str
    columns: tuple[Column, ...]


class _Block:
    """A sample laid out for a width."""

    def __init__(self, sample: Sample, width: int) -> None:
        self.sample = sample
        self.lines = _layout(sample, width)


class SampleList(CursorList):
    """Samples one below the other, with a cursor; what is longer than the screen scrolls."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "samples--title",
        "samples--head",
        "samples--state",
        "samples--kept",
        "samples--growing",
        "samples--rule",
        "samples--cursor",
        "samples--empty",
    }
    DEFAULT_CSS = """
    SampleList { min-height: 1; scrollbar-gutter: stable; }
    SampleList > .samples--title { text-style: bold; }
    SampleList > .samples--head { color: $text-accent; text-style: bold; }
    SampleList > .samples--state { color: $text-muted; }
    SampleList > .samples--kept { color: $text-success; text-style: bold; }
    SampleList > .samples--growing { color: $text-warning; }
    SampleList > .samples--rule { color: $panel-lighten-2; }
    SampleList > .samples--cursor { color: $text-muted; }
    SampleList:focus > .samples--cursor { color: $accent; text-style: bold; }
    SampleList > .samples--empty { color: $text-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._samples: tuple[Sample, ...] = ()
        self._blocks: list[_Block] = []
        self._width = 0
        self._empty = ""

    @property
    def count(self) -> int:
        """The number of samples, also of those not laid out yet."""
        return len(self._samples)

    def draw(self, samples: Sequence[Sample], empty: str = "") -> None:
        """Show the samples; those that did not change are not laid out again."""
        self._samples, self._empty = tuple(samples), empty
        self._lay_out()
        self.cursor = self.cursor  # There may be fewer now.
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        """Wrap the texts to the new width."""
        self._lay_out()
        self.scroll_to_cursor()

    def render_line(self, y: int) -> Strip:
        """Make the line that is visible at ``y``."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        if not self._samples and self._empty and width > 0:
            lines = wrapped(clean_line(self._empty), width)
            style = self.get_component_rich_style("samples--empty")
            empty = set_cell_size(lines[y] if y < len(lines) else "", width)
            return Strip([Segment(empty, style)], width).apply_style(base)
        index = self.item_at(y)
        if index is None or width <= _GUTTER:
            return Strip.blank(max(0, width), base)
        pieces = self._blocks[index].lines[y + self.scroll_offset.y - self._tops[index]]
        here = index == self.cursor and bool(pieces)
        segments = [
            Segment("▌ " if here else "  ", self.get_component_rich_style("samples--cursor"))
        ]
        segments += [
            Segment(text, self.get_component_rich_style(f"samples--{style}") if style else None)
            for text, style in pieces
        ]
        return Strip(segments).adjust_cell_length(width).apply_style(base).simplify()

    def action_move(self, step: int) -> None:
        """Go to another sample, through this one first if it is longer than the screen."""
        if self.cursor >= len(self._blocks):
            return
        top, bottom = self._tops[self.cursor], self._tops[self.cursor + 1]
        view = self.scroll_offset.y
        height = self.scrollable_content_region.height
        if step > 0 and bottom - 1 > view + height:
            self.scroll_to_line(min(view + 3, bottom - height))
        elif step < 0 and top < view:
            self.scroll_to_line(max(view - 3, top))
        else:
            self.cursor += step

    def action_page(self, step: int) -> None:
        """Scroll by a page; the cursor goes to the top of the view."""
        if not self._blocks:
            return
        most = max(0, self._tops[-1] - self.scrollable_content_region.height)
        line = max(0, min(self.scroll_offset.y + step * self.page_size, most))
        at_end = line == self.scroll_offset.y
        place = bisect_right(self._tops, line) - 1
        if at_end:
            place = 0 if step < 0 else len(self._samples) - 1
        # Not by the watcher, which would scroll to the sample's first line.
        self.set_reactive(SampleList.cursor, place)
        self.scroll_to_line(line)
        self.report_cursor()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width - _GUTTER
        if width <= 0:
            return
        before = self._blocks if width == self._width else []
        self._width = width
        blocks = []
        for index, sample in enumerate(self._samples):
            kept = before[index] if index < len(before) else None
            blocks.append(kept if kept and kept.sample == sample else _Block(sample, width))
        self._blocks = blocks
        self._tops = [0, *accumulate(len(block.lines) for block in blocks)]
        self.virtual_size = Size(width + _GUTTER, self._tops[-1])


@lru_cache(maxsize=512)
def wrapped(text: str, width: int) -> tuple[str, ...]:
    """Clean ``text`` in lines of at most ``width`` cells, broken at spaces where it has any."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += _wrapped_paragraph(paragraph, width)
    return tuple(lines)


def _wrapped_paragraph(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    lines, line, room = [], "", width
    for word in text.split(" "):
        cells = cell_len(word)
        if line and cells + 1 <= room:
            line += " " + word
            room -= cells + 1
            continue
        if line:
            lines.append(line)
        *whole, line = chop_cells(word, width) if cells > width else [word]
        lines += whole
        room = width - cell_len(line)
    return [*lines, line]


def _layout(sample: Sample, width: int) -> list[Pieces]:
    """The sample's lines; each piece fills its column."""
    title = wrapped(clean_line(shorten(sample.title, 2 * width)), width) if sample.title else ()
    lines: list[Pieces] = [((line, "title"),) for line in title[:2]]
    columns = sample.columns
    if len(columns) == 2 and width >= SIDE_BY_SIDE:
        half = (width - len(_BETWEEN)) // 2
        left, right = (_column(column, half) for column in columns)
        blank: Pieces = ((" " * half, ""),)
        for index in range(max(len(left), len(right))):
            first = left[index] if index < len(left) else blank
            second = right[index] if index < len(right) else ()
            lines.append((*first, (_BETWEEN, "rule"), *second))
    else:
        for column in columns:
            lines += _column(column, width)
    return [*lines, ()]


def _column(column: Column, width: int) -> list[Pieces]:
    head = f"{clean_line(column.head)}  "
    state = clean_line(column.state)
    kept = f"  ■ marked {clean_line(column.kept)}" if column.kept else ""
    room = width - cell_len(kept)
    whole = set_cell_size(head + state, room) if cell_len(head + state) > room else head + state
    lines: list[Pieces] = [
        (
            (whole[: len(head)], "head"),
            (whole[len(head) :], "growing" if column.growing else "state"),
            (kept, "kept"),
            (" " * max(0, room - cell_len(whole)), ""),
        )
    ]
    for note in column.notes:
        shown_note = wrapped(clean_line(shorten(note, 3 * width)), width)[:3]
        lines += [((set_cell_size(line, width), "state"),) for line in shown_note]
    if column.text is None:
        return lines
    text, more = column.text.lstrip(), ""
    if len(text) > MOST_SHOWN:
        more = f"{number_of(len(text) - MOST_SHOWN, 'more character')}; {keys.shown('write')} writes all"
        text = text[:MOST_SHOWN]
    shown = wrapped(clean_lines(text), width) if text else ()
    lines += [((set_cell_size(line, width), ""),) for line in shown]
    if column.growing:
        lines[-1] = _with_caret(lines[-1], shown[-1] if shown else "", width)
    if more:
        lines += [((set_cell_size(line, width), "state"),) for line in wrapped(more, width)]
    if not shown and not column.growing:
        lines.append(((set_cell_size("(no text)", width), "state"),))
    return lines


def _with_caret(line: Pieces, last: str, width: int) -> Pieces:
    """The line with a mark where the text goes on."""
    if not last or cell_len(last) >= width:
        return line
    return ((last, ""), ("▌", "growing"), (" " * (width - cell_len(last) - 1), ""))
