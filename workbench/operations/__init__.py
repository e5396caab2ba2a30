"""The verbs of the workbench, shared by keys, command line and agent."""

from __future__ import annotations

from typing import Any

from workbench.operations.causing import CAUSAL_EFFECT
from workbench.operations.cohering import COHERENT_ALPHA
from workbench.operations.comparing import STEERED_SIMILARITY, TOKEN_RELEVANCE
from workbench.operations.generating import ASK, STEER
from workbench.operations.hypothesising import JUDGE, LINK, MARK, RANK, REVISE, STATE, UNMARK
from workbench.operations.measuring import MEASURE
from workbench.operations.mixing import MIX_STUDY
from workbench.operations.noting import NOTE
from workbench.operations.pairs import LOAD
from workbench.operations.reading import READ
from workbench.operations.running import Operation
from workbench.operations.tracing import TRACE
from workbench.operations.training import TRAIN_ORGANISM

OPERATIONS: dict[str, Operation[Any]] = {
    operation.name: operation
    for operation in (
        LOAD,
        MEASURE,
        READ,
        STEER,
        ASK,
        NOTE,
        MARK,
        UNMARK,
        STATE,
        REVISE,
        RANK,
        JUDGE,
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
