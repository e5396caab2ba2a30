"""The command palette: every action available now, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode

from workbench.operations.running import Operation
from workbench.tui.keys import is_own


@runtime_checkable
class RunsOperations(Protocol):
    """A screen on which operations can be started."""

    def offered(self) -> Sequence[Operation[Any]]:
        """Operations that can be started now."""


class WorkbenchCommands(Provider):
    """Every enabled key of the screen, its panes and the app, as a command."""

    async def search(self, query: str) -> Hits:
        """Commands whose words match."""
        matcher = self.matcher(query)
        for title, help_text, node, action in self._commands():
            score = matcher.match(title)
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(title),
                    partial(self._run, node, action),
                    help=help_text,
                )

    async def discover(self) -> AsyncIterator[DiscoveryHit]:
        """All commands, for an empty query."""
        for title, help_text, node, action in self._commands():
            yield DiscoveryHit(title, partial(self._run, node, action), help=help_text)

    def _commands(self) -> Iterator[tuple[str, str, DOMNode, str]]:
        seen: set[str] = set()
        # What is nearest to the focus comes first and hides the same key further out.
        for node, binding in self._bindings():
            title = binding.description
            if not title or title in seen or binding.system:
                continue
            seen.add(title)
            key = self.app.get_key_display(binding)
            yield (
                title,
                # It is read as markup, and a bracket may be a key.
                f"{key}  {binding.tooltip or title}".replace("[", r"\["),
                node,
                binding.action,
            )
        screen = self.screen
        if isinstance(screen, RunsOperations):
            for offer in screen.offered():
                description = " ".join(offer.description.split()).replace("[", r"\[")
                yield f"{offer.title} \u2026", description, screen, f"operate('{offer.name}')"

    def _bindings(self) -> Iterator[tuple[DOMNode, Binding]]:
        for active in self.screen.active_bindings.values():
            if active.enabled and is_own(active.node, active.binding):
                yield active.node, active.binding

    async def _run(self, node: DOMNode, action: str) -> None:
        await self.app.run_action(action, node)
