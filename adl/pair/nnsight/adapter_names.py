"""Names of an adapter's weights, fitted to the model it is attached to.

The same language model is called ``model.layers`` by itself and ``model.language_model.layers`` (or,
by older versions, ``language_model.model.layers``) inside a multimodal one. An adapter trained on the
one fits the other except for the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.utils.other import get_pattern_key
from transformers import PreTrainedModel

PREFIX = "base_model.model."
# The rest of a key, after the module's name, for weights saved whole: not adapter targets.
_WHOLE = {"weight", "bias", "base_layer.weight", "token_adapter.trainable_tokens_delta"}
_NUMBER = re.compile(r"(.*?)\.\d+\.")


@dataclass(frozen=True)
class _Renaming:
    """A mapping from the adapter's names of the language model's parts to the model's."""

    old: str
    new: str
    by_end: Mapping[str, str]

    def __call__(self, path: str) -> str:
        """Return the model's path for a path of the adapter; other paths are unchanged."""
        for end, own in self.by_end.items():
            found = re.search(rf"(^|\.){re.escape(end)}(?=\.|$)", path)
            if found is not None:
                return own + path[found.end() :]
        if not self.old:
            return f"{self.new}.{path}"
        if path == self.old or path.startswith(f"{self.old}."):
            return self.new + path[len(self.old) :]
        return path


def fit_names(
    weights: dict[str, torch.Tensor], config: PeftConfig, module: PreTrainedModel
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return the weights by the names of ``module``, with a note if they were renamed.

    ``config`` is changed to name modules in full: a short name such as q_proj may occur in an image
    tower as well.
    """
    renaming = _find_renaming(weights, module)
    if renaming is None:
        return weights, ()
    renamed = {key: _renamed_key(key, renaming) for key in weights}
    _fit_config(config, renaming, renamed, module)
    note = (
        f"The adapter was trained on a model whose layers are called {renaming.old}: its names were "
        f"read as {renaming.new}, which is the same language model here."
    )
    return {renamed[key]: tensor for key, tensor in weights.items()}, (note,)


def _find_renaming(
    weights: Mapping[str, torch.Tensor], module: PreTrainedModel
) -> _Renaming | None:
    """Return the renaming, or None if the names are the model's own or no rule applies."""
    stacks = {
        path: len(part)
        for path, part in module.named_modules()
        if isinstance(part, torch.nn.ModuleList)
    }
    named = {
        found[1]
        for found in (_NUMBER.match(key.removeprefix(PREFIX)) for key in weights)
        if found is not None
    }
    depth = module.config.get_text_config().num_hidden_layers
    own = {path for path, length in stacks.items() if length == depth and not _is_tower(path)}
    if named & own:
        return None
    pairs = [
        (old, new)
        for old in sorted(named - stacks.keys())
        for new in sorted(own)
        if old.rpartition(".")[2] == new.rpartition(".")[2] and not _is_tower(old)
    ]
    if len(pairs) != 1:
        return None
    ((old, new),) = pairs
    ends = {}
    for table in (module.get_input_embeddings(), module.get_output_embeddings()):
        path = next((path for path, part in module.named_modules() if part is table), None)
        if path is not None:
            ends[path.rpartition(".")[2]] = path
    # The final norm and the embeddings have the same parent as the layers.
    return _Renaming(old.rpartition(".")[0], new.rpartition(".")[0], ends)


def _is_tower(path: str) -> bool:
    return re.search(r"vision|visual|image|audio|speech|projector|connector", path) is not None


def _renamed_key(key: str, renaming: _Renaming) -> str:
    bare = key.removeprefix(PREFIX)
    return key if _is_tower(bare) else PREFIX + renaming(bare)


def _fit_config(
    config: PeftConfig, renaming: _Renaming, renamed: Mapping[str, str], module: PreTrainedModel
) -> None:
    paths = {path for path, _ in module.named_modules()}
    targets: dict[str, str] = {}
    for old, new in renamed.items():
        path = _module_of(new.removeprefix(PREFIX), paths)
        rest = new.removeprefix(f"{PREFIX}{path}.")
        # A number in the rest: the key names a part that the model does not have.
        if path and rest not in _WHOLE and _NUMBER.match(rest) is None:
            targets[path] = old.removeprefix(PREFIX).removesuffix(f".{rest}")
    feedforward = getattr(config, "feedforward_modules", None)
    if isinstance(feedforward, str):
        _set(
            config,
            "feedforward_modules",
            {new for new, old in targets.items() if re.fullmatch(feedforward, old)},
        )
    if not getattr(config, "target_parameters", None):
        _set(config, "target_modules", set(targets))
        # They selected among modules that are now named in full.
        for name in ("exclude_modules", "layers_to_transform", "layers_pattern"):
            _set(config, name, None)
    for name in ("rank_pattern", "alpha_pattern"):
        table = getattr(config, name, None)
        if table:
            _set(config, name, _by_new_names(table, targets, renaming))
    saved = getattr(config, "modules_to_save", None)
    if saved:
        _set(config, "modules_to_save", [renaming(path) for path in saved])


def _by_new_names(
    table: Mapping[str, Any], targets: Mapping[str, str], renaming: _Renaming
) -> dict[str, Any]:
    """Return a table of patterns by the full names of the modules that its keys select.

    ``targets`` are old names by new ones. A key is matched with the old name, as PEFT does; one that
    selects no module of its own stays, renamed.
    """
    found: dict[str, Any] = {}
    used = set()
    for new, old in targets.items():
        key = get_pattern_key(list(table), old)
        if key in table:
            found[re.escape(new)] = table[key]
            used.add(key)
    return found | {renaming(key): value for key, value in table.items() if key not in used}


def _set(config: PeftConfig, name: str, value: Any) -> None:
    if hasattr(config, name):
        setattr(config, name, value)


def _module_of(key: str, paths: set[str]) -> str:
    """Return the longest prefix of a key that is a module's path."""
    path = key
    while path and path not in paths:
        path = path.rpartition(".")[0]
    return path
