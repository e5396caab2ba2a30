"""The history of a hypothesis as a dialog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from workbench.store.changes import Change
from workbench.tui.dialogs.long_text import LongText
from workbench.tui.text import actor_name

_STYLES = {"-": "dim", "+": "bold", " ": ""}


class HypothesisHistory(LongText):
    """Every event of a hypothesis, the first one first; the newest is in view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", tooltip="Copy the history"),
    ]
    DEFAULT_CSS = """
    HypothesisHistory > VerticalScroll { width: 84; scrollbar-size-vertical: 1; }
    """
    COPIED: ClassVar[str] = "Copied the history."

    def __init__(self, title: str, changes: Sequence[Change]) -> None:
        super().__init__(title)
        self._changes = changes

    def on_mount(self) -> None:
        """Scroll to the newest event."""
        self.query_one(VerticalScroll).scroll_end(animate=False)

    def shown(self) -> RenderableType:
        """Return the events, one under the other."""
        return Group(*(part for change in self._changes for part in _parts(change)))

    def plain(self) -> str:
        """Return the events as text."""
        return "\n".join(map(_plain, self._changes))


def _parts(change: Change) -> list[RenderableType]:
    head = Text()
    head.append(f"{change.seq:>5} {change.at:%H:%M:%S} ", style="dim")
    head.append(f"{actor_name(change.actor, short=True)} ", style="bold")
    head.append(change.headline)
    lines: list[RenderableType] = [head]
    for sign, words in change.lines:
        line = Text(f"{sign} " if sign.strip() else "", style=_STYLES[sign])
        line.append(words)
        lines.append(Padding(line, (0, 0, 0, 6)))
    return lines


def _plain(change: Change) -> str:
    at, by = f"{change.at:%Y-%m-%d %H:%M:%S}", actor_name(change.actor, short=True)
    head = f"{change.seq} {at} UTC {by}: {change.headline}"
    return "\n".join([head, *(f"    {sign} {words}" for sign, words in change.lines)])
