"""The current grades of a session, each with its history of edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.display import clean_line, shorten
from workbench.replay.compare import UNSCORED
from workbench.store.agent_events import GradeGiven
from workbench.store.recorded import Recorded
from workbench.store.slices.agents import history, standing
from workbench.tui import text
from workbench.tui.dialogs.grade_form import grade_line
from workbench.tui.text import actor_name
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.menu import Entry, Menu


class GradesScreen(Dialog[str | None]):
    """A list with the chosen grade's history below it; gives the id of the grade to edit."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,l", "leave", "Close"),
        Binding("e,enter", "edit", "Change", tooltip="Change the grade, with a reason"),
    ]
    DEFAULT_CSS = """
    GradesScreen > Container { width: 110; max-width: 100%; height: 80%; max-height: 32;
        padding: 0 1; border: round $accent; background: $surface;
        border-subtitle-color: $text-muted; }
    GradesScreen Menu { height: 1fr; }
    GradesScreen VerticalScroll { height: auto; max-height: 60%; scrollbar-size-vertical: 1;
        border-top: solid $panel-lighten-2; }
    """

    def __init__(self, grades: Sequence[Recorded[GradeGiven]], chosen: str = "") -> None:
        super().__init__(classes="dialog")
        self._grades = grades
        self._standing = standing(grades)
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """Compose the current grades and the history of the selected one."""
        with Container() as box:
            unscored = sum(grade.body.score is None for grade in self._standing)
            box.border_title = f"Grades: {len(self._standing)}, {unscored} unscored"
            box.border_subtitle = "e change · escape close"
            yield Menu()
            with VerticalScroll(can_focus=False):
                yield Static(id="history")

    def on_mount(self) -> None:
        """Fill the list."""
        menu = self.query_one(Menu)
        menu.set_entries(
            [
                Entry(lambda width, grade=grade: _row(grade, width), grade.body.grade_id, grade)  # type: ignore[misc]
                for grade in self._standing
            ]
        )
        keys = [grade.body.grade_id for grade in self._standing]
        if self._chosen in keys:
            menu.cursor = keys.index(self._chosen)
        menu.focus()
        self._show_history()

    def on_cursor_list_moved(self) -> None:
        """Show the history of the grade under the cursor."""
        self._show_history()

    def on_cursor_list_chosen(self) -> None:
        """Change the grade."""
        self.action_edit()

    def _show_history(self) -> None:
        current = self.query_one(Menu).current
        if current is None:
            return
        before = history(self._grades, str(current.key))
        head = "as it was first given" if len(before) == 1 else f"edited {len(before) - 1} times"
        if len(before) == 2:
            head = "edited once"
        lines = [text.line(f"{current.key}, {head}", "bold"), *map(grade_line, before)]
        self.query_one("#history", Static).update(Content("\n").join(lines))

    def action_edit(self) -> None:
        """Return the id of the grade to change."""
        current = self.query_one(Menu).current
        if current is not None:
            self.dismiss(str(current.key))

    def action_leave(self) -> None:
        """Return None."""
        self.dismiss(None)


def _row(grade: Recorded[GradeGiven], width: int) -> Text:
    body = grade.body
    score = UNSCORED if body.score is None else f"{body.score:.3g}"
    row = Text()
    row.append(f"{clean_line(body.grade_id):<5}", style="bold")
    row.append(f"{score:<9}", style="bold")
    row.append(f"{shorten(actor_name(grade.actor), 20):<21}")
    row.append(f"{clean_line(body.subject)[:20]:<21}", style="dim")
    row.append(clean_line(body.reason))
    row.truncate(width, overflow="ellipsis")
    return row
