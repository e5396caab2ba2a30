"""Weights that wait on the CPU or the disk between forward passes, where a device map put them.

Between passes such a weight is a tensor of torch's meta device: it has a shape and no data, and some
operations on it answer with another such tensor, or do nothing, instead of an error. So whatever reads
weights outside of a forward pass reads them through this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from adl.errors import PairError

HOOK = "_hf_hook"
"""Attribute of a module with what accelerate brings its weights with, and takes them away again."""
#: What may be done with a tensor without data: it gives another one, of its shape.
SHAPES_ALONE = {"aten::detach", "aten::alias", "aten::clone", "aten::empty_like", "aten::_to_copy"}


def is_offloaded(module: nn.Module) -> bool:
    """Return True if weights of the module itself, not of parts of it, wait elsewhere."""
    return any(weight.is_meta for weight in module.parameters(recurse=False))


def offloaded(module: nn.Module) -> list[str]:
    """Return the names of all weights below a module that wait elsewhere."""
    return [name for name, weight in module.named_parameters() if weight.is_meta]


def weight_places(module: nn.Module) -> set[str]:
    """Return where the weights of a model are between passes: devices, ``cpu`` and ``disk``."""
    found = {str(weight.device) for weight in module.parameters()}
    if "meta" in found:
        table: dict[str, Any] = getattr(module, "hf_device_map", {})
        waiting = {str(place) for place in table.values()} & {"cpu", "disk"}
        found = (found - {"meta"}) | (waiting or {"cpu"})
    return found


@contextmanager
def present(module: nn.Module) -> Iterator[None]:
    """While inside, the module's own weights are on the device that it runs on.

    Raises ``PairError`` for weights that nothing brings.
    """
    if not is_offloaded(module):
        yield
        return
    hook: Any = getattr(module, HOOK, None)
    if hook is not None:
        hook.pre_forward(module)
    try:
        missing = [
            name for name, weight in module.named_parameters(recurse=False) if weight.is_meta
        ]
        if missing:
            raise PairError(
                f"the {missing[0]} of a {type(module).__name__} is on no device, and nothing brings it",
                "Load the pair with a --device-map that keeps it on one.",
            )
        yield
    finally:
        if hook is not None:
            hook.post_forward(module, None)


def weight_of(module: nn.Module, name: str = "weight") -> torch.Tensor:
    """Return a weight of a module, without gradient: a copy of its own if it waits elsewhere."""
    with present(module):
        weight: torch.Tensor = getattr(module, name).detach()
    return weight


def weight_named(module: nn.Module, path: str) -> torch.Tensor:
    """Return a weight by its name in ``named_parameters``."""
    inner, _, name = path.rpartition(".")
    return weight_of(module.get_submodule(inner), name)


def running_device(module: nn.Module) -> torch.device | None:
    """Return the device that a module, or the first part of it with weights, runs on.

    None if it has no weights, and no device to run on is named.
    """
    for part in module.modules():
        hook = getattr(part, HOOK, None)
        for each in getattr(hook, "hooks", (hook,)):
            device = getattr(each, "execution_device", None)
            if device is not None:
                return torch.device(device)
        for weight in part.parameters(recurse=False):
            if not weight.is_meta:
                return weight.device
    return None


class DataMissing(Exception):
    """Data of a tensor that has none were needed."""

    REASON = "needs a tensor that is on no device"


class DataNeeded(TorchDispatchMode):
    """While inside, ``DataMissing`` is raised wherever a tensor without data is read or written to."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation of torch unless it takes a tensor of the meta device."""
        kwargs = kwargs or {}
        if _has_no_data(args) or _has_no_data(kwargs.values()):
            name = func._schema.name
            if name not in SHAPES_ALONE:
                raise DataMissing(f"{name} {DataMissing.REASON}")
        return func(*args, **kwargs)


def _has_no_data(values: Iterable[Any]) -> bool:
    """Return True if a tensor of the meta device is among arguments, which may be lists of tensors."""
    for value in values:
        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return True
        elif isinstance(value, list | tuple) and _has_no_data(value):
            return True
    return False
