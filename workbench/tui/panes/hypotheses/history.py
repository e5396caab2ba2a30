"""The history of a hypothesis as a dialog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.store.changes import Change
from workbench.tui.text import actor_name
from workbench.tui.widgets.dialog import Dialog

_STYLES = {"-": "dim", "+": "bold", " ": ""}


class HypothesisHistory(Dialog[None]):
    """Every event of a hypothesis, the first one first; the newest is in view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,i,q,enter", "dismiss", "Close"),
        Binding("c", "copy", "Copy", tooltip="Copy the history"),
    ]
    DEFAULT_CSS = """
    HypothesisHistory > VerticalScroll { width: 84; max-width: 95%; height: auto; max-height: 90%;
        border: round $accent; background: $surface; padding: 1 2;
        border-subtitle-color: $text-muted; scrollbar-size-vertical: 1; }
    """

    def __init__(self, title: str, changes: Sequence[Change]) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._changes = changes

    def compose(self) -> ComposeResult:
        """The events, one under the other."""
        with VerticalScroll() as scroll:
            scroll.border_title = self._title
            scroll.border_subtitle = "c copy \u00b7 escape close"
            yield Static(Group(*(part for change in self._changes for part in _parts(change))))

    def on_mount(self) -> None:
        """Scroll to the newest event."""
        self.query_one(VerticalScroll).scroll_end(animate=False)

    def action_copy(self) -> None:
        """Copy the history as text."""
        self.app.copy_to_clipboard("\n".join(map(_plain, self._changes)))
        self.notify("Copied the history.")


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
