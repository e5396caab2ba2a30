"""The input field for probes, as tall as its text up to a few lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import TextArea

from workbench.display import clean_lines


class ProbeField(TextArea):
    """A text field of a few lines; Enter submits it.

    Loaded text is shown with marks for control characters, and returned unchanged unless edited.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", tooltip="Send what is written"),
        Binding(
            "ctrl+j,shift+enter",
            "new_line",
            "New line",
            key_display="^j",
            tooltip="Begin a new line in the field",
        ),
    ]
    DEFAULT_CSS = """
    ProbeField { height: auto; min-height: 1; max-height: 6; padding: 0 1;
        background: $surface; border: none; border-left: outer $panel-lighten-2;
        scrollbar-size-vertical: 1; }
    ProbeField:focus { border: none; border-left: outer $accent; background: $surface-lighten-1; }
    ProbeField .text-area--cursor-line { background: transparent; }
    """

    def __init__(
        self,
        value: str = "",
        *,
        on_send: Callable[[], object],
        history: Callable[[], Sequence[str]] = list,
        placeholder: str = "",
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(
            clean_lines(value), id=id, placeholder=placeholder, highlight_cursor_line=False
        )
        # Called and no message posted: letters typed behind Enter belong to what is written next.
        self._on_send = on_send
        self._history = history
        # How many questions back the field shows; 0 is what is being written.
        self._back = 0
        self._loaded = (self.text, value)

    @property
    def value(self) -> str:
        """The text in the field, with the original control characters."""
        shown, original = self._loaded
        return original if self.text == shown else self.text

    @property
    def shows_marks(self) -> bool:
        """True if control characters of the text are shown as marks."""
        return self.value != self.text

    def load(self, value: str) -> None:
        """Load text into the field for editing."""
        self.load_text(clean_lines(value))
        self._loaded = (self.text, value)
        self._back = 0
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        # Here and not by priority bindings: those overtake letters that were typed before them
        # and still wait in the field's queue.
        if self._goes_back(event.key):
            event.stop()
            event.prevent_default()
            return
        self._back = 0
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_send()
        elif event.key in {"ctrl+j", "shift+enter"}:
            event.stop()
            event.prevent_default()
            self.action_new_line()
        elif event.key == "down" and self.cursor_at_last_line:
            event.stop()
            event.prevent_default()
            self.screen.focus_next()

    def _goes_back(self, key: str) -> bool:
        """Show the previous (up) or next (down) question; return True if there is one.

        Only from an empty field, or from a question that was shown so and not changed.
        """
        step = {"up": 1, "down": -1}.get(key, 0)
        if not step or (self.text and not self._back) or (not self._back and step < 0):
            return False
        questions = self._history()
        back = min(self._back + step, len(questions))
        self.load(questions[back - 1] if back else "")
        self._back = back
        return True

    def action_send(self) -> None:
        """Submit the text."""
        self._on_send()

    def action_new_line(self) -> None:
        """Insert a line break."""
        self.insert("\n")
