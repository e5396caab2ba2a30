"""The keys that apply now, at the bottom of a screen."""

from __future__ import annotations

from typing import Any

from textual.widgets import Footer


class KeyBar(Footer):
    """A footer that is built anew only where its keys changed.

    Textual's rebuilds all its widgets whenever the focus moves or a binding may apply or not, several
    times for one key press, and that took longer than all the panes together.
    """

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._keys: tuple[Any, ...] | None = None

    async def recompose(self) -> None:
        """Show the keys, unless they are shown already."""
        if not self.is_attached:
            # It was asked for before the screen went away.
            return
        keys = tuple(
            (binding, enabled, tooltip)
            for _node, binding, enabled, tooltip in self.screen.active_bindings.values()
            if binding.show
        )
        if keys != self._keys:
            self._keys = keys
            await super().recompose()
