"""The form for the settings of probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

from pydantic import ValidationError
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Label, Static

from adl.pair.protocol import Thinking
from adl.records import POOLED, SIDES, Side
from workbench.fields import in_words
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.field_form import FieldList
from workbench.tui.operation_fields import typed_text
from workbench.tui.panes.chat.field import ProbeField
from workbench.tui.panes.chat.settings import ProbeSettings
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.problem_line import ProblemLine

_ASKED: Mapping[str, tuple[Side, ...]] = {
    "both": SIDES,
    "base": ("base",),
    "finetuned": ("finetuned",),
}
_NUMBERS: Sequence[tuple[str, str, str]] = (
    ("n_samples", "Samples", "answers per model"),
    ("max_new_tokens", "Tokens", "longest answer"),
    ("temperature", "Temperature", "0 takes the most probable token"),
    ("seed", "Seed", "further samples take the ones after it"),
)
_STEERING: Sequence[tuple[str, str, str]] = (
    ("alpha", "Alpha", "in units of the residual norm"),
    ("layer", "Layer", ""),
    ("position", "Position", ""),
)
_SWITCH = ("off", "on")


class ChatForm(Dialog[ProbeSettings | None]):
    """All settings of a probe; Enter applies them, Escape leaves them unchanged."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("enter", "take", "Take", show=False),
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Field before", show=False),
    ]
    DEFAULT_CSS = """
    ChatForm > VerticalScroll { width: 74; max-width: 98%; height: auto; max-height: 98%;
        border: round $accent; border-title-color: $accent; background: $surface; padding: 0 2;
        scrollbar-size-vertical: 1; }
    ChatForm Horizontal { height: auto; }
    ChatForm Label { width: 14; color: $foreground-muted; }
    ChatForm .hint { width: 1fr; padding-left: 2; color: $foreground-muted; text-wrap: nowrap;
        text-overflow: ellipsis; }
    ChatForm Input { width: 14; background: $panel; }
    ChatForm Input:focus { background: $panel-lighten-2; }
    ChatForm Choice { width: auto; min-width: 14; }
    ChatForm ProbeField { width: 1fr; max-height: 3; background: $panel; }
    ChatForm ProblemLine { text-style: bold; }
    ChatForm #keys { color: $foreground-muted; margin-top: 1; }
    """

    def __init__(self, settings: ProbeSettings, *, measured: Mapping[str, str], begin: str) -> None:
        super().__init__(classes="dialog")
        self._settings = settings
        self._measured = measured
        self._begin = begin

    def compose(self) -> ComposeResult:
        """A row for each setting."""
        given = self._settings
        asked = next((name for name, sides in _ASKED.items() if sides == given.sides), "both")
        with FieldList() as form:
            form.border_title = "Settings of the questions"
            yield from self._row(
                "System turn", ProbeField(given.system, on_send=self.action_take, id="system")
            )
            yield from self._row(
                "Prefill", ProbeField(given.prefill, on_send=self.action_take, id="prefill")
            )
            yield from self._switch("as_raw", "Raw text", "no template, system turn or prefill")
            yield from self._row("Asked", Choice(list(_ASKED), asked, id="sides"))
            yield from self._row(
                "Thinking",
                Choice(get_args(Thinking), given.thinking, id="thinking"),
                Static("auto is as the chat template has it", classes="hint"),
            )
            for name, label, hint in _NUMBERS:
                yield from self._number(name, label, hint)
            yield from self._switch("steering", "Steering", "add the measured difference")
            for name, label, hint in _STEERING:
                yield from self._number(name, label, hint or self._measured.get(name, ""))
            yield ProblemLine()
            yield Static("Enter applies these settings, Esc closes without a change.", id="keys")

    def _row(self, label: str, *widgets: Any) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Label(label)
            yield from widgets

    def _switch(self, name: str, label: str, hint: str) -> ComposeResult:
        chosen = _SWITCH[getattr(self._settings, name)]
        yield from self._row(label, Choice(_SWITCH, chosen, id=name), Static(hint, classes="hint"))

    def _number(self, name: str, label: str, hint: str) -> ComposeResult:
        value = getattr(self._settings, name)
        yield from self._row(
            label,
            Input(text.line(typed_text(value)).plain, id=name, compact=True),
            Static(text.line(hint), classes="hint"),
        )

    def on_mount(self) -> None:
        """Focus the requested field."""
        self.query_one(f"#{self._begin}").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Submit the form on Enter in a one-line field."""
        event.stop()
        self.action_take()

    def action_take(self) -> None:
        """Apply the settings, or show the problem."""
        typed = {
            name: self.query_one(f"#{name}", Input).value.strip()
            for name, _, _ in (*_NUMBERS, *_STEERING)
        }
        try:
            settings = ProbeSettings.model_validate(
                self._settings.model_dump()
                | typed
                | {
                    "system": self.query_one("#system", ProbeField).value,
                    "prefill": self.query_one("#prefill", ProbeField).value,
                    "as_raw": self._is_on("as_raw"),
                    "sides": _ASKED[self.query_one("#sides", Choice).value],
                    "thinking": self.query_one("#thinking", Choice).value,
                    "steering": self._is_on("steering"),
                }
            )
        except ValidationError as error:
            self._show_problem(in_words(error, ProbeSettings))
            return
        if settings.steering and not settings.alpha:
            self._show_problem("alpha 0 does not steer: enter another value, or turn steering off")
            return
        self.dismiss(settings)

    def _is_on(self, name: str) -> bool:
        return self.query_one(f"#{name}", Choice).value == _SWITCH[1]

    def _show_problem(self, problem: str) -> None:
        line = self.query_one(ProblemLine)
        line.show(problem)
        line.scroll_visible(animate=False)

    def action_cancel(self) -> None:
        """Leave the settings as they were."""
        self.dismiss(None)


def measured_places(state: SessionState) -> dict[str, str]:
    """Return the layers and positions with a measured difference, by setting."""
    layers = sorted(
        {layer for difference in state.differences.values() for layer in difference.body.layers}
    )
    if not layers:
        return dict.fromkeys(
            ("layer", "position"), f"not measured; {keys.shown('audit')} measures it"
        )
    newest = next(reversed(list(state.differences.values())))
    return {
        "layer": f"measured: {', '.join(map(str, layers))}; 0.5 is half the depth",
        "position": f"measured: {', '.join((*newest.body.positions, POOLED))}",
    }
