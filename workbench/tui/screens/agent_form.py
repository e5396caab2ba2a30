"""The form that starts an agent: its mode, model, budgets and approval policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from workbench.display import printable
from workbench.engine.agent_request import AuditRequest, EndpointFacts
from workbench.tui import text
from workbench.tui.dialogs.field_form import FieldForm, FieldList
from workbench.tui.pair_form import Fields
from workbench.tui.request_form import MODES, OFF, ON, POLICIES, check_request
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.problem_line import ProblemLine

_LABELS = {
    "mode": "Agent",
    "model": "Model",
    "interactions": "Interactions",
    "calls": "Replies",
    "tokens": "Tokens",
    "minutes": "Minutes",
    "approval": "Asks you",
    "blind": "Blind",
    "prepare": "Prepare",
}
_VALUES: Mapping[str, Sequence[str]] = {
    "mode": tuple(MODES.values()),
    "approval": tuple(POLICIES.values()),
    "blind": (OFF, ON),
    "prepare": (ON, OFF),
}
_UNITS = {
    "interactions": "with the models; the paper used 0, 5 and 50",
    "calls": "of the agent's model",
    "tokens": "of the agent's model, prompts included",
    "minutes": "at work; pauses do not count",
}
_NO_KEY = (
    "\nNo API key is set: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none, or "
    "write api_key or base_url into "
)
_MODE_MEANINGS = {
    "ADL": "sees readings and steered texts, and may ask both models",
    "black box": "may ask both models, and sees nothing else",
    "scaffolded": "a black box that suggests its first questions itself",
}
_APPROVAL_MEANINGS = {
    "never": "it never asks for approval",
    "spending": "before it puts anything to the models",
    "always": "before every call of a tool",
}


class AgentForm(FieldForm[AuditRequest]):
    """The form; returns the request, and keeps typed texts in ``draft``.

    ``missing`` names what the overview of an ADL agent still lacks; ``is_blind`` is True if the
    session's names are hidden already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", tooltip="Leave; what was typed is kept"),
        Binding("down", "next", "Next field", show=False),
        Binding("up", "previous", "Previous field", show=False),
        Binding("enter,ctrl+j,f5", "start", "Start", key_display="enter", tooltip="Start it"),
    ]
    AUTO_FOCUS = "#model"
    DEFAULT_CSS = """
    AgentForm > Container { width: 80; max-width: 100%; height: auto; padding: 0 1;
        border: round $accent; background: $surface; }
    AgentForm VerticalScroll { height: auto; max-height: 19; scrollbar-size-vertical: 1; }
    AgentForm .row { height: 1; }
    AgentForm .row Label { width: 13; color: $text-muted; }
    AgentForm .row Input { width: 1fr; background: $boost; }
    AgentForm .row Input.-short { width: 12; }
    AgentForm .row Input:focus { background: $surface-lighten-1; }
    AgentForm .row .unit { width: 1fr; padding-left: 2; color: $text-muted; }
    AgentForm .note { height: auto; padding-left: 13; color: $text-muted; }
    AgentForm ProblemLine { padding-left: 13; }
    AgentForm #wrong { height: auto; color: $text-error; }
    AgentForm #keys { color: $text-muted; }
    """

    def __init__(
        self,
        draft: Fields,
        facts: EndpointFacts,
        *,
        missing: Sequence[str] = (),
        is_blind: bool = False,
    ) -> None:
        super().__init__(classes="dialog")
        self.draft = draft
        self._facts = facts
        self._missing = missing
        self._is_blind = is_blind

    def compose(self) -> ComposeResult:
        """Compose a line for each field, with room for its problem."""
        with Container() as box:
            box.border_title = "Start an agent"
            with FieldList():
                yield from self._row("mode")
                yield Static(id="mode-meaning", classes="note")
                yield from self._row("model")
                yield Static(self._endpoint(), classes="note", id="endpoint")
                for name in ("interactions", "calls", "tokens", "minutes"):
                    yield from self._row(name)
                yield from self._row("approval")
                yield from self._row("blind")
                yield from self._row("prepare")
            yield Static(id="wrong")
            yield Static(
                "Enter start · ↑ ↓ field · ← → choose · Esc close, keep input",
                id="keys",
                classes="if-roomy",
            )

    def _row(self, name: str) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Label(_LABELS[name])
            yield self._field(name)
            if name in _UNITS:
                yield Static(_UNITS[name], classes="unit")
            elif name in {"approval", "blind", "prepare"}:
                yield Static(id=f"{name}-meaning", classes="unit")
        yield ProblemLine(id=f"{name}-problem")

    def _field(self, name: str) -> Widget:
        value = self.draft.get(name, "")
        if name in _VALUES:
            choice = Choice(_VALUES[name], value, id=name)
            choice.styles.width = "auto" if name == "mode" else sum(map(len, _VALUES[name])) + 9
            return choice
        shown = printable(value)
        if name == "model" and not shown:
            shown = self._facts.model or ""
        return Input(
            shown,
            "its name at the endpoint" if name == "model" else "no limit",
            id=name,
            compact=True,
            select_on_focus=False,
            classes="" if name == "model" else "-short",
        )

    def _endpoint(self) -> Content:
        if self._facts.trouble:
            return text.block(self._facts.trouble, "$text-error")
        address = text.line(self._facts.address)
        if self._facts.is_ready:
            return Content.assemble("at ", address)
        return Content.assemble(
            "at ",
            address,
            (_NO_KEY, "$text-error"),
            text.line(self._facts.config_file, "$text-error"),
        )

    def on_mount(self) -> None:
        """Explain the choices."""
        self._explain()

    def fields(self) -> Fields:
        """Return the typed and chosen values."""
        found: Fields = {}
        for name in _LABELS:
            widget = self.query_one(f"#{name}")
            assert isinstance(widget, Input | Choice)
            found[name] = widget.value
        return found

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self) -> None:
        if not self.query("#prepare"):
            return
        self.draft.update(self.fields())
        for name in _LABELS:
            self._show_problem(name, "")
        self.query_one("#wrong", Static).update("")
        self._explain()

    def _explain(self) -> None:
        fields = self.fields()
        adl = fields["mode"] == MODES["adl"]
        missing = ", ".join(self._missing)
        prepare = "all that it is shown is computed"
        if missing:
            prepare = (
                f"first computes: {missing}" if fields["prepare"] == ON else f"without {missing}"
            )
        blind = "names of the pair are hidden, from it and in every pane"
        if self._is_blind:
            blind = "this session is blind already, and stays so"
        elif fields["blind"] == OFF:
            blind = "it sees the names of models and adapters"
        for name, meaning in {
            "mode": _MODE_MEANINGS.get(fields["mode"], ""),
            "approval": _APPROVAL_MEANINGS.get(fields["approval"], ""),
            "blind": blind,
            "prepare": prepare if adl else "a black box is shown nothing",
        }.items():
            self.query_one(f"#{name}-meaning", Static).update(Content(meaning))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Return the request, or show the problems and focus the first."""
        wish, problems = check_request(self.fields())
        for name in _LABELS:
            self._show_problem(name, problems.get(name, ""))
        wrong = next((name for name in _LABELS if name in problems), None)
        if wrong is not None:
            self.query_one(f"#{wrong}").focus()
        elif not self._facts.is_ready:
            message = "It cannot start without a key: see above." if not self._facts.trouble else ""
            self.query_one("#wrong", Static).update(Content(message))
        else:
            self.dismiss(wish)

    def _show_problem(self, name: str, problem: str) -> None:
        self.query_one(f"#{name}-problem", ProblemLine).show(problem)
