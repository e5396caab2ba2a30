"""A slider: a handle on a track, with marks at suggested values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from workbench.display import clean_line, shorten

_LEAST_TRACK = 12


class Slider(Widget):
    """Two lines: the number with its track, and below it a note and the marks.

    The track goes from 0 to 1 and as far beyond, in whole steps, as the number needs. It takes no
    keys: they are its owner's, so that they work wherever the focus is. A click sets the number.
    """

    DEFAULT_CSS = "Slider { height: 2; text-wrap: nowrap; text-overflow: ellipsis; }"

    @dataclass
    class Set(Message):
        """A number was chosen with the mouse."""

        value: float

    def __init__(self, title: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._title = title
        self._value = 0.0
        self._measured = ""
        self._note = ""
        self._marks: Mapping[float, str] = {}

    def draw(self, value: float, measured: str, note: str, marks: Mapping[float, str]) -> None:
        """Show ``value``, its amount in other units, and labelled marks along the track."""
        self._value, self._measured, self._note, self._marks = value, measured, note, dict(marks)
        self.refresh()

    def ends(self) -> tuple[float, float]:
        """Return the ends of the track."""
        return min(0.0, math.floor(self._value)), max(1.0, math.ceil(self._value))

    def render(self) -> Content:
        """Both lines."""
        width = self.size.width
        head = self._head()
        start, cells = self._track(head, width)
        low, high = self.ends()
        at = self._cell(self._value, cells)
        zero = self._cell(0.0, cells)
        left = min(at, zero) if low < 0 else 0
        track = Content.assemble(
            ("├" if low == 0 else "◂", "$foreground-muted"),
            ("─" * left, "$foreground-muted"),
            ("━" * (at - left), "$accent"),
            ("●", "bold $accent"),
            ("─" * max(0, cells - at - 1), "$foreground-muted"),
            (f"┤ {high:g}", "$foreground-muted"),
        )
        first = Content.assemble(head, " " * max(0, start - len(head.plain)), track)
        return Content("\n").join((first, self._below(start, cells, width)))

    def on_click(self, event: events.Click) -> None:
        """Set the number to where the track was clicked, in hundredths."""
        start, cells = self._track(self._head(), self.size.width)
        along = event.x - start - 1
        if event.y == 0 and 0 <= along < cells:
            low, high = self.ends()
            value = low + (high - low) * along / max(1, cells - 1)
            self.post_message(self.Set(round(value, 2)))

    def _head(self) -> Content:
        number = f"{self._value:.2f}" if abs(self._value) < 100 else f"{self._value:.4g}"
        if round(self._value, 2) != self._value:
            number = f"{self._value:.6g}"
        return Content.assemble(
            (f"{self._title} ", "bold"),
            (number, "bold $accent"),
            (f" {self._measured} ", "$foreground-muted"),
        )

    def _track(self, head: Content, width: int) -> tuple[int, int]:
        """Return the cell of the track's left end, and the number of cells between its ends."""
        end = len(f"{self.ends()[1]:g}") + 3
        start = max(len(head.plain), min(len(self._note) + 2, width // 2))
        return start, max(_LEAST_TRACK, width - start - end)

    def _cell(self, value: float, cells: int) -> int:
        low, high = self.ends()
        share = (value - low) / (high - low)
        return round(min(1.0, max(0.0, share)) * (cells - 1))

    def _below(self, start: int, cells: int, width: int) -> Content:
        low, high = self.ends()
        inside = {value: label for value, label in self._marks.items() if low <= value <= high}
        room = [" "] * width
        for value in inside:
            place = start + 1 + self._cell(value, cells)
            if place < width:
                room[place] = "▲"
        if inside:
            self._label(room, inside, start, cells, width)
        note = shorten(clean_line(self._note), start)
        return Content.assemble(
            (note.ljust(start), "$foreground-muted"), ("".join(room[start:]), "$success")
        )

    def _label(
        self, room: list[str], inside: Mapping[float, str], start: int, cells: int, width: int
    ) -> None:
        """Return the marks' names beside the last or the first of them, where there is room."""
        values = sorted(inside)
        named = dict.fromkeys(inside[value] for value in values)
        words = clean_line(
            " ".join(f"{value:g}" for value in values) + " " + ", ".join(map(str, named))
        )
        after = start + 1 + self._cell(values[-1], cells) + 2
        before = start + 1 + self._cell(values[0], cells) - 1 - len(words)
        if after + len(words) <= width:
            room[after : after + len(words)] = words
        elif before >= start:
            room[before : before + len(words)] = words
