"""Check that a model took all its weights from a checkpoint: random parts are refused."""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from transformers import GenerationConfig, PreTrainedModel

from adl.errors import PairError
from adl.pair.checkpoint_files import CheckpointFiles

# Tables that a model computes and that older versions of transformers stored.
COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|inv_freq|position_ids|masked_bias|attn\.bias)$")
# Tensors that quantisers store with or instead of a weight.
QUANTISED = re.compile(
    r"\.(weight_scale_inv|weight_scale|input_scale|qweight|qzeros|scales|g_idx|weight_packed|"
    r"weight_zero_point|SCB|weight\.(absmax|quant_map|quant_state\..*|nested_absmax)|"
    r"\w*_proj_(blocks|scales))$"
)
INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}
# Written by older versions of transformers, and of no effect on a language model.
UNUSED = {"auto_map", "task_specific_params", "is_decoder", "tie_encoder_decoder"}
PEFT_NAMES = re.compile(r"\.(base_layer|lora_[A-Z]\w*|lora_magnitude_vector|modules_to_save)\.")
TOWERS = re.compile(r"vision|visual|image|audio|speech|video|projector|connector|merger|resampler")
_NAMED = 3


@dataclass(frozen=True)
class LoadingInfo:
    """The keys that transformers reports of a load; ``mismatched`` are (name, stored shape, model shape)."""

    missing: frozenset[str]
    unexpected: frozenset[str]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> LoadingInfo:
        """Return the report from ``from_pretrained(output_loading_info=True)``."""
        return cls(
            frozenset(info["missing_keys"]),
            frozenset(info["unexpected_keys"]),
            tuple(
                (name, tuple(stored), tuple(wanted))
                for name, stored, wanted in sorted(info["mismatched_keys"])
            ),
        )


def check_loaded(
    shown: str, module: PreTrainedModel, info: LoadingInfo, files: CheckpointFiles
) -> list[str]:
    """Return sentences on tensors that were left out, or that the checkpoint lacks without effect.

    Raises ``PairError`` where a weight that text passes through did not come from the checkpoint.
    """
    architecture = type(module).__name__
    if info.mismatched:
        name, stored, wanted = info.mismatched[0]
        others = [name for name, _, _ in info.mismatched[1:]]
        more = f", and {len(others)} more: {named(others)}" if others else ""
        raise PairError(
            f"{shown}: {name} is {list(stored)} in the checkpoint and {list(wanted)} by its "
            f"config.json{more}",
            "Give config.json the sizes of the weights (vocab_size, hidden_size, ...), or save the "
            "model again.",
        )
    scales = sorted(name for name in info.unexpected if QUANTISED.search(name))
    if scales:
        raise PairError(
            f"{shown} holds quantised weights ({named(scales)}), which {architecture} would read as "
            "they are: its config.json has no quantization_config that covers them",
            "Take the config.json that came with these weights.",
        )
    state = module.state_dict()
    whole = [
        name
        for name, tensor in files.tensors.items()
        if tensor.dtype in INTEGERS and name in state and state[name].is_floating_point()
    ]
    if whole and not files.config.get("quantization_config"):
        raise PairError(
            f"{shown} holds whole numbers for weights ({named(whole)}), which {architecture} would "
            "read as they are: its config.json does not say how they are quantised",
            "Take the config.json that came with these weights.",
        )
    missing = sorted(info.missing)
    unused = [name for name in missing if _beside_text(module, name)]
    needed = [name for name in missing if name not in set(unused)]
    if needed:
        raise PairError(
            f"{shown} lacks {len(needed)} of the weights of {architecture}, which would be random: "
            f"{named(needed)}",
            _hint(info.unexpected),
        )
    notes = []
    if unused:
        notes.append(
            f"{len(unused)} weights of {architecture} are not in the checkpoint and random "
            f"({_groups(unused)}); text does not pass through them."
        )
    return notes + _left_out(module, info, files)


def ignored_settings(config: Mapping[str, Any], module: PreTrainedModel) -> list[str]:
    """Return keys of a config.json that are set and that no code of the model mentions."""
    own = module.config.get_text_config()
    classes = (type(own), type(module), type(module.get_decoder()), GenerationConfig)
    sources = {cls.__module__ for kind in classes for cls in kind.__mro__ if _has_source(cls)}
    mentioned = frozenset().union(*map(_words_of, sources))
    return sorted(
        key
        for key, value in config.items()
        if value
        and key not in UNUSED
        and not key.startswith(("_", "unsloth"))
        and not key.endswith(("_version", "_config"))
        and key not in mentioned
    )


@cache
def _words_of(module: str) -> frozenset[str]:
    """Return the words of a module's source."""
    return frozenset(re.findall(r"\w+", inspect.getsource(sys.modules[module])))


def _has_source(cls: type) -> bool:
    return cls.__module__.startswith("transformers")


def named(names: Collection[str]) -> str:
    """Return the first three of some names, and the number of the others."""
    first = ", ".join(list(names)[:_NAMED])
    return first + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _beside_text(module: PreTrainedModel, name: str) -> bool:
    """Return True for a weight of a tower for images or sound, unused for text."""
    if module.config.get_text_config() is module.config:
        return False
    decoder = module.get_decoder()
    inside = next((path for path, part in module.named_modules() if part is decoder), "")
    return not name.startswith(f"{inside}.") and TOWERS.search(name) is not None


def _hint(unexpected: frozenset[str]) -> str:
    if any(PEFT_NAMES.search(name) for name in unexpected):
        return (
            "It was saved from a model with an adapter in it: merge that (merge_and_unload) and save "
            "the merged model, or save the adapter alone and give it as --adapter."
        )
    if unexpected:
        return (
            f"It holds other names in their place ({named(sorted(unexpected))}): save it again with "
            "save_pretrained of the model's own class."
        )
    return "Download or save it again in full."


def _left_out(module: PreTrainedModel, info: LoadingInfo, files: CheckpointFiles) -> list[str]:
    """Return tensors of the checkpoint that are no part of the model, by kind."""
    # Of some names the architecture knows that they are not its own, and the library is silent.
    silent = [re.compile(pattern) for pattern in module._keys_to_ignore_on_load_unexpected or ()]
    known = {
        name
        for name in files.tensors
        if COMPUTED.search(name) or any(pattern.search(name) for pattern in silent)
    }
    left = sorted((info.unexpected | known) - set(module.state_dict()))
    computed = [name for name in left if COMPUTED.search(name)]
    towers = [name for name in left if name not in computed and TOWERS.search(name)]
    rest = [name for name in left if name not in computed and name not in towers]
    heads = [name for name in rest if name in known or "mtp" in name.lower()]
    strange = [name for name in rest if name not in heads]
    what = (
        (computed, "which the model computes itself"),
        (towers, "which are for images or sound; text does not pass through them"),
        (heads, "which the architecture leaves out, such as heads that predict further tokens"),
        (strange, "which the architecture does not know: what was trained may not be what is run"),
    )
    return [
        f"{len(names)} tensors of the checkpoint are not loaded ({_groups(names)}), {reason}."
        for names, reason in what
        if names
    ]


def _groups(names: Iterable[str]) -> str:
    """Return names with numbers as stars, each tower as one, the most frequent first."""
    counts = Counter(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", _of_tower(name)) for name in names)
    return named([name for name, _ in counts.most_common()])


def _of_tower(name: str) -> str:
    parts = name.split(".")
    cut = next((at for at, part in enumerate(parts) if TOWERS.search(part)), None)
    return name if cut is None else ".".join([*parts[: cut + 1], "*"])
