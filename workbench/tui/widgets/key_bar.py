"""The keys that apply now, at the bottom of a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

#: In place of keys that there is no room for; help lists them all.
LEFT_OUT = "…"
#: Always there, at the end of the line, by the names of their actions.
_KEPT = ("help", "quit")
_GAP = 1


@dataclass(frozen=True)
class Entry:
    """A key on the bar."""

    key: str
    shown: str
    title: str
    enabled: bool

    @property
    def width(self) -> int:
        """Cells it takes, with the gap after it."""
        return cell_len(f"{self.shown} {self.title}") + _GAP


class KeyBar(Widget):
    """One line: the keys that apply, as many as fit, then a mark if some do not, then help and quit.

    Drawn as a line rather than as a widget for each key, as Textual's footer is: that one is built anew
    at each change of the focus, which took longer than all the panes together.
    """

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $footer-background; }
    """

    entries: reactive[tuple[tuple[Entry, ...], tuple[Entry, ...]]] = reactive(((), ()))

    def on_mount(self) -> None:
        """Follow the keys of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)
        self._bindings_changed(self.screen)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.call_after_refresh(self._take)

    def _take(self) -> None:
        if not self.is_attached:
            # The screen went away meanwhile.
            return
        actions: dict[str, Entry] = {}
        for _node, binding, enabled, _tooltip in self.screen.active_bindings.values():
            if binding.show:
                shown = self.app.get_key_display(binding)
                entry = Entry(binding.key, shown, binding.description, enabled)
                actions.setdefault(binding.action, entry)
        kept = tuple(actions.pop(name) for name in _KEPT if name in actions)
        self.entries = tuple(actions.values()), kept

    def line(self) -> list[Entry | None]:
        """Return the keys in order; None marks those that are left out."""
        keys, kept = self.entries
        fitting = _fitting(keys, self.size.width - sum(entry.width for entry in kept))
        return [*fitting, *([None] if len(fitting) < len(keys) else []), *kept]

    def render(self) -> Content:
        """The line."""
        parts: list[tuple[str, str] | str] = []
        for entry in self.line():
            if entry is None:
                parts.append((LEFT_OUT, "$foreground-muted"))
            elif entry.enabled:
                parts.append((entry.shown, "bold $footer-key-foreground"))
                parts.append((f" {entry.title}", "$footer-description-foreground"))
            else:
                parts.append((f"{entry.shown} {entry.title}", "$foreground-disabled"))
            parts.append(" " * _GAP)
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        line = self.line()
        widths = [cell_len(LEFT_OUT) + _GAP if entry is None else entry.width for entry in line]
        for entry, end in zip(line, accumulate(widths), strict=True):
            if event.x < end:
                if entry is not None:
                    self.app.simulate_key(entry.key)
                return


def _fitting(keys: Sequence[Entry], room: int) -> Sequence[Entry]:
    """The first keys that fit; if not all do, with room left for the mark."""
    ends = list(accumulate(entry.width for entry in keys))
    if not ends or ends[-1] <= room:
        return keys
    room -= cell_len(LEFT_OUT) + _GAP
    return keys[: sum(end <= room for end in ends)]
