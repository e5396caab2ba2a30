"""What a pane is for, and the keys that work in it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Markdown, Static

from workbench.tui.widgets.pane import Pane


class PaneHelp(ModalScreen[None]):
    """Help of one pane."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark", "dismiss", "Close")
    ]
    DEFAULT_CSS = """
    PaneHelp VerticalScroll { width: 76; max-width: 95%; height: auto; max-height: 90%;
        border: round $accent; background: $surface; padding: 1 2; }
    """

    def __init__(self, pane: Pane, screen: Screen[None]) -> None:
        super().__init__(classes="dialog")
        self._pane = pane
        self._behind = screen

    def compose(self) -> ComposeResult:
        """Text, then keys."""
        with VerticalScroll() as scroll:
            scroll.border_title = self._pane.TITLE
            yield Markdown(self._pane.HELP.strip())
            yield Static(self._keys())

    def _keys(self) -> Content:
        # Our own: what a text field does with its keys need not be said.
        holders: list[Widget] = [
            holder
            for holder in (*self._pane.query("*"), self._pane, self._behind)
            if type(holder).__module__.startswith("workbench.")
        ]
        lines: dict[str, Content] = {}
        for holder in holders:
            for key, bindings in holder._bindings.key_to_bindings.items():
                for binding in bindings:
                    if binding.description and not binding.system:
                        shown = binding.key_display or self.app.get_key_display(binding)
                        said = binding.tooltip or binding.description
                        lines.setdefault(
                            key, Content.assemble((f"{shown:>12}  ", "bold $accent"), said)
                        )
        return Content("\n").join(lines.values())
