"""The update of a finetuned side, finetuned minus base, module by module: scaled, cut to rank 1, shuffled.

    adapter    PEFT's own scale of each LoRA layer, times a factor
    rank1      sigma u v' of each module's update: a problem of r x r for a LoRA, else randomised SVD
    null       the base, and each update with its rows and columns shuffled and some negated: as large,
               of the same singular values, without the finetuning in it

What is not PEFT's own scale is added to the outputs of modules by hooks. No weight is written to, so
that nothing of a change is left when it ends, however it ends.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from adl.callbacks import ShouldStop, never_stop
from adl.errors import AdlError, PairError, Stopped
from adl.pair.nnsight.adapters import ADAPTER_NAME
from adl.pair.nnsight.base_state import adapter_layers, switch_adapters
from adl.pair.nnsight.factors import Factors, rank1_of_difference
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loading import LoadedPair
from adl.pair.nnsight.offloading import HOOK, present, weight_named, weight_of
from adl.pair.nnsight.places import Place, adapted_modules, matrices
from adl.pair.self_checks import BASIS
from adl.records import PairProvenance, Side, UpdateFacts, WeightChange

_ELSE_ADAPTER = "Use --carrier rank1, logits or difference."
_ELSE = "Use --carrier logits or difference."


class PairUpdate:
    """The update of a loaded pair. ``paths`` are those of each side's decoder layers.

    Rank-1 parts are kept once they were computed: two vectors a module.
    """

    def __init__(
        self, loaded: LoadedPair, provenance: PairProvenance, base_path: str, finetuned_path: str
    ) -> None:
        self._loaded = loaded
        self._provenance = provenance
        self._paths = base_path, finetuned_path
        self._rank1: dict[str, Factors] = {}

    # --- what can be changed -------------------------------------------------------------------

    def facts(self, change: WeightChange, should_stop: ShouldStop = never_stop) -> UpdateFacts:
        """Return the modules that ``change`` acts on; see ``ModelPair.update_facts``."""
        places = self._places(change)
        if change.carrier == "adapter":
            for place in places:
                _check_scales(place)
            found = [place.name for place in places if place.chosen(change)]
            return UpdateFacts(tuple(found), self._left_out(change))
        squares, parts, names = 0.0, 0.0, []
        for place in places:
            if not place.chosen(change):
                continue
            if should_stop():
                raise Stopped("stopped while the updates were decomposed")
            factors = self._rank1_of(place)
            if not factors.squared:
                continue
            names.append(place.name)
            squares += factors.squared
            parts += float(factors.left.square().sum() * factors.right.square().sum())
        if not names:
            raise PairError(
                "the weights of these modules are the same on both sides", "Choose other layers."
            )
        return UpdateFacts(tuple(names), self._left_out(change), parts / squares)

    def _places(self, change: WeightChange) -> list[Place]:
        """Every module with an update, after checks by name. Raises ``PairError``."""
        if self._shares:
            places = adapted_modules(self._loaded.finetuned.module, self._paths[1])
        elif change.carrier == "adapter":
            self._refuse_adapter()
        if change.carrier == "adapter":
            for place in places:
                _check_kind(place)
        elif not self._shares:
            self._check_checkpoints()
            places = matrices(self._loaded.base.module, self._paths[0])
        if not any(place.chosen(change) for place in places):
            parts = sorted({place.part for place in places if place.layer is not None} - {"all"})
            layers = sorted({place.layer for place in places if place.layer is not None})
            among = f"layers {layers[0]} to {layers[-1]}" if layers else "no layer"
            raise PairError(
                f"finetuning changed no {'' if change.part == 'all' else change.part + ' '}module "
                "in these layers",
                f"It changed {' and '.join(parts) or 'other'} modules in {among}.",
            )
        return places

    @property
    def _shares(self) -> bool:
        return self._loaded.base.model is self._loaded.finetuned.model

    def _refuse_adapter(self) -> None:
        if not self._loaded.finetuned.adapted:
            raise PairError(
                "the finetuned model is a full checkpoint without an adapter, so there is no scale",
                _ELSE_ADAPTER,
            )
        raise PairError(
            "the adapter sits on weights of its own (it changes the base's when it is attached, or "
            "is on another checkpoint), so its scale alone is not the finetuning",
            _ELSE,
        )

    def _check_checkpoints(self) -> None:
        if self._loaded.finetuned.adapted or self._loaded.base.adapted:
            raise PairError(
                "an adapter on weights of its own cannot be compared module by module",
                "Merge it into a checkpoint (merge_and_unload), or use --carrier logits or difference.",
            )
        for check in self._provenance.checks:
            if check.name == BASIS and check.outcome == "failed":
                raise PairError(
                    f"the weights cannot be compared: {check.found}", "Use --carrier logits."
                )
        ours, theirs = (
            {place.name: place.shape for place in matrices(side.module, path)}
            for side, path in zip(
                (self._loaded.base, self._loaded.finetuned), self._paths, strict=True
            )
        )
        odd = sorted(name for name in ours if ours[name] != theirs.get(name))
        if odd:
            raise PairError(
                f"the sides' weights cannot be compared module by module: {odd[0]} differs in shape "
                "or is on one side only",
                _ELSE,
            )

    def _left_out(self, change: WeightChange) -> tuple[str, ...]:
        """Names of changed weights that no module of the change holds."""
        if self._shares:
            module = self._loaded.finetuned.module
            return tuple(
                path
                for path, part in module.named_modules()
                if isinstance(part, AuxiliaryTrainingWrapper)
            )
        base, finetuned = self._loaded.base.module, self._loaded.finetuned.module
        compared = {id(place.module) for place in matrices(base, self._paths[0])}
        names = {name for name, _ in finetuned.named_parameters()}
        return tuple(
            name
            for name, _ in base.named_parameters()
            if name in names
            and not (name.endswith(".weight") and id(_owner(base, name)) in compared)
            and _changed(weight_named(base, name), weight_named(finetuned, name))
        )

    # --- the update ----------------------------------------------------------------------------

    def _rank1_of(self, place: Place) -> Factors:
        if place.name not in self._rank1:
            self._rank1[place.name] = self._decomposed(place)
        return self._rank1[place.name]

    def _decomposed(self, place: Place) -> Factors:
        if isinstance(place.module, BaseTunerLayer):
            if _why_not_lora(place.module) is None:
                _check_scales(place)
                return lora_factors(place.module).rank1()
            before, after = _merged(place)
        else:
            before = weight_of(place.module)
            theirs = {
                other.name: other.module
                for other in matrices(self._loaded.finetuned.module, self._paths[1])
            }
            after = weight_of(theirs[place.name])
        if before.ndim != 2:
            raise PairError(f"the update of {place.name} is no matrix, so it has no rank", _ELSE)
        if not (before.dtype.is_floating_point and after.dtype.is_floating_point):
            raise PairError(
                f"the weights of {place.name} are quantised, so they cannot be compared",
                "Load the pair without quantisation, or use --carrier logits.",
            )
        inner = getattr(place.module, "base_layer", place.module)
        if not isinstance(place.module, BaseTunerLayer):
            _check_matrix(place)
        turned = isinstance(inner, Conv1D) or place.looks_up
        found = rank1_of_difference(before, after)
        if turned:  # its weight is [in, out]
            return Factors(found.right.T.contiguous(), found.left.T.contiguous(), found.squared)
        return found

    # --- changing it ----------------------------------------------------------------------------

    @property
    def side(self) -> Side:
        """The side whose module is run: the base's, or the one that both sides share."""
        return "finetuned" if self._shares else "base"

    @contextmanager
    def applied(self, change: WeightChange) -> Iterator[None]:
        """Change the update while inside; afterwards all is as before, whatever happened."""
        places = self._places(change)
        with ExitStack() as stack:
            if change.carrier == "adapter" and change.null is None:
                for place in places:
                    if place.chosen(change):
                        stack.enter_context(_scaled(place.module, change.scale))
            else:
                if self._shares:
                    stack.enter_context(_adapter_off(self._loaded.finetuned.module))
                for index, place in enumerate(places):
                    factors = self._put(place, index, change)
                    if factors is not None:
                        hook = place.module.register_forward_hook(_adding(factors, place))
                        stack.callback(hook.remove)
            yield

    def _put(self, place: Place, index: int, change: WeightChange) -> Factors | None:
        """The update that takes the place of the module's own, or None."""
        scale = change.scale if place.chosen(change) else 1.0
        if change.carrier == "adapter":
            factors = lora_factors(place.module)
        elif place.chosen(change):
            factors = self._rank1_of(place)
        else:
            return None
        if not factors.squared:
            return None
        if change.null is not None:
            factors = factors.shuffled(change.null * 100_003 + index)
        return Factors(factors.left * scale, factors.right, factors.squared)


