"""The structure of a transformers model, found by running it once and not by its name.

    find_structure(module, ids) -> Structure    the list of decoder layers, the arguments it takes
                                -> Probe        residuals and logits of a short text, for the checks

The decoder's layers are the list of modules, as many as the config counts, each of which runs once a
token, in order, and returns one residual [rows, tokens, width]: alone, or first of a tuple.
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
from adl.pair.nnsight.offloading import running_device

CHECK_TEXT = "The river was high in spring, and nobody crossed the old bridge before May."
CHECK_TOKENS = 8
_SUPPORTED = "docs/pairs.md lists the architectures that work; the table says why others do not."
MOST_UNUSED_ROWS = 4
NAMES_OF_THE_LIMIT = ("max_position_embeddings", "max_target_positions")
# Methods of a module that makes its table anew when a text is longer: XGLM's, and rotary tables.
TABLE_GROWS = ("make_weights", "_set_cos_sin_cache")
NAMES_OF_THE_CACHE = ("cache", "past_key_values", "cache_params")


@dataclass(frozen=True)
class Structure:
    """The path of a model's layers, and how it can be run.

    ``pads``: a row padded on the left gives what it gives alone. ``repeats_cache``: the cache of the
    start of a prompt can be shared by several rows. ``alone``: not even rows of one length give what
    they give alone. All are found by trying. ``tolerance`` is the largest distance of equal
    log-probabilities, relative to their spread.
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
        """The name of the cache argument; it was renamed in transformers 5."""
        return next((name for name in NAMES_OF_THE_CACHE if name in self.accepts), None)

    def taken(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of ``inputs`` that the model's forward takes."""
        return {name: value for name, value in inputs.items() if name in self.accepts}


@dataclass(frozen=True)
class Probe:
    """Residuals and logits of one text, by plain PyTorch hooks.

    ``logits`` [tokens, V]; ``outputs`` and ``inputs`` [tokens, width] by layer; ``hidden_states`` as
    the model itself returns them, if it does.
    """

    ids: tuple[int, ...]
    logits: torch.Tensor
    outputs: list[torch.Tensor] = field(repr=False)
    inputs: list[torch.Tensor | None] = field(repr=False)
    hidden_states: tuple[torch.Tensor, ...] = field(repr=False, default=())


def residual_of(output: Any) -> torch.Tensor:
    """Return the residual in a layer's output: the output, or the first of several."""
    residual: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return residual


def with_residual(output: Any, residual: torch.Tensor) -> Any:
    """Return a layer's output with another residual."""
    if isinstance(output, torch.Tensor):
        return residual
    return type(output)([residual, *output[1:]])


def check_ids(module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return a few tokens of a plain sentence, all with a row in the embedding."""
    rows = module.config.get_text_config().vocab_size
    found = [index for index in tokenizer.encode(CHECK_TEXT) if index < rows]
    spare = [index for index in range(5, 5 + CHECK_TOKENS) if index < rows]
    return tuple((found if len(found) >= CHECK_TOKENS else found + spare)[:CHECK_TOKENS])


def plain_logits(module: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Return logits [tokens, V] of one text by the model alone, on the CPU."""
    row = torch.tensor([list(ids)], device=input_device(module))
    taken = {name: False for name in ("use_cache",) if name in accepted(module)}
    with torch.no_grad():
        logits: torch.Tensor = module(input_ids=row, **taken).logits[0].cpu()
    return logits


def input_device(module: PreTrainedModel) -> torch.device:
    """Return the device of token ids: that on which the input embedding runs, offloaded or not."""
    found = running_device(module.get_input_embeddings()) or running_device(module)
    return found or torch.device("cpu")


def accepted(module: PreTrainedModel) -> frozenset[str]:
    """Return the argument names of the model's forward, and of its decoder's if passed on."""
    outer = inspect.signature(module.forward).parameters
    names = set(outer)
    if any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in outer.values()):
        decoder = module.get_decoder()
        if decoder is not None and decoder is not module:
            names |= set(inspect.signature(decoder.forward).parameters)
    return frozenset(names)


def most_positions(module: PreTrainedModel) -> int | None:
    """Return the number of tokens beyond which a model fails; None for a model without such a limit.

    It is that of the config where a table, other than the embedding of the tokens, has a row for each
    position, or a few more (OPT keeps two unused): learned, or computed when the model is made.
    Rotary and relative positions are mostly computed for as many tokens as there are.
    """
    config = module.config.get_text_config()
    if config.model_type == "mpt":  # its attention biases, kept nowhere, are computed for so many
        return int(config.max_seq_len)
    counts = (getattr(config, name, None) for name in NAMES_OF_THE_LIMIT)
    count = next((count for count in counts if count), 0)
    for rows, before in _tables(module):
        if count and count <= rows <= count + MOST_UNUSED_ROWS:
            return int(count) - before
    return None


def _tables(module: PreTrainedModel) -> Iterator[tuple[int, int]]:
    """Yield rows, and rows before the first position, of tables that may be of positions.

    Tables that grow when needed are left out.
    """
    tokens = module.get_input_embeddings()
    for part in module.modules():
        if isinstance(part, torch.nn.Embedding) and part is not tokens:
            # As RoBERTa's: positions begin after the one that stands for padding.
            yield part.num_embeddings, 0 if part.padding_idx is None else part.padding_idx + 1
        if not any(hasattr(part, name) for name in TABLE_GROWS):
            yield from ((len(held), 0) for held in part.buffers(recurse=False) if held.dim() == 2)


def refuse_by_config(module: PreTrainedModel) -> None:
    """Raise ``PairError`` for kinds of models without any reading."""
    if getattr(module.config, "is_encoder_decoder", False):
        raise refused(module, "is an encoder with a decoder, which reads no prompt by itself")
    if module.get_output_embeddings() is None and not hasattr(module, "lm_head"):
        raise refused(module, "has no head that predicts tokens")


def find_structure(module: PreTrainedModel, ids: Sequence[int]) -> tuple[Structure, Probe]:
    """Return the model's structure, found by running ``ids``. Raises ``PairError`` without one."""
    refuse_by_config(module)
    stacks = layer_lists(module)
    count = len(next(iter(stacks.values())))
    names = accepted(module)
    with _watching(stacks) as seen:
        output = _run(module, ids, names)
    reasons = []
    for path in stacks:
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
    raise refused(module, reasons[0])


def layer_lists(module: PreTrainedModel) -> dict[str, torch.nn.ModuleList]:
    """Return the lists of as many modules as the config counts layers, by path, the outermost first.

    Raises ``PairError`` for a model without one.
    """
    count = int(module.config.get_text_config().num_hidden_layers)
    found = {
        path: part
        for path, part in module.named_modules()
        if isinstance(part, torch.nn.ModuleList) and len(part) == count
    }
    if not found:
        raise refused(module, f"keeps no list of its {count} layers")
    return dict(sorted(found.items(), key=lambda entry: entry[0].count(".")))


Call = tuple[int, torch.Tensor | None, Any]


def _run(module: PreTrainedModel, ids: Sequence[int], names: frozenset[str]) -> Any:
    row = torch.tensor([list(ids)], device=input_device(module))
    wanted = {"use_cache": False, "output_hidden_states": True, "return_dict": True}
    taken = {name: value for name, value in wanted.items() if name in names}
    # A decorator reads it from **kwargs, so it may be in no signature.
    outer = inspect.signature(module.forward).parameters.values()
    if any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in outer):
        taken["output_hidden_states"] = True
    try:
        with torch.no_grad():
            return module(input_ids=row, **taken)
    except AdlError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        raise refused(module, f"cannot read a plain text: {first_line(exc)}") from exc


@contextmanager
def _watching(stacks: Mapping[str, torch.nn.ModuleList]) -> Iterator[dict[str, list[Call]]]:
    """Record every call of a layer of ``stacks`` in the body, as (layer, residual in, output)."""
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
    """Return a copy of an output: later layers may add to it in place."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        return (output[0].clone(),)
    return output


def _why_not(calls: Sequence[Call], count: int, n_tokens: int) -> str | None:
    """Return the reason why calls are not those of a decoder's layers; None if they are."""
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


def refused(module: PreTrainedModel, why: str) -> PairError:
    """Return the error for a model that cannot be audited because it ``why``."""
    return PairError(f"{type(module).__name__} cannot be audited: it {why}", _SUPPORTED)
