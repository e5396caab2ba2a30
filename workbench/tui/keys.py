"""Which keys are our own: what a text field of the library does with its keys need not be said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.binding import Binding
from textual.dom import DOMNode

OURS = "workbench."


def own_bindings(node: DOMNode) -> Iterator[Binding]:
    """The keys that our own classes give to a node, those of the nearest class first."""
    for kind in type(node).__mro__:
        if kind.__module__.startswith(OURS):
            declared: Iterable[object] = kind.__dict__.get("BINDINGS", ())
            for one in declared:
                if isinstance(one, Binding):
                    yield from Binding.make_bindings([one])


def is_own(node: DOMNode, binding: Binding) -> bool:
    """Whether the key of a node is ours, rather than of the widget it is built on."""
    return any((binding.key, binding.action) == (own.key, own.action) for own in own_bindings(node))
