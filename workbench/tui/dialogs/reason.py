"""A dialog that asks for a reason, which may be empty."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label, Static

from workbench.tui.widgets.dialog import Dialog


class AskReason(Dialog[str | None]):
    """A field for a reason, which may be empty; Escape gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]
    DEFAULT_CSS = """
    AskReason Label { color: $text-muted; margin-top: 1; width: 1fr; }
    AskReason Input, AskReason Input:focus { height: 1; border: none;
        border-left: outer $accent; padding: 0 1; background: $boost; }
    """

    def __init__(
        self,
        title: str,
        about: Content,
        label: str = "Reason; may be left empty. Enter does it, Esc cancels.",
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._about = about
        self._label = label

    def compose(self) -> ComposeResult:
        """Compose the subject and a field."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._about)
            yield Label(self._label)
            yield Input()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the reason."""
        self.dismiss(event.value.strip())

    def action_cancel(self) -> None:
        """Return None."""
        self.dismiss(None)
