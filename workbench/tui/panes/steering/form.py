"""The settings in a few lines, each with its key, navigable by Tab and arrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from workbench.display import clean_line, shorten
from workbench.tui import keys
from workbench.tui.panes.steering.settings import SteeringSettings

_GAP = "   "
_LONGEST = 40


@dataclass(frozen=True)
class Field:
    """A setting on the form: the id of its key, its name, its value. ``idle``: without effect now."""

    key_id: str
    name: str
    label: str
    value: str
    idle: bool = False

    @property
    def key(self) -> str:
        """The key as it is shown."""
        return keys.shown(self.key_id)


class SettingsForm(Widget, can_focus=True):
    """Fields wrapped to the width."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Field before", show=False, tooltip="Go to the field before"),
        Binding("right", "move(1)", "Next field", show=False, tooltip="Go to the next field"),
        Binding("up", "step(-1)", "Value before", show=False, tooltip="Take the value before"),
        Binding("down", "step(1)", "Next value", show=False, tooltip="Take the next value"),
        Binding("enter,space", "edit", "Change", show=False, tooltip="Change this setting"),
    ]
    DEFAULT_CSS = "SettingsForm { height: auto; }"

    cursor: reactive[int] = reactive(0)

    @dataclass
    class Chosen(Message):
        """Request to change a field: edit it (``step`` 0) or step through its values."""

        name: str
        step: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._fields: tuple[Field, ...] = ()

    def draw(self, fields: Sequence[Field]) -> None:
        """Show the fields."""
        if tuple(fields) != self._fields:
            self._fields = tuple(fields)
            self.refresh(layout=True)

    def validate_cursor(self, index: int) -> int:
        """Keep the cursor on a field."""
        return max(0, min(index, len(self._fields) - 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the number of lines that the fields need at this width."""
        return max(1, len(self._lines(width)))

    def render(self) -> Content:
        """The fields, the one under the cursor marked while the form has the focus."""
        lines = []
        for line in self._lines(self.size.width):
            shown: list[Content | str] = []
            for index, value in line:
                shown += [self._shown(index, value), _GAP]
            lines.append(Content.assemble(*shown[:-1]))
        return Content("\n").join(lines)

    def on_focus(self) -> None:
        """Show the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hide the cursor."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Change the field that was clicked."""
        lines = self._lines(self.size.width)
        if not 0 <= event.y < len(lines):
            return
        x = 0
        for index, value in lines[event.y]:
            field = self._fields[index]
            wide = len(field.key) + len(field.label) + cell_len(value) + 2
            if x <= event.x < x + wide:
                self.cursor = index
                self.post_message(self.Chosen(field.name, 0))
            x += wide + len(_GAP)

    def action_move(self, step: int) -> None:
        """Go to another field."""
        self.cursor += step

    def action_step(self, step: int) -> None:
        """Choose another value."""
        self.post_message(self.Chosen(self._fields[self.cursor].name, step))

    def action_edit(self) -> None:
        """Change the field under the cursor."""
        self.post_message(self.Chosen(self._fields[self.cursor].name, 0))

    def _shown(self, index: int, value: str) -> Content:
        field = self._fields[index]
        if self.has_focus and index == self.cursor:
            whole = f"{field.key} {field.label} {value}"
            return Content.styled(
                whole, "bold $block-cursor-foreground on $block-cursor-background"
            )
        return Content.assemble(
            (field.key, "bold $accent"),
            (f" {field.label} ", "$foreground-muted"),
            (value, "$foreground-muted" if field.idle else "bold"),
        )

    def _lines(self, width: int) -> list[list[tuple[int, str]]]:
        """Return the fields of each line, with their values cut to the width."""
        lines: list[list[tuple[int, str]]] = []
        room = 0
        for index, field in enumerate(self._fields):
            fixed = len(field.key) + len(field.label) + 2
            value = shorten(clean_line(field.value), max(1, min(_LONGEST, width - fixed)))
            needed = fixed + cell_len(value)
            if not lines or room < needed:
                lines.append([])
                room = width
            lines[-1].append((index, value))
            room -= needed + len(_GAP)
        return lines


def fields_of(settings: SteeringSettings, layer: int | None) -> list[Field]:
    """The fields of the form; ``layer`` is which one the setting means, if that is known."""
    relative = layer is not None and settings.layer != str(layer)
    where = f"{settings.layer} → {layer}" if relative else settings.layer
    everyday, prompt = settings.text("everyday"), settings.prompt or "none"
    other = settings.carrier != "difference"
    vector = settings.source.replace("_", " ")
    return [
        Field("layer", "layer", "layer", where, idle=other),
        Field("position", "position", "position", settings.position, idle=other),
        Field("side", "side", "side", settings.side, idle=other),
        Field("vector", "source", "vector", vector, idle=other),
        Field("seed", "seed", "seed", settings.text("seed")),
        Field("temperature", "temperature", "temp", settings.text("temperature")),
        Field("tokens", "tokens", "tokens", settings.text("tokens")),
        Field("samples", "samples", "samples", settings.text("samples")),
        Field("thinking", "thinking", "thinking", settings.thinking),
        Field("everyday", "everyday", "everyday prompts", everyday, idle=settings.own),
        Field("new", "prompt", "own prompt", prompt, idle=not settings.own),
        Field("sweep_alphas", "sweep", "sweep", settings.text("sweep")),
        Field("carrier", "carrier", "carrier", settings.carrier),
    ]
