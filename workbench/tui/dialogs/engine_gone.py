"""The choices on a screen whose engine is gone."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from workbench.tui import text
from workbench.tui.messages import WayOn
from workbench.tui.widgets.dialog import Dialog


class EngineGone(Dialog[WayOn]):
    """Says that the engine is gone and why, and asks where to go on; None only to look."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "answer('here')", "Go on here", tooltip="Load the pair in this program"),
        Binding(
            "a", "answer('again')", "Attach again", tooltip="To an engine that has the session"
        ),
        Binding("n,escape", "dismiss", "Only look", tooltip="At what is recorded"),
    ]
    DEFAULT_CSS = "EngineGone #question { margin-bottom: 1; }"

    def __init__(self, why: str) -> None:
        super().__init__(classes="dialog")
        self._why = why

    def compose(self) -> ComposeResult:
        """The reason, and the keys that answer."""
        with Vertical() as box:
            box.border_title = "The engine is gone"
            yield Static(
                Content.assemble(
                    text.line(self._why, "bold"),
                    "\n\nAll that was recorded is here and can be looked at. What was running has "
                    "ended with the engine.",
                ),
                id="question",
            )
            yield Static(
                Content.assemble(
                    (" e ", "bold $accent"),
                    " Go on in this program\n",
                    (" a ", "bold $accent"),
                    " Attach again\n",
                    (" n ", "bold $accent"),
                    " Only look",
                ),
                classes="answers",
            )

    def action_answer(self, answer: WayOn) -> None:
        """Return the answer."""
        self.dismiss(answer)
