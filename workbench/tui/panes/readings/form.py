"""Ask which layer to read, and whether every way or one way only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Input, Label, Static

from adl.errors import SiteError
from adl.pair.protocol import resolve_layer
from workbench.display import clean_line
from workbench.tui import text
from workbench.tui.panes.readings.index import Index
from workbench.tui.panes.readings.render import plain
from workbench.tui.widgets.dialog import Dialog


@dataclass(frozen=True)
class ReadRequest:
    """A layer as typed and as an index; ``only`` is one reading, or None for all."""

    typed: str
    layer: int
    only: str | None


class Tick(Static, can_focus=True):
    """A checkbox whose state is visible without colours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "tick", "Tick", tooltip="Tick the box, or not"),
        Binding("enter", "screen.read", "Read", show=False),
    ]
    DEFAULT_CSS = """
    Tick { height: auto; width: auto; max-width: 100%; }
    Tick:focus { background: $block-cursor-background; color: $block-cursor-foreground; }
    """

    value: reactive[bool] = reactive(False)

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = clean_line(label)

    def render(self) -> Content:
        """The box and what it is for."""
        return Content(f"[{'x' if self.value else ' '}] {self._label} ")

    def action_tick(self) -> None:
        """Tick it, or take the tick away."""
        self.value = not self.value

    def on_click(self) -> None:
        """Tick it, or take the tick away."""
        self.action_tick()


class ReadForm(Dialog[ReadRequest | None]):
    """A layer, and a box to tick; Enter reads, Escape leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", tooltip="Leave without reading"),
        Binding("ctrl+j", "read", "Read", tooltip="Measure if need be, and read"),
    ]
    DEFAULT_CSS = """
    ReadForm Label { color: $text-muted; }
    ReadForm #what { height: auto; min-height: 2; margin-top: 1; }
    ReadForm Tick { margin-top: 1; }
    """

    def __init__(self, index: Index, layer: str, reading: str, n_layers: int) -> None:
        super().__init__(classes="dialog")
        self._index = index
        self._layer = layer
        self._reading = reading
        self._n_layers = n_layers

    def compose(self) -> ComposeResult:
        """A field, a box, and what Enter will do."""
        with Vertical() as frame:
            frame.border_title = "Read the difference"
            yield Label(
                f"Layer: 0 to {self._n_layers - 1}, or a share of the depth such as 0.25",
                markup=False,
            )
            yield Input(self._layer)
            yield Tick(f"only {plain(self._reading)}")
            yield Static(id="what")

    def on_input_changed(self) -> None:
        """Show what Enter will do."""
        self._show_effect()

    def on_input_submitted(self) -> None:
        """Read."""
        self.action_read()

    def action_read(self) -> None:
        """Return the request, unless there is no such layer."""
        layer = self._resolved()
        if layer is not None:
            only = self._reading if self.query_one(Tick).value else None
            self.dismiss(ReadRequest(self._typed, layer, only))

    def action_cancel(self) -> None:
        """Give nothing back."""
        self.dismiss(None)

    @property
    def _typed(self) -> str:
        return self.query_one(Input).value.strip()

    def _resolved(self) -> int | None:
        try:
            return resolve_layer(self._typed, self._n_layers)
        except SiteError:
            return None

    def _show_effect(self) -> None:
        what = self.query_one("#what", Static)
        try:
            layer = resolve_layer(self._typed, self._n_layers)
        except SiteError as exc:
            what.update(text.problem(f"{exc.message}\n{exc.hint}"))
            return
        if self._index.readings(layer):
            effect = f"Enter reads layer {layer} again; new lists take the place of the old."
        elif self._index.measured(layer) is not None:
            effect = f"Enter reads the difference measured at layer {layer}."
        else:
            effect = f"Enter measures the difference at layer {layer}, then reads it."
        what.update(Content(effect))
