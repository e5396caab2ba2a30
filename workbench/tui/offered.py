"""Operations that a person starts by a form, and their missing prerequisites."""

from __future__ import annotations

from typing import Any

from workbench.operations import OPERATIONS
from workbench.operations.running import Need, Operation
from workbench.store.state import SessionState
from workbench.tui import keys

_NEEDS: dict[Need, str] = {
    "pair": "needs a loaded pair",
    "difference": "needs a measured difference: {audit} measures and reads",
    "readings": "needs token lists: {audit} measures and reads",
    "texts": "needs texts of both models: let them write from nothing, or ask them",
}


def offered() -> list[Operation[Any]]:
    """Return the operations that a form is made for, last those that a pane offers, too."""
    found = [operation for operation in OPERATIONS.values() if operation.place != "pane"]
    return sorted(found, key=lambda operation: operation.place == "both")


def missing(operation: Operation[Any], state: SessionState, *, has_pair: bool) -> str:
    """Return what the session lacks for an operation and how to get it; empty if it can run.

    ``has_pair`` counts one that is still being loaded: the operation waits behind it.
    """
    has: dict[Need, bool] = {
        "pair": has_pair,
        "difference": bool(state.differences),
        "readings": bool(state.readings),
        "texts": bool(state.texts),
    }
    return next((keys.with_keys(_NEEDS[need]) for need in operation.needs if not has[need]), "")
