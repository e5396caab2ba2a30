"""A form for the settings of an operation, made from its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from workbench.display import printable
from workbench.operations.running import Arguments, Operation
from workbench.tui import text
from workbench.tui.dialogs.field_form import FieldForm, FieldList
from workbench.tui.operation_fields import WHOLE, FormField, check, fields_of, first_texts
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.problem_line import ProblemLine

_BEFORE = "field-"
#: Lines above and below the fields.
_AROUND = 9


class OperationForm(FieldForm[Arguments]):
    """A form with a line for each field; returns the arguments, None if it is left.

    ``known`` are values set elsewhere, by name of the field. Typed texts are kept in ``draft``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", tooltip="Leave; what was typed is kept"),
        Binding("down", "next", "Next field", show=False),
        Binding("up", "previous", "Previous field", show=False),
        Binding("enter,ctrl+j,f5", "start", "Start", key_display="enter", tooltip="Start it"),
    ]
    AUTO_FOCUS = f"#{_BEFORE}0"
    DEFAULT_CSS = """
    OperationForm > Container { width: 92; max-width: 100%; height: auto; max-height: 100%;
        padding: 0 1; border: round $accent; background: $surface; }
    OperationForm #about { height: auto; max-height: 2; color: $foreground-muted; }
    OperationForm VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
    OperationForm .row { height: 1; }
    OperationForm .row Label { width: 22; color: $foreground-muted; }
    OperationForm .row Input { width: 1fr; background: $boost; }
    OperationForm .row Input:focus { background: $surface-lighten-1; }
    OperationForm .row Choice { width: 1fr; }
    OperationForm ProblemLine { padding-left: 22; }
    OperationForm #meaning { height: 3; border-top: solid $panel-lighten-2;
        color: $foreground-muted; }
    OperationForm #keys { color: $foreground-muted; height: 1; }
    """

    def __init__(
        self,
        operation: Operation[Any],
        known: Mapping[str, str],
        draft: dict[str, str] | None = None,
    ) -> None:
        super().__init__(classes="dialog")
        self._operation = operation
        self._fields = fields_of(operation.arguments)
        self.draft: dict[str, str] = {} if draft is None else draft
        self._first = first_texts(operation.arguments, known) | self.draft

    def compose(self) -> ComposeResult:
        """Compose the description, the fields, and the help of the focused field."""
        with Container() as box:
            box.border_title = self._operation.title
            yield Clipped(
                _sentence(self._operation.description), id="about", classes="if-roomy", markup=False
            )
            with FieldList():
                for at, field in enumerate(self._fields):
                    with Horizontal(classes="row"):
                        yield Label(_shown(field.label), markup=False)
                        yield self._widget(at, field)
                    yield ProblemLine(id=f"problem-{field.name}")
            yield ProblemLine(id=f"problem-{WHOLE}")
            yield Clipped(id="meaning", classes="if-roomy")
            yield Clipped("Enter start · ↑ ↓ field · ← → choose · Esc close, keep input", id="keys")

    def _widget(self, at: int, field: FormField) -> Widget:
        value = self._first[field.name]
        place = f"{_BEFORE}{at}"
        if field.values:
            return Choice(field.values, value, id=place)
        shown = printable(value)
        return Input(shown, _hint(field), id=place, compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        """Explain the first field."""
        self._explain()

    def on_resize(self, event: events.Resize) -> None:
        """Make the fields scroll where there is no room for all of them."""
        self.query_one(VerticalScroll).styles.max_height = max(3, event.size.height - _AROUND)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Explain the focused field."""
        self._explain(event.widget)

    def typed(self) -> dict[str, str]:
        """Return the typed and chosen values by field."""
        found = {}
        for at, field in enumerate(self._fields):
            widget = self.query_one(f"#{_BEFORE}{at}")
            assert isinstance(widget, Input | Choice)
            found[field.name] = widget.value
        return found

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self, event: Input.Changed | Choice.Changed) -> None:
        if not self.query("#keys"):
            return
        self.draft.update(self.typed())
        at = str(event.control.id).removeprefix(_BEFORE)
        if at.isdecimal():
            self._show_problem(self._fields[int(at)].name, "")
        self._show_problem(WHOLE, "")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Return the arguments, or show the problems and focus the first."""
        found = check(self._operation.arguments, self.typed())
        for name in (*(field.name for field in self._fields), WHOLE):
            self._show_problem(name, found.problems.get(name, ""))
        wrong = [at for at, field in enumerate(self._fields) if field.name in found.problems]
        if wrong:
            self.query_one(f"#{_BEFORE}{wrong[0]}").focus()
        if found.arguments is not None:
            self.dismiss(found.arguments)

    def _explain(self, widget: Widget | None = None) -> None:
        at = str((widget or self.focused or self).id or "").removeprefix(_BEFORE)
        if at.isdecimal() and self.query("#meaning"):
            field = self._fields[int(at)]
            how = f" Several: put {field.between.strip()} between them." if field.between else ""
            needed = " Required." if field.required else ""
            explanation = Content(_shown(field.help or field.label) + how + needed)
            self.query_one("#meaning", Static).update(explanation)

    def _show_problem(self, name: str, problem: str) -> None:
        self.query_one(f"#problem-{name}", ProblemLine).show(problem)


def _hint(field: FormField) -> str:
    if field.required:
        return "required"
    return f"{field.default} if left empty" if field.default else "may be left empty"


def _sentence(words: str) -> str:
    """Return the first paragraph on one line."""
    return _shown(" ".join(words.partition("\n\n")[0].split()))


def _shown(words: str) -> str:
    return text.line(words).plain
