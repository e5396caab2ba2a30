"""The settings on the screen: slider, form, input line and status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from adl.pair.protocol import Thinking
from adl.records import SIDES
from workbench.tui import text
from workbench.tui.panes.steering.facts import SteeringFacts
from workbench.tui.panes.steering.form import SettingsForm, fields_of
from workbench.tui.panes.steering.settings import CARRIERS, SOURCES, SteeringSettings
from workbench.tui.widgets.slider import Slider

_TYPED = {
    "alpha": "alpha, in residual norms",
    "layer": "layer, a number or a share of the depth",
    "prompt": "own prompt",
    "everyday": "how many everyday prompts",
    "seed": "first seed",
    "temperature": "temperature",
    "tokens": "longest text, in tokens",
    "samples": "samples per prompt",
    "sweep": "alphas of the sweep",
}
_COUNTED = {"everyday", "seed", "tokens", "samples"}
_TEMPERATURE_STEP = 0.1
#: What a strength multiplies, and where it begins, by carrier.
_MEANS = {
    "logits": ("× (log p - log p of base)", "1 amplifies a little, 4 strongly"),
    "adapter": ("× the adapter's own scale", "1 is finetuned, 0 base, -1 the opposite"),
    "rank1": ("× the rank-1 part of each update", "1 is as trained"),
}
#: An alpha from which on even small models write noise.
_NOISE = 2.0


class SteeringConsole(Vertical):
    """Holds the settings. `tell` passes in the measured and suggested values."""

    DEFAULT_CSS = """
    SteeringConsole { height: auto; }
    SteeringConsole #edit { height: 1; display: none; background: $boost; }
    SteeringConsole #edit.-open { display: block; }
    SteeringConsole #edit Label { color: $text-accent; text-style: bold; width: auto; }
    SteeringConsole #edit Input { width: 1fr; }
    SteeringConsole #status { height: auto; max-height: 3; display: none; }
    SteeringConsole #status.-any { display: block; }
    """

    class Changed(Message):
        """A setting was changed."""

    class Left(Message):
        """The input line was closed; the focus goes back to where it was."""

    @dataclass
    class _Status:
        text: str
        is_problem: bool

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.settings = SteeringSettings()
        self._facts = SteeringFacts()
        self.recorded = False
        self._being_measured = False
        self._editing: str | None = None
        self._status = self._Status("", is_problem=False)
        self._from_form = False

    def compose(self) -> ComposeResult:
        """Compose the slider, the form and the input line."""
        yield Slider("α", id="alpha")
        yield SettingsForm(id="settings")
        with Horizontal(id="edit"):
            yield Label(markup=False)
            yield Input(compact=True)
        yield Static(id="status", markup=False)

    def on_mount(self) -> None:
        """Draw the settings as they are."""
        self._draw()

    @property
    def editing(self) -> Input | None:
        """Return the open input field, None if there is none."""
        return self.query_one(Input) if self._editing else None

    def tell(self, facts: SteeringFacts, *, being_measured: bool) -> None:
        """Take the facts about the layers and positions that the settings name."""
        if facts is not self._facts or being_measured != self._being_measured:
            self._facts, self._being_measured = facts, being_measured
            self._draw()

    def show_status(self, problem: str = "", *, done: str = "") -> None:
        """Show a problem or an outcome; without arguments, clear the status."""
        self._status = self._Status(problem or done, is_problem=bool(problem))
        self._draw_status()

    def view(self) -> dict[str, Any]:
        """Return the settings and the text being typed."""
        return {
            "settings": self.settings.as_view(),
            "editing": self._editing,
            "draft": self.query_one(Input).value if self._editing else "",
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore what still applies."""
        self.settings = SteeringSettings.from_view(view.get("settings"))
        self._draw()
        editing, draft = view.get("editing"), view.get("draft")
        if isinstance(editing, str) and editing in _TYPED and isinstance(draft, str):
            self._open(editing, draft)
        self.post_message(self.Changed())

    # --- changing settings ------------------------------------------------------------------

    def nudge(self, step: float) -> None:
        """Change alpha by a step; steps stop at 0, only typing changes the sign."""
        alpha = self.settings.alpha
        moved = round(alpha + step, 4)
        self.set_alpha(max(0.0, moved) if alpha >= 0 else min(0.0, moved))

    def set_alpha(self, alpha: float) -> None:
        """Set alpha."""
        self._change(self.settings.changed("alpha", repr(alpha)))

    def take_suggestion(self) -> None:
        """Set alpha to the next one that the shift lens suggests, cyclically."""
        marked = self._facts.suggestions(self.settings)
        if not marked:
            self.show_status(
                "no suggestion: the shift lens was not read at this layer and position"
            )
            return
        after = [alpha for alpha in marked if alpha > self.settings.alpha]
        self.set_alpha((after or marked)[0])

    def edit(self, name: str) -> None:
        """Edit a setting, or choose the next value of one with few values."""
        if name in _TYPED:
            self._from_form = self.query_one(SettingsForm).has_focus
            self._open(name, self.settings.text(name))
            self.query_one(Input).focus()
        else:
            self._step(name, 1)

    def focus_settings(self) -> None:
        """Put the focus on the settings."""
        self.query_one(SettingsForm).focus()

    def leave(self) -> bool:
        """Close the input line without changing the setting; return True if it was open."""
        was_open = self._editing is not None
        self.show_status()
        if was_open:
            self._close()
        return was_open

    def on_slider_set(self, event: Slider.Set) -> None:
        """Set alpha to the clicked value."""
        event.stop()
        self.set_alpha(event.value)

    def on_settings_form_chosen(self, event: SettingsForm.Chosen) -> None:
        """Change a setting from the form."""
        event.stop()
        if event.step:
            self._step(event.name, event.step)
        else:
            self.edit(event.name)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply the typed setting, or show why it is invalid."""
        event.stop()
        if self._editing is None:
            return
        try:
            changed = self.settings.changed(self._editing, event.value)
        except ValueError as exc:
            self.show_status(str(exc))
            return
        wrong = self._facts.wrong_layer(changed.layer) if self._editing == "layer" else ""
        if wrong:
            self.show_status(wrong)
            return
        self._change(changed)
        self._close()

    def _open(self, name: str, value: str) -> None:
        self._editing = name
        self.query_one("#edit Label", Label).update(Content(f"{_TYPED[name]}: "))
        self.query_one("#edit").add_class("-open")
        self.query_one(Input).value = value
        self.show_status()

    def _close(self) -> None:
        had_focus = self.query_one(Input).has_focus
        self._editing = None
        self.query_one("#edit").remove_class("-open")
        if had_focus and self._from_form:
            self.query_one(SettingsForm).focus()
        elif had_focus:
            self.post_message(self.Left())

    def _step(self, name: str, step: int) -> None:
        settings = self.settings
        choices: dict[str, Sequence[str]] = {
            "position": self._facts.positions(settings),
            "side": SIDES,
            "source": SOURCES,
            "carrier": CARRIERS,
            "thinking": get_args(Thinking),
        }
        if name in choices:
            options, now = list(choices[name]), settings.text(name)
            place = options.index(now) + step if now in options else 0
            typed = options[place % len(options)]
        elif name == "layer":
            typed = self._next_layer(step)
        elif name == "temperature":
            typed = f"{settings.temperature + step * _TEMPERATURE_STEP:.10g}"
        elif name in _COUNTED:
            typed = str(int(settings.text(name)) + step)
        else:
            self.edit(name)
            return
        try:
            self._change(settings.changed(name, typed))
        except ValueError as exc:
            self.show_status(str(exc))

    def _next_layer(self, step: int) -> str:
        now = self._facts.layer(self.settings)
        there = self._facts.n_layers
        if now is None or there is None:
            return self.settings.layer
        return str(max(0, min(now + step, there - 1)))

    def _change(self, settings: SteeringSettings) -> None:
        self.settings = settings
        self._status = self._Status("", is_problem=False)
        self._draw()
        self.post_message(self.Changed())

    # --- drawing ----------------------------------------------------------------------------

    def _draw(self) -> None:
        settings, facts = self.settings, self._facts
        norm, layer = facts.norm(settings), facts.layer(settings)
        norms = "residual norms"
        if norm is not None:
            norms = f"× residual norm {norm:.2f} = {settings.alpha * norm:.2f}"
        where = f"layer {settings.layer if layer is None else layer}"
        note = f"norm of {where}, finetuned" if norm is not None else "norm not computed"
        if settings.carrier in _MEANS:
            norms, note = _MEANS[settings.carrier]
        marks = dict.fromkeys(facts.suggestions(settings), "shift lens")
        self.query_one(Slider).draw(settings.alpha, norms, note, marks)
        self.query_one(SettingsForm).draw(fields_of(settings, layer))
        self._draw_status()

    def _draw_status(self) -> None:
        message, settings = self._status, self.settings
        shown = Content("")
        if message.is_problem:
            shown = Content.assemble(("! ", "bold $text-error"), text.problem(message.text, ""))
        elif message.text:
            shown = text.line(message.text, "$text-success")
        elif settings.carrier == "difference" and abs(settings.alpha) > _NOISE:
            shown = text.line(
                f"alpha {settings.alpha:g} adds a vector {abs(settings.alpha):g} times as long as a "
                f"residual: beyond {_NOISE:g} texts are mostly noise",
                "$text-warning",
            )
        elif self._being_measured:
            shown = Content.styled(
                "the difference at this layer is being measured", "$foreground-muted"
            )
        elif self._facts.is_missing(settings):
            shown = text.line(
                self._facts.missing(settings, recorded=self.recorded), "$text-warning"
            )
        widget = self.query_one("#status", Static)
        widget.update(shown)
        widget.set_class(bool(shown.plain), "-any")


def focus_first(console: SteeringConsole, otherwise: Widget) -> None:
    """Focus the open field, otherwise ``otherwise``."""
    (console.editing or otherwise).focus()
