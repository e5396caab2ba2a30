"""The screens shown while a session is opened, and while the pair of a new one is loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Middle
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Label, LoadingIndicator, Static

from workbench.display import clean_line
from workbench.tui import keys
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.key_bar import KeyBar

_BAR = 30
#: How often the time that loading has taken is shown anew, in seconds.
_TICK = 1.0


class OpeningScreen(Screen[None]):
    """Shows what is being opened."""

    DEFAULT_CSS = (
        "OpeningScreen LoadingIndicator { height: 3; } "
        "OpeningScreen Label { width: auto; max-width: 100%; text-align: center; }"
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


@dataclass
class Loading(Message):
    """The progress of loading a pair."""

    stage: str
    done: int
    total: int


class LoadingScreen(OpeningScreen):
    """The progress of loading a new session's pair; it can be stopped.

    ``hide`` takes the names of a blind session's pair out of what is shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop loading", tooltip="Load no pair and begin no session"),
        *keys.bindings("loading"),
    ]
    DEFAULT_CSS = "LoadingScreen #stage { width: auto; }"

    def __init__(self, what: str, hide: Callable[[str], str] = str) -> None:
        super().__init__(what)
        self.hide = hide
        self._stopping = threading.Event()
        self._began = time.monotonic()
        self._at = Loading("", 0, 0)

    def compose(self) -> ComposeResult:
        """The stage below what is opened, and the keys."""
        with Middle():
            with Center():
                yield Label(clean_line(self._what), markup=False)
            yield LoadingIndicator()
            with Center():
                yield Static(id="stage")
        yield KeyBar()

    def on_mount(self) -> None:
        """Show the time as it passes: a stage may take minutes."""
        self.set_interval(_TICK, self._show)

    def report(self, stage: str, done: int, total: int) -> None:
        """Take how far loading is. From any thread."""
        self.post_message(Loading(stage, done, total))

    def should_stop(self) -> bool:
        """True once the person asked to stop. From any thread."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Have the loading stop at its next step. From any thread."""
        self._stopping.set()

    def on_loading(self, message: Loading) -> None:
        """Show how far loading is."""
        self._at = message
        self._show()

    def _show(self) -> None:
        at = self._at
        seconds = f"{time.monotonic() - self._began:.0f} s"
        stage = "stopping" if self.should_stop() else clean_line(self.hide(at.stage))
        parts: list[Content | str] = [f"{stage}  " if stage else ""]
        if at.total > 1:
            share = min(1.0, at.done / at.total)
            parts += [Content.styled(bar(share, _BAR), "$accent on $panel"), f" {share:.0%}  "]
        self.query_one("#stage", Static).update(Content.assemble(*parts, seconds))

    def action_stop(self) -> None:
        """Stop loading."""
        self.stop()
        self._show()
