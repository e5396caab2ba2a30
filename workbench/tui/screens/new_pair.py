"""Type a pair: base, and an adapter or a finetuned checkpoint, with how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from workbench.display import printable
from workbench.operations.pair import PairArguments
from workbench.tui.dialogs.field_form import FieldList
from workbench.tui.dialogs.pane_help import KeyHelp
from workbench.tui.messages import OpenPair
from workbench.tui.on_screen import PAIR_LABELS
from workbench.tui.pair_form import DEFAULT, HERE, OFF, ON, Fields, as_fields, check_pair
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.dialog import CRAMPED, show_focus
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.problem_line import ProblemLine

_LABELS = PAIR_LABELS | {
    "finetuned": "or finetuned",
    "name": "Session name",
    "prepare": "Measure at once",
    "blind": "Blind",
}
_PLACEHOLDERS = {
    "base": "owner/name[@revision], a folder or a GGUF file",
    "adapter": "LoRA adapter: owner/name[@revision] or a folder",
    "finetuned": "as the base, or an adapter's folder",
    "device_map": "auto, cpu, cuda:0 or a file; empty: a GPU if any",
    "offload_folder": "for weights on the disk; empty is a temporary one",
    "chat_template": "one by name, or a file; empty takes the default",
    "name": "what is audited, and the time",
}
_VALUES = {
    "dtype": ("auto", "float32", "float16", "bfloat16"),
    "attn_implementation": (DEFAULT, "eager", "sdpa", "flash_attention_2"),
    "quantisation": (DEFAULT, "8bit", "4bit"),
    "trust_remote_code": (OFF, ON),
    "remote": (HERE, "ndif"),
    "prepare": (ON, OFF),
    "blind": (OFF, ON),
}
_OWN = ("name", "prepare", "blind")
"Fields of the session, not of the pair."
_GROUPS = (
    ("The models", ("base", "adapter", "finetuned")),
    (
        "How to load them",
        (
            "dtype",
            "device_map",
            "offload_folder",
            "attn_implementation",
            "quantisation",
            "trust_remote_code",
            "chat_template",
            "remote",
        ),
    ),
    ("The session", ("name", "prepare", "blind")),
)
_TRUSTED = "Python code that comes with the checkpoint will run here, with all your rights."


def empty_pair() -> Fields:
    """The form as it is before anything is typed."""
    return as_fields(PairArguments()) | {"name": "", "prepare": ON, "blind": OFF}


def form_of(wanted: OpenPair) -> Fields:
    """Return the form as it would be typed to ask for what was asked for."""
    return as_fields(wanted.pair) | {
        "name": wanted.name or "",
        "prepare": ON if wanted.prepare else OFF,
        "blind": ON if wanted.blind else OFF,
    }


class NewPairScreen(Screen[OpenPair | None]):
    """The form; it gives back what to open, and keeps in ``draft`` what was typed."""

    TITLE = "New pair"
    HELP = """
