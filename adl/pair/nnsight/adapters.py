"""Adapters: find one, and attach it to a model as PEFT does.

An adapter on the base's own checkpoint shares its weights: switched off it is the base, switched on
the finetuned model. An adapter that changes the base even when it is off (see ``base_state``) gets a
copy of the checkpoint.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType, set_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.utils import get_peft_model_state_dict, load_peft_weights
from transformers import PreTrainedModel

from adl.errors import PairError
from adl.pair.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    require_no_revision,
)
from adl.pair.hub_download import Located, download
from adl.pair.nnsight.adapter_names import PREFIX, fit_names
from adl.pair.nnsight.base_state import input_table, probe_logits
from adl.pair.nnsight.demo import is_prepared
from adl.pair.nnsight.load_errors import loading
from adl.pair.nnsight.offloaded_adapters import OffloadedBase
from adl.pair.nnsight.offloading import offloaded
from adl.pair.weight_hashes import sha256_of
from adl.paths import expanded
from adl.records import EMBEDDED_NAME, Side, SideSpec

ADAPTER_NAME = "default"
LANGUAGE_TASKS = (None, "CAUSAL_LM", "FEATURE_EXTRACTION")
_WHOLE_MATRIX = ("weight", "base_layer.weight", "original_module.weight", "modules_to_save.weight")
_NOT_TEXT = ("vision", "visual", "image", "audio", "multi_modal", "mm_projector")
# Names of repositories of quantised checkpoints.
_QUANTISED = re.compile(
    r"(?<![a-z0-9])(bnb|[48]-?bit|int[48]|nf4|fp[48]|gptq|awq|aqlm|hqq|exl[23]|w[48]a\d+|gguf|"
    r"quanti[sz]ed)(?![a-z0-9])",
    re.IGNORECASE,
)
_MOST_NAMED = 3
_WEIGHTS = (".bin", ".pt", ".pth", ".safetensors")
# The adapter's own, those of a whole model in the same folder, and what a trainer needs to go on.
_KNOWN_BESIDE = re.compile(
    r"(adapter_model|model|pytorch_model|consolidated|optimizer|scheduler|scaler|rng_state|"
    r"training_args|trainer)\b|(optimizer|rng_state|model|pytorch_model)[-_]"
)


@dataclass(frozen=True)
class Adapter:
    """An adapter found for a side: its folder, its config, and the fields that record it.

    ``beside`` are the names of files beside it, in its folder or its repository, and ``notes`` what a
    person should know of where it came from.
    """

    name: str
    folder: Path
    config: PeftConfig
    written: dict[str, Any]
    record: dict[str, Any]
    beside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# --- finding ------------------------------------------------------------------------------------


def find_adapter(name: Side, wanted: SideSpec) -> Adapter:
    """Return the adapter of a side, not yet loaded.

    Raises ``PairError`` if the folder holds no adapter, or one that cannot be switched.
    """
    assert wanted.adapter is not None
    local = expanded(wanted.adapter)
    if local.is_dir():
        require_no_revision(f"{name}: adapter {wanted.adapter!r}", wanted.adapter_revision)
        found = Located(local)
    else:
        found = download(name, wanted.adapter, wanted.adapter_revision, what="adapter")
    folder = found.path
    weights = next((folder / file for file in ADAPTER_WEIGHTS if (folder / file).is_file()), None)
    missing = None if (folder / ADAPTER_CONFIG).is_file() else ADAPTER_CONFIG
    missing = missing or (None if weights else ADAPTER_WEIGHTS[0])
    if missing or weights is None:
        hint = (
            "It holds a full checkpoint: give it as --finetuned."
            if (folder / CONFIG).is_file()
            else "Name a folder written by PEFT's save_pretrained."
        )
        raise PairError(f"{name}: adapter {wanted.adapter!r} has no {missing}", hint)
    with loading(name, wanted.adapter), warnings.catch_warnings():
        # Unknown keys are reported among the mismatches, see ``config_notes``.
        warnings.simplefilter("ignore")
        written = json.loads((folder / ADAPTER_CONFIG).read_text())
        _check_type(name, wanted.adapter, written)
        config = PeftConfig.from_pretrained(str(folder))
        digest = sha256_of(folder / ADAPTER_CONFIG, weights)
    _check_kind(name, wanted.adapter, config)
    return Adapter(
        wanted.adapter,
        folder,
        config,
        written,
        {
            "adapter": wanted.adapter,
            "adapter_revision": found.commit,
            "adapter_sha256": digest,
        },
        (*(path.name for path in folder.iterdir()), *found.left),
        found.notes,
    )


def _check_type(name: Side, adapter: str, written: dict[str, Any]) -> None:
    kind = written.get("peft_type")
    if kind not in list(PeftType):
        raise PairError(
            f"{name}: adapter {adapter!r} is of a type that the installed PEFT does not know: {kind!r}",
            "Install a PEFT that does, or merge the adapter there and give --finetuned.",
        )


def _check_kind(name: Side, adapter: str, config: PeftConfig) -> None:
    """Raise ``PairError`` for an adapter that cannot be switched on and off on a base's layers."""
    # By name: some supported versions of PEFT lack some of them.
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    merge = "Merge it (PEFT's merge_and_unload), save the model and give that as --finetuned."
    weights_only = "Only adapters on weights (LoRA and its relatives) can be switched on one copy."
    start = getattr(config, "init_lora_weights", None)
    reasons = [
        (config.is_prompt_learning, "adds tokens and not weights", weights_only),
        (
            getattr(config, "is_adaption_prompt", False),
            "adds a prompt to the attention and not weights",
            weights_only,
        ),
        (kind == "XLORA", "mixes several adapters, for each text anew", weights_only),
        (kind == "POLY", "wants the number of a task with every text", weights_only),
        (kind == "SHADOW", "runs a second model beside the base", weights_only),
        (
            bool(getattr(config, "alora_invocation_tokens", None)),
            (
                "acts only after its invocation tokens (alora_invocation_tokens), so that plain text "
                "and ordinary chats show nothing of it"
            ),
            "Give a LoRA that acts on every token.",
        ),
        (
            bool(getattr(config, "arrow_config", None)),
            "chooses between several adapters, for each token anew (arrow_config)",
            weights_only,
        ),
        (
            bool(getattr(config, "layer_replication", None)),
            (
                "repeats layers of the base (layer_replication), so that the sides have not the same "
                "layers to compare"
            ),
            "The difference needs a base with as many layers: give one as --base.",
        ),
        (
            isinstance(start, str) and start.startswith("pissa_niter_"),
            (
                f"rewrites the base's weights by a random approximation (init_lora_weights={start!r}), "
                "another one at each load"
            ),
            (
                "Convert it to a LoRA (save_pretrained with path_initial_model_for_weight_conversion), "
                "or merge it where it was trained and give --finetuned."
            ),
        ),
        (
            isinstance(start, str) and start.lower() == "corda",
            (
                "rewrites the base's weights by statistics of texts that are not saved with it "
                "(init_lora_weights='corda')"
            ),
            merge,
        ),
        (
            config.task_type not in LANGUAGE_TASKS,
            f"was trained for {config.task_type}, not to continue text",
            merge,
        ),
    ]
    for applies, why, hint in reasons:
        if applies:
            raise PairError(f"{name}: adapter {adapter!r} is a {kind} adapter, which {why}", hint)


