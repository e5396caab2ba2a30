"""Which operations are offered by name, and what each of them still needs.

Those with a place of their own on the screen (steering, asking, hypotheses) are left out; every other
operation of the registry is here, whoever adds it.
"""

from __future__ import annotations

from typing import Any

from workbench.operations import OPERATIONS
from workbench.operations.causal import CAUSAL_EFFECT
from workbench.operations.coherent_alpha import COHERENT_ALPHA
from workbench.operations.completions import COMPLETE
from workbench.operations.difference import MEASURE
from workbench.operations.generation import ASK, STEER
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
)
from workbench.operations.notes import NOTE
from workbench.operations.pair import LOAD
from workbench.operations.readings import READ
from workbench.operations.relevance import STEERED_SIMILARITY, TOKEN_RELEVANCE
from workbench.operations.running import Operation
from workbench.operations.trace import TRACE
from workbench.operations.unprompted import UNPROMPTED
from workbench.store.state import SessionState

_PLACED = frozenset(
    one.name
    for one in (
        LOAD,
        STEER,
        ASK,
        NOTE,
        MARK,
        UNMARK,
        ADD_HYPOTHESIS,
        REVISE,
        RANK,
        SET_VERDICT,
        LINK,
    )
)
_NEED_A_PAIR = frozenset(
    one.name
    for one in (
        MEASURE,
        READ,
        UNPROMPTED,
        COMPLETE,
        TRACE,
        COHERENT_ALPHA,
        STEERED_SIMILARITY,
        CAUSAL_EFFECT,
    )
)
_NEED_A_DIFFERENCE = frozenset(
    one.name for one in (READ, COHERENT_ALPHA, STEERED_SIMILARITY, CAUSAL_EFFECT)
)
_NEED_READINGS = frozenset({TOKEN_RELEVANCE.name})


def offered() -> list[Operation[Any]]:
    """The operations that a form is made for: what measures first, in the order of the registry."""
    found = [one for one in OPERATIONS.values() if one.name not in _PLACED]
    return sorted(found, key=lambda one: one.name in {MEASURE.name, READ.name})


def missing(operation: Operation[Any], state: SessionState, *, has_pair: bool) -> str:
    """What the session lacks for it, and the way there; empty if it can be run.

    ``has_pair`` counts one that is still being loaded: the operation waits behind it.
    """
    if operation.name in _NEED_A_PAIR and not has_pair:
        return "needs a loaded pair"
    if operation.name in _NEED_A_DIFFERENCE and not state.differences:
        return "needs a measured difference: a measures and reads"
    if operation.name in _NEED_READINGS and not state.readings:
        return "needs token lists: a measures and reads"
    return ""
