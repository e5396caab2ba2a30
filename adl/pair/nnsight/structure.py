"""How a transformers model is built, found by running it once and not by its name.

    find_structure(module, ids) -> Structure    the list of decoder layers, which arguments it takes
                                -> Probe        what one short text made of it, for the self-checks

The decoder's layers are the list of modules, as many as the config counts, each of which runs once a
token, in order, and hands on one residual [rows, tokens, width]: alone, or first of a tuple.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adl.errors import AdlError, PairError, first_line
from adl.pair.nnsight.load_errors import is_out_of_memory

CHECK_TEXT = "The river was high in spring, and nobody crossed the old bridge before May."
CHECK_TOKENS = 8
_SUPPORTED = "docs/pairs.md lists the architectures that work; the table says why others do not."
NAMES_OF_THE_CACHE = ("cache", "past_key_values", "cache_params")


@dataclass(frozen=True)
class Structure:
    """Where a model's layers are and how it can be run.

    ``pads``: a row with padding on its left comes out as the row alone. ``repeats_cache``: what was
    computed for the start of a prompt can be shared by several rows. ``alone``: rows of one length
    do not come out as alone either. All are found by trying. ``tolerance`` is how far two ways of
    computing the same log-probabilities may lie apart, as a share of their spread.
    """

    path: str
    n_layers: int
    width: int
    accepts: frozenset[str]
    pads: bool = True
    repeats_cache: bool = True
    alone: bool = False
    tolerance: float = 0.0

    @property
    def cache_name(self) -> str | None:
        """The argument that takes what was computed before; it was renamed in transformers 5."""
        return next((name for name in NAMES_OF_THE_CACHE if name in self.accepts), None)

    def taken(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Of ``inputs`` those that the model's forward takes."""
        return {name: value for name, value in inputs.items() if name in self.accepts}


@dataclass(frozen=True)
class Probe:
    """What one text of [tokens] made of a model, without any of our own means.

    ``logits`` [tokens, V]; ``outputs`` and ``inputs`` by layer [tokens, width] as plain hooks see
    them; ``hidden_states`` are the model's own account of them, where it gives one.
    """

    ids: tuple[int, ...]
    logits: torch.Tensor
    outputs: list[torch.Tensor] = field(repr=False)
    inputs: list[torch.Tensor | None] = field(repr=False)
    hidden_states: tuple[torch.Tensor, ...] = field(repr=False, default=())


def residual_of(output: Any) -> torch.Tensor:
    """The residual in what a layer returns, be it alone or the first of several."""
    residual: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return residual


def with_residual(output: Any, residual: torch.Tensor) -> Any:
    """What a layer returns, with another residual in its place."""
    if isinstance(output, torch.Tensor):
        return residual
    return type(output)([residual, *output[1:]])


