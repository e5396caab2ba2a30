"""The base before and after an adapter is attached: switched off, it must still be the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from transformers import PreTrainedModel

from adl.pair.nnsight.structure import input_device


def adapter_layers(module: torch.nn.Module) -> list[BaseTunerLayer | AuxiliaryTrainingWrapper]:
    """Return the layers of ``module`` that hold an adapter's part."""
    kinds = BaseTunerLayer | AuxiliaryTrainingWrapper
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def switch_adapters(
    layers: Iterable[BaseTunerLayer | AuxiliaryTrainingWrapper], *, on: bool
) -> None:
    """Switch the adapters of ``layers`` on or off."""
    for layer in layers:
        # Going through the weights takes longer than a short run.
        if layer.disable_adapters == on:
            layer.enable_adapters(on)


@dataclass
class BaseState:
    """The state of a model before an adapter is attached, to compare with after.

    It holds a sum of the bits of every weight, and the logits of a few tokens.
    """

    module: PreTrainedModel
    _sums: dict[str, tuple[torch.Tensor, int]] = field(init=False)
    _logits: torch.Tensor = field(init=False)
    _noise: float = field(init=False)

    def __post_init__(self) -> None:
        self._sums = {name: (tensor, _bit_sum(tensor)) for name, tensor in _tensors(self.module)}
        self._logits = probe_logits(self.module, self.module)
        # Zero on devices that compute the same twice.
        self._noise = _distance(self._logits, probe_logits(self.module, self.module))

    def changes(self) -> tuple[str, ...]:
        """Return what the adapter, switched off, changed: weights by name, or ``outputs``."""
        held = {id(tensor) for _, tensor in _tensors(self.module)}
        changed = [
            name
            for name, (tensor, before) in self._sums.items()
            # An offloaded weight is another object after every use.
            if (id(tensor) not in held and not tensor.is_meta) or _bit_sum(tensor) != before
        ]
        if not changed:
            switch_adapters(adapter_layers(self.module), on=False)
            same = _distance(self._logits, probe_logits(self.module, self.module)) <= self._noise
            switch_adapters(adapter_layers(self.module), on=True)
            changed = [] if same else ["outputs"]
        return tuple(changed)


def _tensors(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _bit_sum(tensor: torch.Tensor) -> int:
    """Return the sum of a tensor's bits read as integers: it changes with any value."""
    if tensor.is_meta or not tensor.numel():
        return 0
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    as_bits = tensor.detach().contiguous().reshape(-1)
    if as_bits.is_complex():
        as_bits = torch.view_as_real(as_bits).reshape(-1)
    as_integers = as_bits.view(integers[as_bits.element_size()])
    # In parts: a sum in int64 makes a copy in int64, which of a large embedding is a gigabyte.
    return sum(int(part.sum(dtype=torch.int64)) for part in as_integers.split(1 << 22))


def probe_logits(model: torch.nn.Module, module: PreTrainedModel) -> torch.Tensor:
    """Return logits [tokens, rows] of a few tokens."""
    ids = torch.arange(2, 10, device=input_device(module))[None]
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids).logits[0]
    return logits


def input_table(module: PreTrainedModel) -> torch.Tensor:
    """Return the input embeddings [rows, width]."""
    embeddings: Any = module.get_input_embeddings()
    table: torch.Tensor = embeddings.weight
    return table


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.shape != right.shape:
        return float("inf")
    return float((left.float() - right.float()).abs().nan_to_num(0.0).max())
