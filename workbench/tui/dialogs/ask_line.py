"""Ask for one line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from workbench.display import clean_line, printable
from workbench.store.ids import proposed_stem
from workbench.tui.widgets.dialog import Dialog


class AskLine(Dialog[str | None]):
    """A field for one line, with a hint below it; Escape returns None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]
    DEFAULT_CSS = "AskLine #hint { color: $text-muted; width: 1fr; }"

    def __init__(self, title: str, value: str = "", hint: str = "") -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._value = value
        self._hint = hint

    def compose(self) -> ComposeResult:
        """A title and a field."""
        with Vertical():
            yield Label(clean_line(self._title), markup=False)
            # A name may come from a file by mail; what cannot be typed is not taken over.
            yield Input(printable(self._value))
            yield Label(
                clean_line(self._hint) or "Enter accepts, Esc cancels",
                id="hint",
                markup=False,
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the line."""
        event.stop()
        self.dismiss(event.value.strip() or None)

    def action_cancel(self) -> None:
        """Return None."""
        self.dismiss(None)


def ask_for_report(session_id: str) -> AskLine:
    """Return the question where to write a session's report."""
    hint = "Two files: Markdown (.md), and one HTML file in which nothing runs (.html)."
    return AskLine("Write the report to", proposed_stem(session_id), hint)
