"""One event with all its fields."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.tui.event_fields import as_table, as_text
from workbench.tui.widgets.dialog import Dialog


class EventDetail(Dialog[None]):
    """The fields of an event, to be scrolled through and copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,i,space,q,enter", "dismiss", "Close"),
        Binding("c", "copy", "Copy", tooltip="Copy the fields"),
    ]
    DEFAULT_CSS = """
    EventDetail > VerticalScroll { width: 100; max-width: 95%; height: auto; max-height: 90%;
        border: round $accent; background: $surface; padding: 1 2;
        border-subtitle-color: $text-muted; }
    """

    def __init__(self, title: str, fields: list[tuple[str, str]]) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._fields = fields

    def compose(self) -> ComposeResult:
        """A table."""
        with VerticalScroll() as scroll:
            scroll.border_title = self._title
            scroll.border_subtitle = "c copy \u00b7 escape close"
            yield Static(as_table(self._fields))

    def action_copy(self) -> None:
        """Copy the fields as text, marks and all."""
        self.app.copy_to_clipboard(as_text(self._fields))
        self.notify("Copied the event.")
