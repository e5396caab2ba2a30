"""Saved sets of questions: send one to the models as a whole, or save a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from adl.errors import AdlError
from adl.words import number_of
from workbench.display import clean_line, shorten
from workbench.question_sets import load_sets, save_set
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.rows import Rows


class QuestionSets(Dialog[list[str]]):
    """A row for each set; Enter answers with its questions. ``asked`` can be kept as a set."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "keep", "Keep", tooltip="Keep the questions of this session as a set"),
        Binding("escape,q", "dismiss", "Close"),
    ]
    DEFAULT_CSS = """
    QuestionSets > Vertical { border-subtitle-color: $text-muted; }
    QuestionSets #questions { height: auto; max-height: 8; color: $foreground-muted; }
    """

    def __init__(self, file: Path, asked: Sequence[str]) -> None:
        super().__init__(classes="dialog")
        self._file = file
        self._asked = asked
        self._sets: list[tuple[str, Sequence[str]]] = []

    def compose(self) -> ComposeResult:
        """The sets, and the questions of the one under the cursor."""
        with Vertical(classes="listing") as frame:
            frame.border_title = "Question sets"
            frame.border_subtitle = "enter send all \u00b7 w keep what was asked \u00b7 esc close"
            yield Rows(self._row)
            yield Static(id="questions")

    def on_mount(self) -> None:
        """Read the sets."""
        self.query_one(Rows).focus()
        self._read()

    def _read(self) -> None:
        try:
            self._sets = sorted(load_sets(self._file).items())
        except AdlError as exc:
            self._sets = []
            self.notify(clean_line(str(exc)), severity="error", markup=False)
        self.query_one(Rows).set_count(len(self._sets))
        self._show_questions()

    def _row(self, index: int, _width: int) -> Text:
        name, questions = self._sets[index]
        row = Text(clean_line(name), style="bold")
        row.append(f"  {number_of(len(questions), 'question')}", style="dim")
        return row

    def _show_questions(self) -> None:
        cursor = self.query_one(Rows).cursor
        if cursor < len(self._sets):
            shown = "\n".join(shorten(clean_line(text), 78) for text in self._sets[cursor][1])
        elif self._asked:
            asked = number_of(len(self._asked), "question")
            shown = f"No set is saved yet. w keeps the {asked} of this session as one."
        else:
            shown = "No set is saved yet. Ask some questions first; w then keeps them as a set."
        self.query_one("#questions", Static).update(Text(shown))

    def on_cursor_list_moved(self, event: Rows.Moved) -> None:
        """Show the questions of the set."""
        event.stop()
        self._show_questions()

    def on_cursor_list_chosen(self, event: Rows.Chosen) -> None:
        """Send the set."""
        event.stop()
        self.dismiss(list(self._sets[event.index][1]))

    def action_keep(self) -> None:
        """Ask for a name, and keep the questions of the session under it."""
        if not self._asked:
            self.notify("Nothing was asked in this session yet.", severity="warning")
            return
        hint = f"{number_of(len(self._asked), 'question')} of this session; a set of that name is replaced"
        self.app.push_screen(AskLine("Name of the set", "", hint), self._keep)

    def _keep(self, name: str | None) -> None:
        if not name:
            return
        try:
            save_set(self._file, name, self._asked)
        except AdlError as exc:
            self.notify(clean_line(str(exc)), severity="error", markup=False)
        else:
            self._read()
