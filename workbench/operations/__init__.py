"""The verbs of the workbench, shared by keys, command line and agent."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workbench.operations.running import Operation

#: The modules that define operations, in the order in which these are offered.
MODULES = (
    "pair",
    "difference",
    "readings",
    "style_bank",
    "generation",
    "unprompted",
    "amplify",
    "phrases",
    "completions",
    "differing",
    "said_less",
    "topics",
    "scanning",
    "triggers",
    "hypotheses",
    "testing",
    "notes",
    "trace",
    "coherent_alpha",
    "relevance",
    "causal",
    "training",
    "mixing",
)

OPERATIONS: dict[str, Operation[Any]] = {
    operation.name: operation
    for name in MODULES
    for operation in vars(import_module(f"{__name__}.{name}")).values()
    if isinstance(operation, Operation)
}
"""Every operation by name: all that those modules define."""
