"""The screen shown while a session is opened."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Center, Middle
from textual.screen import Screen
from textual.widgets import Label, LoadingIndicator

from workbench.display import clean_line


class OpeningScreen(Screen[None]):
    """Shows what is being opened."""

    DEFAULT_CSS = (
        "OpeningScreen LoadingIndicator { height: 3; } OpeningScreen Label { width: auto; }"
    )

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        """One line in the middle."""
        with Middle():
            with Center():
                yield Label(clean_line(self._what), markup=False)
            yield LoadingIndicator()