# --- the config against the base ------------------------------------------------------------------


def _weights_beside(adapter: Adapter) -> list[str]:
    """Return files of weights beside an adapter's: some trainers keep what else they changed there."""
    return sorted(
        name for name in adapter.beside if name.endswith(_WEIGHTS) and not _KNOWN_BESIDE.match(name)
    )


def config_notes(
    adapter: Adapter, wanted: SideSpec, folder: Path, resolved_revision: str | None
) -> tuple[str, ...]:
    """Return notes on wishes of the adapter's config that are not met: another base, unknown keys.

    ``folder`` and ``resolved_revision`` are those of the checkpoint it is attached to.
    """
    notes = list(adapter.notes)
    if beside := _weights_beside(adapter):
        notes.append(
            f"Beside the adapter lie weights that are no part of it and were not loaded: "
            f"{', '.join(beside[:_MOST_NAMED])}. If its training changed them, this is not the model "
            "that was trained."
        )
    base = adapter.written.get("base_model_name_or_path")
    if isinstance(base, str) and base and not _same_base(base, wanted.checkpoint, folder):
        if _QUANTISED.search(base):
            notes.append(
                f"The adapter was trained on a quantised base ({base!r}): on {wanted.checkpoint!r} its "
                "numbers are not quite those of its training."
            )
        else:
            notes.append(
                f"The adapter's config names another base ({base!r}) than {wanted.checkpoint!r}, which "
                "it is put on: unless they are the same weights, so is another finetuned model."
            )
    revision = adapter.written.get("revision")
    loaded = {wanted.revision or "main", resolved_revision}
    if revision and revision not in loaded:
        shown = resolved_revision or wanted.revision or "a folder without revisions"
        notes.append(
            f"The adapter's config names revision {revision!r} of its base; loaded is {shown}."
        )
    known = {option.name for option in fields(adapter.config)}
    ignored = sorted(adapter.written.keys() - known)
    if ignored:
        saved_by = adapter.written.get("peft_version")
        by = f", which PEFT {saved_by} wrote" if saved_by else ""
        notes.append(
            f"PEFT {version('peft')} does not know these keys of the adapter's config and leaves them "
            f"out{by}: {', '.join(ignored)}."
        )
    return tuple(notes)


