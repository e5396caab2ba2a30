"""An adapter on weights that wait on the CPU or the disk: its own weights stay on a device.

PEFT makes an adapter's weights where it finds the base's, so on those that wait it makes weights
without data, into which nothing can be loaded. They get a place here before they are loaded. An
adapter that reads or writes the base's weights itself, and not through the module they are of, is
refused: between passes there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from adl.errors import AdlError, PairError
from adl.pair.nnsight.offloading import (
    HOOK,
    DataMissing,
    DataNeeded,
    is_offloaded,
    running_device,
)

HINT = (
    "Give a --device-map that keeps the modules it sits on on a device, load with --load-in-8bit or "
    "--load-in-4bit, or merge it (PEFT's merge_and_unload), save the model and give --finetuned."
)
#: What an adapted module holds of the base.
_OF_BASE = ("base_layer", "original_module")


class OffloadedBase:
    """A base with weights that wait elsewhere, and what an adapter on it may do with them."""

    def __init__(self, module: nn.Module) -> None:
        self._waiting = [
            (part, name)
            for part in module.modules()
            for name, weight in part.named_parameters(recurse=False)
            if weight.is_meta
        ]
        self._placed: dict[int, nn.Parameter] = {}
        for part in module.modules():
            _share_when_copied(part)

    @contextmanager
    def attaching(self, shown: str) -> Iterator[None]:
        """Raise ``PairError`` for an adapter, ``shown`` by name and type, that needs a waiting weight."""
        if not self._waiting:
            yield
            return
        try:
            with DataNeeded():
                yield
        except AdlError:
            raise
        except Exception as exc:
            # A library may have put it among errors of its own.
            if DataMissing.REASON not in str(exc):
                raise
            raise _refused(shown, "reads or writes them by itself") from exc
        if any(not _waits(part, name) for part, name in self._waiting):
            raise _refused(shown, "puts others in their place")

    def place(self, shown: str, model: nn.Module) -> None:
        """Give weights of the adapter that have none a device: that on which their module runs.

        They are not-a-number until they are loaded. Raises ``PairError`` for what would not be.
        """
        for layer in model.modules():
            if not self._waiting or not isinstance(
                layer, BaseTunerLayer | AuxiliaryTrainingWrapper
            ):
                continue
            device = running_device(layer) or torch.device("cpu")
            for part in _own_parts(layer):
                if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
                    raise _refused(shown, "holds more than weights, and would hold it there, too")
                self._place_weights(part, device)

    def check_loaded(self, shown: str, model: nn.Module, missing_keys: list[str]) -> None:
        """Raise ``PairError`` if a placed weight was not in the adapter's file."""
        state = model.state_dict(keep_vars=True)
        absent = set(missing_keys)
        loaded = {id(weight) for key, weight in state.items() if key not in absent}
        if any(id(weight) not in loaded for weight in self._placed.values()):
            raise _refused(shown, "makes some of its own weights anew, which are not saved with it")

    def _place_weights(self, part: nn.Module, device: torch.device) -> None:
        if getattr(getattr(part, HOOK, None), "offload", False) and is_offloaded(part):
            # A copy of a module of the base: its hook would bring the base's weights.
            remove_hook_from_module(part)
            hooked = True
        else:
            hooked = False
        for name, weight in list(part.named_parameters(recurse=False)):
            if weight.is_meta:
                part._parameters[name] = self._place_of(weight, device)
        if hooked:
            add_hook_to_module(part, AlignDevicesHook(execution_device=device))

    def _place_of(self, weight: nn.Parameter, device: torch.device) -> nn.Parameter:
        # Several layers may share one: they go on to share it.
        if id(weight) not in self._placed:
            numbers = torch.full(weight.shape, torch.nan, dtype=weight.dtype, device=device)
            self._placed[id(weight)] = nn.Parameter(numbers, requires_grad=weight.requires_grad)
        return self._placed[id(weight)]


def _share_when_copied(part: nn.Module) -> None:
    """Let copies of a module, which PEFT makes, share what all weights that wait are brought from."""
    source = getattr(getattr(getattr(part, HOOK, None), "weights_map", None), "dataset", None)
    if source is not None:
        source.__deepcopy__ = lambda _memo: source


def _waits(part: nn.Module, name: str) -> bool:
    weight = part._parameters.get(name)
    return weight is not None and weight.is_meta


def _own_parts(layer: nn.Module) -> Iterator[nn.Module]:
    """Yield an adapted module and its parts but for the base's, which are adapted by themselves."""
    yield layer
    for name, child in layer.named_children():
        if name not in _OF_BASE:
            yield from _own_parts(child)


def _refused(shown: str, how: str) -> PairError:
    return PairError(f"{shown} sits on weights that do not stay on a device, and {how}", HINT)