def check_ids(module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """A few tokens of a plain sentence, each of which has a row in the embedding."""
    rows = module.config.get_text_config().vocab_size
    found = [index for index in tokenizer.encode(CHECK_TEXT) if index < rows]
    spare = [index for index in range(5, 5 + CHECK_TOKENS) if index < rows]
    return tuple((found if len(found) >= CHECK_TOKENS else found + spare)[:CHECK_TOKENS])


def plain_logits(module: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Logits [tokens, V] of one text by the model alone, on the CPU."""
    row = torch.tensor([list(ids)], device=input_device(module))
    taken = {name: False for name in ("use_cache",) if name in accepted(module)}
    with torch.no_grad():
        logits: torch.Tensor = module(input_ids=row, **taken).logits[0].cpu()
    return logits


def input_device(module: PreTrainedModel) -> torch.device:
    """Where token ids are to be put: where the input embedding runs, wherever its weights wait."""
    embedding = module.get_input_embeddings()
    hook = getattr(embedding, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    if device is not None:
        return torch.device(device)
    for part in (embedding, module):
        for parameter in part.parameters():
            if parameter.device.type != "meta":
                return parameter.device
    return torch.device("cpu")


def accepted(module: PreTrainedModel) -> frozenset[str]:
    """Names of the arguments of the model's forward, and of its decoder's if it passes them on."""
    outer = inspect.signature(module.forward).parameters
    names = set(outer)
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in outer.values()):
        decoder = module.get_decoder()
        if decoder is not None and decoder is not module:
            names |= set(inspect.signature(decoder.forward).parameters)
    return frozenset(names)


def refuse_by_config(module: PreTrainedModel) -> None:
    """Raise ``PairError`` for kinds of models that no reading is defined on."""
    if getattr(module.config, "is_encoder_decoder", False):
        raise _refused(module, "is an encoder with a decoder, which reads no prompt by itself")
    if module.get_output_embeddings() is None and not hasattr(module, "lm_head"):
        raise _refused(module, "has no head that predicts tokens")


def find_structure(module: PreTrainedModel, ids: Sequence[int]) -> tuple[Structure, Probe]:
    """The model's structure, found by running ``ids``; raises ``PairError`` naming what is missing."""
    refuse_by_config(module)
    count = int(module.config.get_text_config().num_hidden_layers)
    stacks = {
        path: part
        for path, part in module.named_modules()
        if isinstance(part, torch.nn.ModuleList) and len(part) == count
    }
    if not stacks:
        raise _refused(module, f"keeps no list of its {count} layers")
    names = accepted(module)
    with _watching(stacks) as seen:
        output = _run(module, ids, names)
    reasons = []
    for path in sorted(stacks, key=lambda path: path.count(".")):
        reason = _why_not(seen[path], count, len(ids))
        if reason is None:
            calls = seen[path]
            outputs = [residual_of(made)[0] for _, _, made in calls]
            structure = Structure(path, count, int(outputs[0].shape[-1]), names)
            probe = Probe(
                tuple(ids),
                output.logits[0],
                outputs,
                [given[0] if given is not None else None for _, given, _ in calls],
                tuple(state[0] for state in getattr(output, "hidden_states", None) or ()),
            )
            return structure, probe
        reasons.append(reason)
    raise _refused(module, reasons[0])


Call = tuple[int, torch.Tensor | None, Any]


def _run(module: PreTrainedModel, ids: Sequence[int], names: frozenset[str]) -> Any:
    row = torch.tensor([list(ids)], device=input_device(module))
    wanted = {"use_cache": False, "output_hidden_states": True, "return_dict": True}
    taken = {name: value for name, value in wanted.items() if name in names}
    # A decorator reads it from **kwargs, so it may stand in no signature.
    outer = inspect.signature(module.forward).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in outer):
        taken["output_hidden_states"] = True
    try:
        with torch.no_grad():
            return module(input_ids=row, **taken)
    except AdlError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        raise _refused(module, f"cannot read a plain text: {first_line(exc)}") from exc


@contextmanager
def _watching(stacks: Mapping[str, torch.nn.ModuleList]) -> Iterator[dict[str, list[Call]]]:
    """Within: every call of a layer of ``stacks``, in order, as (layer, residual in, output)."""
    seen: dict[str, list[Call]] = {path: [] for path in stacks}

    def note(path: str, layer: int) -> Any:
        def hook(_module: Any, given: Any, named: Any, output: Any) -> None:
            first = given[0] if given else named.get("hidden_states")
            entry = first if isinstance(first, torch.Tensor) else None
            seen[path].append((layer, _kept(entry), _kept(output)))

        return hook

    hooks = [
        part.register_forward_hook(note(path, layer), with_kwargs=True)
        for path, stack in stacks.items()
        for layer, part in enumerate(stack)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _kept(output: Any) -> Any:
    """A copy of what is read: later layers may add to it in place."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        return (output[0].clone(),)
    return output


def _why_not(calls: Sequence[Call], count: int, n_tokens: int) -> str | None:
    """Why calls are not those of a decoder's layers; None if they are."""
    order = [layer for layer, _, _ in calls]
    if order != list(range(count)):
        if len(order) > count:
            return f"runs its {count} layers {len(order)} times a token, so a layer is no one place"
        return f"does not run its {count} layers once each, in order"
    for layer, _, output in calls:
        whole = output if isinstance(output, torch.Tensor) else None
        if whole is None and isinstance(output, (tuple, list)) and output:
            whole = output[0] if isinstance(output[0], torch.Tensor) else None
        if whole is None:
            return f"hands on no residual at layer {layer} ({type(output).__name__})"
        if whole.dim() != 3 or whole.shape[:2] != (1, n_tokens):
            shape = ", ".join(map(str, whole.shape))
            return f"hands on [{shape}] at layer {layer} and not one residual a token"
    return None


def _refused(module: PreTrainedModel, why: str) -> PairError:
    return PairError(f"{type(module).__name__} cannot be audited: it {why}", _SUPPORTED)