def _names(folder: Path) -> set[str]:
    """Return the names of the checkpoint in a folder, in lower case."""
    names = {folder.resolve().name}
    if is_prepared(folder):
        names.add(EMBEDDED_NAME)
    if folder.parent.name == "snapshots":
        # In the hub's cache: models--ORGANISATION--NAME/snapshots/COMMIT.
        names.add(folder.parent.parent.name.rpartition("--")[2])
    return {name.lower() for name in names}


def _same_base(named: str, checkpoint: str, folder: Path) -> bool:
    """Return True if both names are of one base; a folder stands for the repository of its name."""
    if named.lower() == checkpoint.lower():
        return True
    try:
        local = Path(named).expanduser()
        if local.exists() or Path(checkpoint).expanduser().is_dir():
            if local.resolve() == folder.resolve():
                return True
            return local.name.lower() in _names(folder)
    except (OSError, ValueError, RuntimeError):
        pass  # too long for a path, so the id of another base
    return False


# --- attaching ----------------------------------------------------------------------------------


def attach(name: Side, adapter: Adapter, module: PreTrainedModel) -> tuple[str, ...]:
    """Attach the adapter to ``module`` in place, switched on, and return notes on it.

    The numbers are those of ``PeftModel.from_pretrained``, which is checked on a few tokens. Raises
    ``PairError`` if a weight of the adapter is missing, or the outputs are not PEFT's.
    """
    weights = load_peft_weights(
        str(adapter.folder),
        device="cpu",
        key_mapping=getattr(module, "_checkpoint_conversion_mapping", None),
    )
    weights, renamed = fit_names(weights, adapter.config, module)
    notes = (*renamed, *_resize(name, adapter, module, weights))
    adapter.config.inference_mode = True
    kind = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(adapter.config.task_type), PeftModel)
    type_name = getattr(adapter.config.peft_type, "value", adapter.config.peft_type)
    shown = f"{name}: adapter {adapter.name!r} is a {type_name} adapter, which"
    base = OffloadedBase(module)
    with warnings.catch_warnings(), base.attaching(shown):
        warnings.simplefilter("ignore")
        model = kind(module, adapter.config, ADAPTER_NAME)
        base.place(shown, model)
        try:
            result: Any = set_peft_model_state_dict(model, weights, ADAPTER_NAME)
        except KeyError as exc:
            _refuse_missing(name, adapter, [str(exc.args[0])])
        cast = getattr(model.base_model, "_cast_adapter_dtype", None)
        if cast is not None:
            cast(adapter_name=ADAPTER_NAME, autocast_adapter_dtype=True)
        model.eval()
        missing = _missing(model, result.missing_keys)
        if missing:
            _refuse_missing(name, adapter, missing)
        base.check_loaded(shown, model, result.missing_keys)
        if not torch.equal(probe_logits(model, module), probe_logits(module, module)):
            raise PairError(
                f"{shown} has an effect that is not in the layers it puts into the model",
                "Merge it (PEFT's merge_and_unload), save the model and give that as --finetuned.",
            )
    return (*notes, *_unplaced(result.unexpected_keys, weights))


def _twice(key: str, weights: dict[str, torch.Tensor]) -> bool:
    for part in (".modules_to_save.weight", ".original_module.weight"):
        if key.endswith(part) and f"{key.removesuffix(part)}.weight" in weights:
            return True
    return False


