"""Grade a report by hand beside its rubric and the ground truth, or change a grade with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Label, Static

from workbench.agent.rubrics import HIGHEST, LOWEST
from workbench.display import printable
from workbench.replay.compare import UNSCORED
from workbench.store.agent_events import GradeGiven
from workbench.store.recorded import Recorded
from workbench.tui import text
from workbench.tui.dialogs.field_form import FieldForm
from workbench.tui.text import actor_name
from workbench.tui.widgets.choice import Choice

_MUTED = "$foreground-muted"


@dataclass(frozen=True)
class GivenGrade:
    """A grade as entered; a score of None means unscored, which only an edit can give."""

    score: int | None
    reason: str
    author: str


@dataclass(frozen=True)
class GradeSheet:
    """The material for a grade: the report, the rubric's levels, and the ground truth.

    ``before`` are the grade that is edited and those that it replaced, the first first.
    """

    report: str
    family: str
    levels: Mapping[int, str]
    truth: str
    facts: Sequence[str] = ()
    before: Sequence[Recorded[GradeGiven]] = ()
    author: str = ""


class GradeForm(FieldForm[GivenGrade]):
    """Score, reason and author; the digits choose a score from anywhere but a field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", tooltip="Leave; nothing is recorded"),
        *(
            Binding(str(grade), f"score({grade})", f"Grade {grade}", show=False)
            for grade in range(LOWEST, HIGHEST + 1)
        ),
        Binding("ctrl+j,f5", "save", "Save", tooltip="Record the grade", priority=True),
        Binding("down,enter", "next", "Next field", show=False),
        Binding("up", "previous", "Previous field", show=False),
    ]
    AUTO_FOCUS = "#score"
    DEFAULT_CSS = """
    GradeForm > Container { width: 100; max-width: 100%; height: 90%; max-height: 44;
        padding: 0 1; border: round $accent; background: $surface; }
    GradeForm VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    GradeForm #sheet { height: auto; }
    GradeForm #fields { height: auto; border-top: solid $panel-lighten-2; }
    GradeForm .row { height: 1; }
    GradeForm .row Label { width: 9; color: $text-muted; }
    GradeForm .row Input { width: 1fr; background: $boost; }
    GradeForm .row Input:focus { background: $surface-lighten-1; }
    GradeForm #level { height: auto; padding-left: 9; color: $text-muted; }
    GradeForm #wrong { height: auto; color: $text-error; }
    GradeForm #keys { color: $text-muted; }
    """

    def __init__(self, sheet: GradeSheet) -> None:
        super().__init__(classes="dialog")
        self._sheet = sheet
        values = [str(grade) for grade in range(LOWEST, HIGHEST + 1)]
        self._values = [*values, UNSCORED] if sheet.before else ["none", *values]

    def compose(self) -> ComposeResult:
        """Report, truth and rubric above, the fields below."""
        with Container() as box:
            edited = self._sheet.before[-1].body.grade_id if self._sheet.before else ""
            box.border_title = text.line(f"Change grade {edited}" if edited else "Grade the report")
            with VerticalScroll():
                yield Static(self._draw_sheet(), id="sheet")
            with Vertical(id="fields"):
                with Horizontal(classes="row"):
                    yield Label("Grade")
                    yield Choice(self._values, self._first_value(), id="score")
                yield Static(id="level")
                with Horizontal(classes="row"):
                    yield Label("Reason")
                    yield Input("", "why this grade", id="reason", compact=True)
                with Horizontal(classes="row"):
                    yield Label("Author")
                    author = printable(self._sheet.author)
                    yield Input(author, "your name; may be left empty", id="author", compact=True)
                yield Static(id="wrong")
                yield Static(
                    "1-5 or ← → grade · Enter next, then save · ctrl+j save · Esc close",
                    id="keys",
                    classes="if-roomy",
                )

    def _first_value(self) -> str:
        if not self._sheet.before:
            return "none"
        score = self._sheet.before[-1].body.score
        return UNSCORED if score is None else f"{score:g}"

    def on_mount(self) -> None:
        """Explain the selected grade."""
        self._explain()

    def _draw_sheet(self) -> Content:
        sheet = self._sheet
        parts = [Content.styled("The report", "bold"), text.block(sheet.report)]
        truth = [text.block(sheet.truth)] + [text.line(f"- {fact}") for fact in sheet.facts]
        parts += [Content(), Content.styled("The truth", "bold"), *truth]
        parts += [Content(), Content.styled(f"The rubric ({sheet.family})", "bold")]
        parts += [
            Content.assemble((f"{grade} ", "bold"), text.line(meaning))
            for grade, meaning in sorted(sheet.levels.items())
        ]
        if sheet.before:
            parts += [Content(), Content.styled("So far", "bold"), *map(grade_line, sheet.before)]
        return Content("\n").join(parts)

    @on(Choice.Changed)
    def _explain(self) -> None:
        value = self.query_one("#score", Choice).value
        meaning = self._sheet.levels.get(int(value), "") if value.isdecimal() else ""
        if value == UNSCORED:
            meaning = "withdraws the grade, which then counts as unscored"
        self.query_one("#level", Static).update(Content(meaning or "choose a grade"))
        self.query_one("#wrong", Static).update("")

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one("#wrong", Static).update("")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input.id == "author":
            self.action_save()
        else:
            self.focus_next()

    def action_score(self, grade: int) -> None:
        """Choose a grade."""
        self.query_one("#score", Choice).value = str(grade)

    def action_save(self) -> None:
        """Return the grade, or show what is missing."""
        value = self.query_one("#score", Choice).value
        reason = self.query_one("#reason", Input).value.strip()
        wrong = ""
        if value == "none":
            wrong = "choose a grade from 1 to 5"
            self.query_one("#score").focus()
        elif not reason:
            wrong = "a reason is required"
            self.query_one("#reason").focus()
        if wrong:
            self.query_one("#wrong", Static).update(Content(f"! {wrong}"))
            return
        author = self.query_one("#author", Input).value.strip()
        self.dismiss(GivenGrade(None if value == UNSCORED else int(value), reason, author))


def grade_line(grade: Recorded[GradeGiven]) -> Content:
    """Return a grade on one line: score, author, time and reason."""
    body = grade.body
    score = UNSCORED if body.score is None else f"{body.score:.3g}"
    rubric = f"{body.rubric} {body.rubric_version}".strip()
    return Content.assemble(
        text.line(f"{body.grade_id:<4}", "bold"),
        (f"{score:<9}", "bold"),
        text.line(actor_name(grade.actor), "", 24),
        (f" {grade.at:%Y-%m-%d %H:%M} ", _MUTED),
        text.line(f"{rubric}: ", _MUTED),
        text.line(body.reason),
    )
