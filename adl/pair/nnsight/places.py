"""The modules of a side that finetuning may have changed: where they stand, and what they compute."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from adl.pair.nnsight.factors import Factors
from adl.pair.nnsight.offloading import running_device
from adl.records import Part, WeightChange

_ATTENTION = re.compile(r"(^|[._])(\w*attn\w*|\w*attention\w*)([._]|$)")
_MLP = re.compile(
    r"mlp|ffn|feed_?forward|expert|moe|(^|\.)(fc\d?|gate_proj|up_proj|down_proj|"
    r"dense_h_to_4h|dense_4h_to_h|w[123])(\.|$)"
)
_INPUT, _OUTPUT = "input embeddings", "output embeddings"


@dataclass(frozen=True)
class Place:
    """A module whose output an update is added to; ``layer`` is None outside the decoder's layers."""

    name: str
    module: nn.Module
    layer: int | None

    @property
    def part(self) -> Part:
        """The part of a layer it belongs to: attention, mlp, or neither (``all``)."""
        if self.layer is None:
            return "all"
        if _ATTENTION.search(self.name):
            return "attention"
        return "mlp" if _MLP.search(self.name) else "all"

    @property
    def looks_up(self) -> bool:
        """True for a table of embeddings, whose input are rows."""
        inner = getattr(self.module, "base_layer", self.module)
        return isinstance(getattr(inner, "original_module", inner), nn.Embedding)

    @property
    def shape(self) -> torch.Size:
        """The shape of the module's weight."""
        weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
        return weight.shape

    @property
    def table_scale(self) -> float:
        """The factor that a table puts on its rows, as Gemma's does."""
        inner = getattr(self.module, "base_layer", self.module)
        return float(getattr(inner, "embed_scale", 1.0)) if self.looks_up else 1.0

    def effect(self, factors: Factors, given: torch.Tensor) -> torch.Tensor:
        """Return the part [..., out] of the module's output that is the update's, in float32."""
        left, right = factors.left.to(given.device), factors.right.to(given.device)
        inner = right.T[given] if self.looks_up else given.float() @ right.T
        return self.table_scale * (inner @ left.T)

    def example(self) -> torch.Tensor:
        """Return an input of the module: a few rows of a table, or two random vectors."""
        inner: Any = getattr(self.module, "base_layer", self.module)
        device = running_device(self.module)
        if self.looks_up:
            return torch.arange(4, device=device)[None]
        weights = [each for each in self.module.parameters() if each.dtype.is_floating_point]
        width = inner.weight.shape[0] if isinstance(inner, Conv1D) else inner.in_features
        vectors = torch.randn(1, 2, width, generator=torch.Generator().manual_seed(0))
        return vectors.to(device, weights[0].dtype) if weights else vectors

    def chosen(self, change: WeightChange) -> bool:
        """Return True for a module that ``change`` acts on."""
        if change.part not in ("all", self.part):
            return False
        if change.layers is None:
            return True
        return self.layer is not None and change.layers[0] <= self.layer <= change.layers[1]


def _layer_of(path: str, stack: str) -> int | None:
    found = re.match(rf"{re.escape(stack)}\.(\d+)\.", path)
    return None if found is None else int(found[1])


def adapted_modules(module: nn.Module, stack: str) -> list[Place]:
    """Return the modules with an adapter; ``stack`` is the path of the side's decoder layers."""
    found: list[Place] = []
    wrapped: tuple[str, ...] = ()
    for path, part in module.named_modules():
        if isinstance(part, AuxiliaryTrainingWrapper):
            wrapped = (*wrapped, f"{path}.")  # saved whole, not adapted
        elif isinstance(part, BaseTunerLayer) and not path.startswith(wrapped):
            tuner: Any = part
            found.append(Place(path, tuner, _layer_of(path, stack)))
    return found


def matrices(module: Any, stack: str) -> list[Place]:
    """Return the modules of a checkpoint with a matrix of weights, by names that both sides share."""
    found = [
        Place(path.removeprefix(f"{stack}."), part, layer)
        for path, part in module.named_modules()
        if (layer := _layer_of(path, stack)) is not None
        and isinstance(part, nn.Linear | nn.Embedding | Conv1D)
    ]
    tables = ((_INPUT, module.get_input_embeddings()), (_OUTPUT, module.get_output_embeddings()))
    return [*found, *(Place(name, table, None) for name, table in tables if table is not None)]
