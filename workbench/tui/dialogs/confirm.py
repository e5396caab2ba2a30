"""Ask before something is done."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from adl.words import number_of
from workbench.tui import text
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.key_bar import KeyBar


class Confirm(Dialog[bool]):
    """A yes-or-no question; untrusted text in it must have passed the display boundary."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", tooltip="Do it"),
        Binding("n,escape", "answer(False)", "No", tooltip="Leave it"),
    ]
    DEFAULT_CSS = "Confirm #question { margin-bottom: 1; }"

    def __init__(self, question: Content, yes: str, no: str = "Leave it") -> None:
        super().__init__(classes="dialog")
        self._question = question
        self._answers = (yes, no)

    def compose(self) -> ComposeResult:
        """The question, and the keys that answer it."""
        yes, no = self._answers
        with Vertical():
            yield Static(self._question, id="question")
            yield Static(
                Content.assemble(
                    (" y ", "bold $accent"), f" {yes}    ", (" n ", "bold $accent"), f" {no}"
                ),
                classes="answers",
            )

    def action_answer(self, answer: bool) -> None:
        """Return the answer."""
        self.dismiss(answer)


class ConfirmByName(Dialog[bool]):
    """Confirmation of a deletion by typing the session's name or id."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]
    DEFAULT_CSS = """
    ConfirmByName #asked { margin-bottom: 1; }
    ConfirmByName #problem { color: $text-error; height: 1; }
    """

    def __init__(self, session_id: str, name: str, events: int) -> None:
        super().__init__(classes="dialog")
        self._session_id = session_id
        self._name = name
        self._events = events

    def compose(self) -> ComposeResult:
        """Compose the warning and a field for the name."""
        with Vertical() as box:
            box.border_title = "Delete a session"
            yield Static(
                Content.assemble(
                    text.line(self._name or "(no name)", "bold"),
                    f"\n{number_of(self._events, 'event')} will be deleted for good: every reading, "
                    "text, note and hypothesis. Only that there was such a session stays recorded.\n\n"
                    "Type its name, or its id ",
                    text.line(self._session_id, "bold"),
                    ", to delete it; Escape keeps it.",
                ),
                id="asked",
            )
            yield Input(compact=True, placeholder="name of the session")
            yield Static(id="problem")
        yield KeyBar()

    def on_input_changed(self) -> None:
        """Clear the problem."""
        self.query_one("#problem", Static).update("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Confirm if the typed text is the name or id."""
        event.stop()
        if event.value and event.value in {self._name, self._session_id}:
            self.dismiss(True)
        else:
            self.query_one("#problem", Static).update("That is not its name: nothing was deleted.")

    def action_cancel(self) -> None:
        """Keep the session."""
        self.dismiss(False)
