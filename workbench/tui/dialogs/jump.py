"""Go to a pane by one key, from wherever the focus is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from workbench.tui.widgets.dialog import Dialog


class JumpOverlay(Dialog[int | None]):
    """The panes with their keys; the next key goes to one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__(classes="dialog")
        self._titles = titles

    def compose(self) -> ComposeResult:
        """One line a pane."""
        lines = [
            Content.assemble((f" {index + 1} ", "bold $accent"), f" {title}")
            for index, title in enumerate(self._titles)
        ]
        with Vertical():
            yield Static(Content("\n").join(lines))

    def on_key(self, event: events.Key) -> None:
        """Go to the pane of the digit."""
        if event.character and event.character.isdecimal():
            index = int(event.character) - 1
            if index in range(len(self._titles)):
                event.stop()
                self.dismiss(index)

    def action_cancel(self) -> None:
        """Close the list."""
        self.dismiss(None)
