"""The verbs of the workbench, shared by keys, command line and agent."""

from __future__ import annotations

from typing import Any

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
from workbench.operations.mixing import MIX_STUDY
from workbench.operations.notes import NOTE
from workbench.operations.pair import LOAD
from workbench.operations.phrases import PHRASES
from workbench.operations.readings import READ
from workbench.operations.relevance import STEERED_SIMILARITY, TOKEN_RELEVANCE
from workbench.operations.running import Operation
from workbench.operations.trace import TRACE
from workbench.operations.training import TRAIN_ORGANISM
from workbench.operations.unprompted import UNPROMPTED

OPERATIONS: dict[str, Operation[Any]] = {
    operation.name: operation
    for operation in (
        LOAD,
        MEASURE,
        READ,
        STEER,
        ASK,
        UNPROMPTED,
        COMPLETE,
        PHRASES,
        NOTE,
        MARK,
        UNMARK,
        ADD_HYPOTHESIS,
        REVISE,
        RANK,
        SET_VERDICT,
        LINK,
        TRACE,
        COHERENT_ALPHA,
        TOKEN_RELEVANCE,
        STEERED_SIMILARITY,
        CAUSAL_EFFECT,
        TRAIN_ORGANISM,
        MIX_STUDY,
    )
}
