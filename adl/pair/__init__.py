"""Model pairs: a base and a finetuned model whose residual streams can be read and changed.

``NnsightPair`` and ``prepared_base`` import PyTorch and transformers when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adl.pair.protocol import ModelPair, resolve_layer
from adl.records import PairSpec, SideSpec

if TYPE_CHECKING:
    from adl.pair.nnsight.demo import prepared_base
    from adl.pair.nnsight.pair import NnsightPair

__all__ = [
    "ModelPair",
    "NnsightPair",
    "PairSpec",
    "SideSpec",
    "prepared_base",
    "resolve_layer",
]

_LAZY = {"NnsightPair": "adl.pair.nnsight.pair", "prepared_base": "adl.pair.nnsight.demo"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