Name two models to compare: a base, and what was finetuned from it, as an adapter or as a whole
checkpoint. A name is an id on the hub, with `@` a branch, tag or commit, or a local folder. A model
may also be a GGUF file, here (`./model.gguf`) or on the hub (`owner/name/FILE.gguf`).
With both, the adapter is on the finetuned checkpoint. A base and a chat model may differ in chat
template, special tokens and vocabulary: the Pair pane then says what does not match.
A blind session hides every name of the pair from its loading on, until you have them revealed.
Enter opens the pair from any field; what is wrong stands below the field it is about.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", tooltip="Back; what was typed is kept"),
        Binding("down", "next", "Next field", show=False, tooltip="Go to the next field"),
        Binding("up", "previous", "Previous field", show=False, tooltip="Go to the field before"),
        Binding("enter,ctrl+j", "open", "Open", key_display="enter", tooltip="Open the pair"),
        Binding("f1", "help", "Help", tooltip="What the fields mean, and the keys"),
    ]
    AUTO_FOCUS = "#base"
    HORIZONTAL_BREAKPOINTS = CRAMPED
    DEFAULT_CSS = """
    NewPairScreen VerticalScroll { padding: 0 2; scrollbar-size-vertical: 1; }
    NewPairScreen .group { text-style: bold; margin-top: 1; }
    NewPairScreen .group.-first { margin-top: 0; }
    NewPairScreen .row { height: 1; }
    NewPairScreen .row Label { width: 20; color: $text-muted; padding-left: 2; }
    NewPairScreen .row Input { width: 1fr; background: $surface; }
    NewPairScreen .row Input:focus { background: $surface-lighten-1; }
    NewPairScreen ProblemLine { padding-left: 20; }
    NewPairScreen #whole-problem { padding-left: 2; }
    NewPairScreen Button { margin-top: 1; margin-left: 20; }
    """

    def __init__(self, draft: Fields, wrong: Mapping[str, str] | None = None) -> None:
        """``wrong`` are problems to begin with, by field; ``WHOLE`` for the pair as a whole."""
        super().__init__()
        self.draft = draft
        self._wrong = dict(wrong or {})
        self._refused: Fields = {}

    def compose(self) -> ComposeResult:
        """Fields in three groups, each with room for what is wrong with it."""
        with FieldList():
            yield ProblemLine(id="whole-problem")
            for place, (title, names) in enumerate(_GROUPS):
                yield Static(title, classes="group" if place else "group -first")
                for name in names:
                    with Horizontal(classes="row"):
                        yield Label(_LABELS[name])
                        yield self._field(name)
                    yield ProblemLine(id=f"{name}-problem")
            yield Button("Open the pair", id="open", compact=True, variant="primary")
        yield KeyBar()

    def _field(self, name: str) -> Widget:
        value = self.draft.get(name, "")
        if name in _VALUES:
            return Choice(_VALUES[name], value, id=name)
        shown = printable(value)
        return Input(shown, _PLACEHOLDERS[name], id=name, compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        """Show what is wrong already, and what a choice that was kept means."""
        self._show(self._wrong)

    def on_resize(self, event: events.Resize) -> None:
        """Keep the field that has the focus in sight."""
        self.call_after_refresh(show_focus, self)

    def fields(self) -> Fields:
        """Return the typed and chosen values."""
        return {name: self._value(name) for name in _LABELS}

    def _value(self, name: str) -> str:
        widget = self.query_one(f"#{name}")
        assert isinstance(widget, (Input, Choice))
        return widget.value

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        # What was wrong may be so no more; it is looked at again when the pair is opened.
        name = str(event.input.id)
        if event.value != self._refused.get(name):
            self._show_problem(name, "")

    @on(Choice.Changed)
    def _chosen(self, event: Choice.Changed) -> None:
        self._show_problem(str(event.choice.id), "")
        self._warn_of_code()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_open()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        """Return the pair, or show the problems and focus the first."""
        fields = self.fields()
        checked = check_pair({name: fields[name] for name in fields if name not in _OWN})
        self._show(checked.problems)
        if checked.arguments is not None:
            self._keep()
            name = fields["name"].strip() or None
            self.dismiss(
                OpenPair(
                    checked.arguments,
                    name,
                    fields["prepare"] == ON,
                    blind=fields["blind"] == ON,
                    is_typed=True,
                )
            )

    def _show(self, problems: Mapping[str, str]) -> None:
        self._refused = self.fields()
        unplaced = [problem for name, problem in problems.items() if name not in _LABELS]
        self._show_problem("whole", "; ".join(unplaced))
        for name in _LABELS:
            self._show_problem(name, problems.get(name, ""))
        self._warn_of_code()
        for name in _LABELS:
            if name in problems:
                self.query_one(f"#{name}").focus()
                return

    def _show_problem(self, name: str, problem: str) -> None:
        self.query_one(f"#{name}-problem", ProblemLine).show(problem)

    def _warn_of_code(self) -> None:
        if self._value("trust_remote_code") == ON:
            self._show_problem("trust_remote_code", _TRUSTED)

    def _keep(self) -> None:
        self.draft.clear()
        self.draft.update(self.fields())

    def action_back(self) -> None:
        """Close the form and keep its draft."""
        self._keep()
        self.dismiss(None)

    def action_next(self) -> None:
        """Go to the next field."""
        self.focus_next()

    def action_previous(self) -> None:
        """Go to the previous field."""
        self.focus_previous()

    def action_help(self) -> None:
        """Show the help of the form."""
        self.app.push_screen(KeyHelp("New pair", self.HELP, [("Keys", [self])]))
