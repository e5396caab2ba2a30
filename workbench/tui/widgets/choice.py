"""One of a few values, all of them in sight on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Choice(Widget, can_focus=True):
    """Values side by side; the chosen one is in brackets, so that it is visible without colours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "step(1)", "Next", tooltip="Choose the next value", show=False),
        Binding("left", "step(-1)", "Previous", tooltip="Choose the value before", show=False),
    ]
    DEFAULT_CSS = """
    Choice { height: 1; }
    Choice:focus { background: $surface-lighten-1; }
    """

    index: reactive[int] = reactive(0)

    @dataclass
    class Changed(Message):
        """Another value was chosen."""

        choice: Choice

        @property
        def control(self) -> Choice:
            """The choice."""
            return self.choice

    def __init__(
        self,
        values: Sequence[str],
        value: str,
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._values = list(values)
        self.set_reactive(Choice.index, self._place(value))

    @property
    def value(self) -> str:
        """The chosen value."""
        return self._values[self.index]

    @value.setter
    def value(self, value: str) -> None:
        self.index = self._place(value)

    def watch_index(self) -> None:
        """Post `Changed`."""
        self.post_message(self.Changed(self))

    def render(self) -> Content:
        """The values on one line; only the chosen one, between arrows, where they don't fit."""
        parts: list[Content] = []
        if not self._fits:
            style = "bold $block-cursor-foreground on $block-cursor-background"
            chosen = Content.styled(f"[{self.value}]", style if self.has_focus else "bold")
            return Content.assemble("‹ ", chosen, " ›").truncate(self.size.width, ellipsis=True)
        for place, value in enumerate(self._values):
            if place != self.index:
                parts.append(Content.styled(f" {value} ", "$foreground-muted"))
            elif self.has_focus:
                parts.append(
                    Content.styled(
                        f"[{value}]", "bold $block-cursor-foreground on $block-cursor-background"
                    )
                )
            else:
                parts.append(Content.styled(f"[{value}]", "bold"))
        return Content(" ").join(parts)

    def action_step(self, step: int) -> None:
        """Choose the next value or the one before."""
        self.index = (self.index + step) % len(self._values)

    def on_focus(self) -> None:
        """Draw the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """Draw it as without focus."""
        self.refresh()

    @property
    def _fits(self) -> bool:
        return self._whole_width <= self.size.width

    @property
    def _whole_width(self) -> int:
        return sum(len(value) + 3 for value in self._values) - 1

    def get_content_width(self, _container: Size, _viewport: Size) -> int:
        """Cells that all values take."""
        return self._whole_width

    def on_click(self, event: events.Click) -> None:
        """Choose the value that was clicked, or the next where only one is shown."""
        if not self._fits:
            self.action_step(1)
            return
        start = 0
        for place, value in enumerate(self._values):
            end = start + len(value) + 2
            if start <= event.x < end:
                self.index = place
            start = end + 1

    def _place(self, value: str) -> int:
        return self._values.index(value) if value in self._values else 0
