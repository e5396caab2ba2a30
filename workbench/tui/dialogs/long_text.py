"""The base of dialogs that show one long text."""

from __future__ import annotations

from typing import ClassVar

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.tui.widgets.dialog import Dialog


class LongText(Dialog[None]):
    """A text to be scrolled through and copied; subclasses have it as it is shown and as it is copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,i,q,enter", "dismiss", "Close"),
    ]
    DEFAULT_CSS = """
    LongText > VerticalScroll { max-width: 95%; height: auto; max-height: 90%;
        border: round $accent; background: $surface; padding: 1 2;
        border-subtitle-color: $text-muted; }
    """
    COPIED: ClassVar[str]
    "The message once it is copied."

    def __init__(self, title: str) -> None:
        super().__init__(classes="dialog")
        self._title = title

    def compose(self) -> ComposeResult:
        """The text in a frame with its title."""
        with VerticalScroll() as scroll:
            scroll.border_title = self._title
            scroll.border_subtitle = "c copy \u00b7 escape close"
            yield Static(self.shown())

    def action_copy(self) -> None:
        """Copy the text."""
        self.app.copy_to_clipboard(self.plain())
        self.notify(self.COPIED)

    def shown(self) -> RenderableType:
        """Return the text as it is shown."""
        raise NotImplementedError

    def plain(self) -> str:
        """Return the text as it is copied."""
        raise NotImplementedError