def _owner(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


def _changed(before: torch.Tensor, after: torch.Tensor) -> bool:
    return before.shape != after.shape or not torch.equal(before, after.to(before.device))


# --- adapters -------------------------------------------------------------------------------------


def _kind(layer: BaseTunerLayer) -> str:
    if getattr(layer, "use_dora", {}).get(ADAPTER_NAME):
        return "DoRA"
    parts = type(layer).__module__.split(".")
    return parts[2].upper() if parts[:2] == ["peft", "tuners"] and len(parts) > 2 else "unknown"


def _why_not_lora(layer: BaseTunerLayer) -> str | None:
    """Return why a layer's update is not scale x B A; None if it is."""
    kind = _kind(layer)
    if not isinstance(layer, LoraLayer) or kind != "LORA":
        return f"a {kind} adapter"
    if getattr(layer, "lora_bias", {}).get(ADAPTER_NAME):
        return "a LoRA with biases"
    inner = layer.get_base_layer()
    if hasattr(layer, "parameter_name") or isinstance(inner, nn.modules.conv._ConvNd):
        return "a LoRA on other weights than matrices"
    return None


def _check_kind(place: Place) -> None:
    reason = _why_not_lora(place.module)  # type: ignore[arg-type]
    if reason is not None:
        raise PairError(
            f"{place.name} has {reason}, whose effect does not grow with a scale of its own",
            _ELSE_ADAPTER,
        )


def lora_factors(layer: Any) -> Factors:
    """Return the update of a LoRA layer, its scale included."""
    if ADAPTER_NAME in layer.lora_A:
        left, right = layer.lora_B[ADAPTER_NAME].weight, layer.lora_A[ADAPTER_NAME].weight
    else:
        left, right = layer.lora_embedding_B[ADAPTER_NAME], layer.lora_embedding_A[ADAPTER_NAME]
    left, right = left.detach().float() * layer.scaling[ADAPTER_NAME], right.detach().float()
    squared = float(((left.T @ left) * (right @ right.T)).sum())
    return Factors(left, right, squared)


def _check_scales(place: Place) -> None:
    """Raise ``PairError`` unless the layer's effect is that of its factors, and grows with its scale."""
    layer: Any = place.module
    factors, given = lora_factors(layer), place.example()
    with torch.no_grad(), ExitStack() as stack:
        stack.callback(layer.enable_adapters, not layer.disable_adapters)
        layer.enable_adapters(False)
        plain = layer(given)
        layer.enable_adapters(True)
        for scale in (1.0, -2.0):
            with _scaled(layer, scale):
                found = (layer(given) - plain).float()
            if not _agree(found, scale * place.effect(factors, given), plain):
                raise PairError(
                    f"the effect of the adapter on {place.name} does not grow with its scale",
                    _ELSE_ADAPTER,
                )


@contextmanager
def _scaled(layer: Any, scale: float) -> Iterator[None]:
    """PEFT's own scale of a layer's adapter, times ``scale``, while inside."""
    before = layer.scaling[ADAPTER_NAME]
    layer.scaling[ADAPTER_NAME] = before * scale
    try:
        yield
    finally:
        layer.scaling[ADAPTER_NAME] = before


@contextmanager
def _adapter_off(module: nn.Module) -> Iterator[None]:
    layers = adapter_layers(module)
    switch_adapters(layers, on=False)
    try:
        yield
    finally:
        switch_adapters(layers, on=True)


def _merged(place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight of an adapted module without its adapter and with it, merged in a copy."""
    layer: Any = place.module
    inner = layer.get_base_layer()
    before = weight_of(inner)
    # Without the hooks of offloaded weights, which hold those of the whole model.
    hooks = {id(getattr(part, HOOK)): None for part in layer.modules() if hasattr(part, HOOK)}
    try:
        with present(inner):
            merged = copy.deepcopy(layer, hooks)
        merged.enable_adapters(True)
        merged.merge()
        after = merged.get_base_layer().weight.detach()
    except AdlError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        raise PairError(
            f"{place.name} has a {_kind(layer)} adapter that PEFT cannot merge, so its update is not known",
            _ELSE,
        ) from exc
    return before, after


def _check_matrix(place: Place) -> None:
    """Raise ``PairError`` unless the module multiplies by its weight, so that an update adds to it."""
    module: Any = place.module
    given, weight = place.example(), weight_of(module)
    with torch.no_grad():
        if place.looks_up:
            wanted = place.table_scale * weight[given]
        else:
            wanted = given @ (weight if isinstance(module, Conv1D) else weight.T)
            wanted = wanted if module.bias is None else wanted + weight_of(module, "bias")
        found = module(given)
    if not _agree(found.float(), wanted.float(), found):
        raise PairError(f"{place.name} does more than multiply by its weight", _ELSE)


def _agree(found: torch.Tensor, wanted: torch.Tensor, beside: torch.Tensor) -> bool:
    """True if two effects are equal but for the rounding of the output ``beside`` which they stood."""
    rounding = 8 * torch.finfo(beside.dtype).eps * float(beside.float().norm())
    return float((found - wanted).norm()) <= 0.02 * float(wanted.norm()) + rounding


def _adding(factors: Factors, place: Place) -> Callable[..., torch.Tensor]:
    def hook(
        _module: object, given: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        return output + place.effect(factors, given[0]).to(output)

    return hook
