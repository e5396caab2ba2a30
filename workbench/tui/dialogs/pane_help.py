"""Help for a pane or a screen: its purpose and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from workbench.tui.keys import own_bindings, with_keys
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.pane import Pane

KeyGroup = tuple[str, Sequence[DOMNode]]
"""A heading, and the nodes whose keys are listed below it."""


class KeyHelp(Dialog[None]):
    """A text, Markdown of our own, and keys in groups."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark", "dismiss", "Close", tooltip="Close the help")
    ]
    DEFAULT_CSS = """
    KeyHelp VerticalScroll { width: 76; max-width: 95%; height: auto; max-height: 90%;
        border: round $accent; background: $surface; padding: 1 2; scrollbar-size-vertical: 1; }
    KeyHelp Markdown { margin: 0; padding: 0; background: $surface; }
    """

    def __init__(self, title: str, purpose: str, groups: Sequence[KeyGroup]) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._purpose = purpose
        self._groups = groups
        # Keys that go first wherever the focus is, such as those that drive a replay.
        self._taken = {
            binding.key
            for _, holders in groups
            for holder in holders
            for binding in own_bindings(holder)
            if binding.priority
        }

    def compose(self) -> ComposeResult:
        """Text, then keys."""
        # Its parser takes a tenth of a second to import, which the first screen need not wait for.
        from textual.widgets import Markdown

        with VerticalScroll() as scroll:
            scroll.border_title = self._title
            scroll.border_subtitle = "Escape closes"
            yield Markdown(with_keys(self._purpose.strip()))
            yield Static(self._keys())

    def _keys(self) -> Content:
        seen: set[str] = set()
        blocks: list[Content] = []
        for heading, holders in self._groups:
            lines = [line for holder in holders for line in self._lines(holder, seen)]
            if lines:
                blocks.append(Content("\n").join([Content.styled(heading, "bold"), *lines]))
        return Content("\n\n").join(blocks)

    def _lines(self, holder: DOMNode, seen: set[str]) -> list[Content]:
        """Keys of one node, those of one action together; nearer nodes hide the same key."""
        together: dict[str, tuple[list[str], str]] = {}
        for binding in own_bindings(holder):
            hidden = binding.key in self._taken and not binding.priority
            if binding.key in seen or hidden or not binding.description:
                continue
            if isinstance(holder, Pane) and not holder.offers(binding.action.partition("(")[0]):
                continue
            seen.add(binding.key)
            description = binding.tooltip or binding.description
            shown = binding.key_display or self.app.get_key_display(binding)
            keys, _ = together.setdefault(binding.action, ([], description))
            if shown not in keys:
                keys.append(shown)
        return [
            Content.assemble((f"{' '.join(keys):>14}  ", "bold $accent"), description)
            for keys, description in together.values()
        ]


class PaneHelp(KeyHelp):
    """Help of one pane: its keys, then those that work anywhere on the screen."""

    def __init__(self, pane: Pane, screen: Screen[None]) -> None:
        super().__init__(
            pane.TITLE,
            pane.HELP,
            [
                ("In this pane", [pane, *pane.query("*")]),
                ("Anywhere", [screen, screen.app]),
            ],
        )