def _unplaced(unexpected_keys: list[str], weights: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Return a note on weights for images and sound; raise ``ValueError`` for other unplaced weights."""
    keys = [
        key.removeprefix(PREFIX)
        for key in unexpected_keys
        # Embeddings that were both saved and resized are written twice.
        if not _twice(key, weights)
    ]
    text = [key for key in keys if not any(part in key for part in _NOT_TEXT)]
    if text:
        raise ValueError(f"it holds weights for parts that the base has not: {_some(text)}")
    if not keys:
        return ()
    return (f"The adapter's weights for images or sound are left out: {_some(keys)}.",)


def _refuse_missing(name: Side, adapter: Adapter, missing: list[str]) -> None:
    named = _some(key.removeprefix(PREFIX) for key in missing)
    raise PairError(
        f"{name}: adapter {adapter.name!r} has no weights for {named}, which its config asks for",
        "Give the base the adapter was trained on, or save the adapter again.",
    )


def _missing(model: PeftModel, missing_keys: list[str]) -> list[str]:
    """Return keys of weights that PEFT saves and that were not loaded.

    A weight may have several keys, of which one suffices; weights that PEFT does not save it makes
    again from a seed.
    """
    state = model.state_dict()
    saved = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    wanted = {tensor.data_ptr() for tensor in saved.values() if tensor.numel()}
    absent = set(missing_keys)
    loaded = {tensor.data_ptr() for key, tensor in state.items() if key not in absent}
    return [key for key in missing_keys if state[key].data_ptr() in wanted - loaded]


def _resize(
    name: Side, adapter: Adapter, module: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> tuple[str, ...]:
    """Resize the embeddings to the rows that the adapter was saved with, and return notes."""
    tables = {
        path: table
        for path, table in module.named_modules()
        if table is module.get_input_embeddings() or table is module.get_output_embeddings()
    }
    found: dict[str, int] = {}
    whole = set()
    for key, tensor in weights.items():
        for path in tables:
            part = key.removeprefix(PREFIX)
            if not part.startswith(f"{path}."):
                continue
            part = part.removeprefix(f"{path}.")
            if part in _WHOLE_MATRIX:
                whole.add(path)
            if part in {*_WHOLE_MATRIX, "lora_B.weight", "lora_embedding_A"}:
                found[path] = tensor.shape[-1 if part == "lora_embedding_A" else 0]
    rows = set(found.values())
    before = input_table(module).shape[0]
    if rows <= {before}:
        return ()
    if len(rows) > 1:
        sizes = ", ".join(f"{count:,} of {path}" for path, count in found.items())
        raise PairError(
            f"{name}: adapter {adapter.name!r} was saved with embeddings of several sizes: {sizes}",
            "Save it again with its embeddings resized as one.",
        )
    after = rows.pop()
    waiting = [path for path, table in tables.items() if offloaded(table)]
    if waiting:
        raise PairError(
            f"{name}: adapter {adapter.name!r} was saved with embeddings of {after:,} rows, the base has "
            f"{before:,}, and those of {_some(waiting)} do not stay on a device, where they are resized",
            "Give a --device-map that keeps them on one.",
        )
    module.resize_token_embeddings(after, mean_resizing=False)
    separate = {id(table.weight): path for path, table in tables.items()}
    lacking = sorted(set(separate.values()) - whole)
    if after > before and lacking:
        raise PairError(
            f"{name}: adapter {adapter.name!r} was trained on embeddings of {after:,} rows, the base "
            f"has {before:,}, and the adapter does not hold the new rows of {_some(lacking)}",
            "Give as --base the checkpoint whose embeddings were resized, or save the adapter with "
            "save_embedding_layers=True.",
        )
    return (
        (
            f"The adapter was saved with embeddings of {after:,} rows, the base has {before:,}: the "
            "finetuned side's are resized, the base keeps its own."
        ),
    )


def _some(names: Any) -> str:
    found = list(names)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


def own_copy(changes: tuple[str, ...]) -> str:
    """Return a note on a pair of one checkpoint that holds its weights twice."""
    return (
        f"The adapter changes the base when it is attached ({_some(changes)}), even switched off: "
        "the finetuned side has a copy of the weights for itself."
    )
