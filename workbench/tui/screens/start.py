"""The start screen: the demo, a recent pair, a new one, or a session to go on with."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Footer

from workbench.operations.pairs import DEMO_ORGANISM, PairArguments


@dataclass
class OpenPair(Message):
    """Begin a session on a pair."""

    pair: PairArguments
    name: str | None = None
    prepare: bool = True


@dataclass
class ContinueSession(Message):
    """Go on with a session."""

    session: str


class StartScreen(Screen[None]):
    """What to work on."""

    def compose(self) -> ComposeResult:
        """The choices."""
        with Vertical():
            yield Button("Open the demo pair", id="demo")
        yield Footer(compact=True, show_command_palette=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Begin with the demo."""
        event.stop()
        self.post_message(OpenPair(PairArguments(organism=DEMO_ORGANISM)))
