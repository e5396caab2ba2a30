"""A list of things to choose from, under headings that the cursor passes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from workbench.tui.widgets.rows import Rows


@dataclass(frozen=True)
class Entry:
    """A line: ``draw(width)`` gives it as clean text.

    ``key`` is what the cursor stays on when the list is filled anew, None for what cannot be
    chosen. ``value`` is the caller's.
    """

    draw: Callable[[int], Text]
    key: str | None = None
    value: Any = None

    @classmethod
    def heading(cls, title: str) -> Entry:
        """A line that cannot be chosen."""
        return cls(lambda _width: Text().append(title, style="bold"))

    @classmethod
    def blank(cls) -> Entry:
        """An empty line."""
        return cls(lambda _width: Text())


class Menu(Rows):
    """Entries with a cursor that is visible without colours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "choose",
            "Open",
            key_display="enter",
            tooltip="Open the entry under the cursor",
        ),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        self.entries: Sequence[Entry] = ()
        super().__init__(self._draw, id=id)

    @property
    def current(self) -> Entry | None:
        """The entry under the cursor."""
        if self.cursor < len(self.entries) and self.entries[self.cursor].key is not None:
            return self.entries[self.cursor]
        return None

    def set_entries(self, entries: Sequence[Entry]) -> None:
        """Fill the list; the cursor stays on its entry, or else goes to the first."""
        before = self.current
        moved = self.cursor
        self.entries = entries
        self.set_count(len(entries))
        keys = [entry.key for entry in entries]
        if before is not None and before.key in keys:
            self.cursor = keys.index(before.key)
        else:
            self.cursor = next((place for place, key in enumerate(keys) if key is not None), 0)
        if self.cursor == moved:
            # The place is the same, but the entry there may be another.
            self.post_message(self.Moved(self, self.cursor))
        self._show_first_heading()

    def validate_cursor(self, index: int) -> int:
        """Skip what cannot be chosen, in the direction of the movement."""
        index = super().validate_cursor(index)
        step = 1 if index >= self.cursor else -1
        for direction in (step, -step):
            place = index
            while 0 <= place < len(self.entries):
                if self.entries[place].key is not None:
                    return place
                place += direction
        return index

    def go_to(self, index: int) -> None:
        """Put the cursor on an entry, and show the headings above the first one."""
        super().go_to(index)
        self._show_first_heading()

    def action_choose(self) -> None:
        """Open the entry under the cursor."""
        if self.current is not None:
            super().action_choose()

    def _show_first_heading(self) -> None:
        above = self.entries[: self.cursor]
        if self.cursor < self.size.height and all(entry.key is None for entry in above):
            self.scroll_to_line(0)

    def _draw(self, index: int, width: int) -> Text:
        entry = self.entries[index]
        if entry.key is None:
            return entry.draw(width)
        row = Text("▸ " if index == self.cursor else "  ")
        return row.append_text(entry.draw(max(0, width - 2)))
