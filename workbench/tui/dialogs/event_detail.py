"""One event with all its fields."""

from __future__ import annotations

from typing import ClassVar

from rich.console import RenderableType
from textual.binding import Binding, BindingType

from workbench.tui.dialogs.long_text import LongText
from workbench.tui.event_fields import as_table, as_text


class EventDetail(LongText):
    """The fields of an event, to be scrolled through and copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "dismiss", "Close"),
        Binding("c", "copy", "Copy", tooltip="Copy the fields"),
    ]
    DEFAULT_CSS = "EventDetail > VerticalScroll { width: 100; }"
    COPIED: ClassVar[str] = "Copied the event."

    def __init__(self, title: str, fields: list[tuple[str, str]]) -> None:
        super().__init__(title)
        self._fields = fields

    def shown(self) -> RenderableType:
        """Return the fields as a table."""
        return as_table(self._fields)

    def plain(self) -> str:
        """Return the fields as text, marks and all."""
        return as_text(self._fields)
