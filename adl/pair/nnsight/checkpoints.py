"""Load the checkpoint of one side: from a folder or the hub to a model ready to run.

Every way in which that fails becomes a ``PairError`` that names the side, the value and the way out;
a model of which a part did not come from the checkpoint is refused, since that part is random.
"""

from __future__ import annotations

import copy
import logging
import math
import pickle
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from adl.errors import PairError, concerning, first_line
from adl.pair.checkpoint_files import (
    CheckpointFiles,
    gguf_of_folder,
    is_gguf,
    read_folder,
    require_no_revision,
    weights_not_taken,
)
from adl.pair.hub_download import Located, download
from adl.pair.nnsight.device_maps import fitted, read_map
from adl.pair.nnsight.gguf_checkpoint import converted
from adl.pair.nnsight.load_errors import is_out_of_memory, loading
from adl.pair.nnsight.loaded_weights import LoadingInfo, check_loaded, ignored_settings, named
from adl.pair.nnsight.offloading import offloaded
from adl.pair.tokenizer_files import load_tokenizer
from adl.paths import expanded
from adl.records import PairSpec, Side, SideSpec

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# How safetensors names the number formats that weights come in.
STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint loaded for one side, before any adapter.

    ``folder`` is what was read, ``resolved_revision`` the commit it is (None for a local folder),
    ``notes`` what a person should know of how it was loaded.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    resolved_revision: str | None
    notes: tuple[str, ...] = ()


def load_checkpoint(
    name: Side, wanted: SideSpec, spec: PairSpec, stand_in: PreTrainedTokenizerBase | None = None
) -> Checkpoint:
    """Load the checkpoint of one side as ``spec`` describes, without its adapter.

    ``stand_in`` is the tokenizer of a checkpoint that was saved without one.
    Raises ``PairError`` for what cannot be found or read, ``DeviceOutOfMemory`` where the weights do
    not fit the device.
    """
    # The library's progress bars and advice would garble the terminal.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("accelerate").setLevel(logging.CRITICAL)
    shown = f"{name}: checkpoint {wanted.checkpoint!r}"
    found = find_checkpoint(name, wanted.checkpoint, wanted.revision)
    folder, notes = _as_folder(shown, found.path)
    files = read_folder(shown, folder)
    with loading(name, wanted.checkpoint):
        config = _read_config(shown, folder, spec)
        tokenizer, text_notes = load_tokenizer(
            shown, folder, trust_remote_code=spec.trust_remote_code, stand_in=stand_in
        )
        module, loaded = _load_module(shown, files, config, spec)
    module.eval()
    module.generation_config = neutral_generation_config(module.generation_config)
    notes = [*found.notes, *weights_not_taken(files), *text_notes, *notes, *loaded]
    return Checkpoint(module, tokenizer, folder, found.commit, tuple(notes))


def _read_config(shown: str, folder: Path, spec: PairSpec) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=spec.trust_remote_code
        )
    except Exception as exc:
        if isinstance(exc, ImportError) or "trust_remote_code" in str(exc):
            raise
        reason = " ".join(str(exc).split())[:300]
        raise PairError(
            f"{shown}: transformers {transformers.__version__} does not take its config.json: {reason}",
            "Check the file against where it came from; a newer model needs a newer transformers.",
        ) from exc
    return config


def _load_module(
    shown: str, files: CheckpointFiles, config: PreTrainedConfig, spec: PairSpec
) -> tuple[PreTrainedModel, list[str]]:
    """Return the model by the first class that the checkpoint fills, with notes on it."""
    with concerning("quantisation"):
        _check_quantisation(shown, files, spec)
    failed: Exception | None = None
    for auto, part in _classes(shown, config):
        try:
            module, notes = _load_as(auto, part, shown, files, spec)
        except (PairError, ImportError) as exc:
            # Without the traceback, which would keep the model in memory.
            failed = failed or exc.with_traceback(None)
            continue
        return module, [
            *_as_text_model(config, module),
            *notes,
            *_numbers(files, module, spec),
            *_settings(files, module),
            *_placed(module),
        ]
    assert failed is not None
    raise failed


def _load_as(
    auto: Any, config: PreTrainedConfig, shown: str, files: CheckpointFiles, spec: PairSpec
) -> tuple[PreTrainedModel, list[str]]:
    with concerning("device_map"):
        places = read_map(shown, spec.device_map)
        if isinstance(places, dict):
            places = fitted(shown, places, _empty(auto, config, spec))
    offload = None
    if places is not None or spec.offload_folder is not None:
        with concerning("offload_folder"):
            # Weights that a device map puts on the disk stay there as long as the model lives.
            offload = _offload_folder(shown, spec.offload_folder)
    with _weight_errors(shown, files):
        module, info = auto.from_pretrained(
            files.folder,
            config=config,
            dtype=DTYPES[spec.dtype],
            device_map=places,
            offload_folder=None if offload is None else offload.name,
            attn_implementation=spec.attn_implementation,
            quantization_config=_quantisation(spec),
            trust_remote_code=spec.trust_remote_code,
            variant=files.variant,
            # Reported by name below, as the library would not.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    if offload is not None:
        weakref.finalize(module, offload.cleanup)
    if getattr(module, "hf_device_map", None):
        # transformers takes the first of them for the device that computes.
        spread = sorted(module.hf_device_map.items(), key=lambda place: place[1] == "disk")
        module.hf_device_map = dict(spread)
    return module, check_loaded(shown, module, LoadingInfo.of(info), files)


def _classes(shown: str, config: PreTrainedConfig) -> list[tuple[Any, PreTrainedConfig]]:
    """Classes to load by, with the config of each: best first.

    That is a causal language model; a model that wraps one with towers for images or sound; and the
    wrapped one by itself, where a tower needs what is not installed.
    """
    own_code: dict[str, Any] = getattr(config, "auto_map", None) or {}
    text = config.get_text_config(decoder=True)
    autos = [
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        # Younger than the oldest version of transformers that will do.
        getattr(transformers, "AutoModelForMultimodalLM", None),
    ]
    found: dict[Any, tuple[Any, PreTrainedConfig]] = {}
    for auto in autos:
        if auto is None or (config.is_encoder_decoder and auto is not AutoModelForCausalLM):
            continue
        if auto.__name__ in own_code:
            found.setdefault(own_code[auto.__name__], (auto, config))
        elif type(config) in auto._model_mapping:
            found.setdefault(auto._model_mapping[type(config)], (auto, config))
    if text is not config and type(text) in AutoModelForCausalLM._model_mapping:
        found.setdefault(
            AutoModelForCausalLM._model_mapping[type(text)], (AutoModelForCausalLM, text)
        )
    if not found:
        raise PairError(
            f"{shown} is a {config.model_type} model, which is no causal language model",
            "An audit needs one that continues text, such as Llama, Qwen, Gemma or Mistral.",
        )
    return list(found.values())


def _as_text_model(config: PreTrainedConfig, module: PreTrainedModel) -> list[str]:
    """Return a note on how a multimodal checkpoint was loaded, if it is one."""
    if config.get_text_config(decoder=True) is config:
        return []
    inside = type(module.get_decoder()).__name__
    if module.config.get_text_config() is module.config:
        how = f"its language model alone is loaded, as {type(module).__name__}"
    else:
        how = f"loaded as {type(module).__name__}, of which the language model ({inside}) is read"
    return [
        f"The checkpoint is multimodal ({config.model_type}): {how}, with text and nothing else."
    ]


def _numbers(files: CheckpointFiles, module: PreTrainedModel, spec: PairSpec) -> list[str]:
    """Return a note if the weights were loaded in another format than stored, without a request."""
    method = _quantised(files)
    if method is not None:
        kept = getattr(module, "hf_quantizer", None) is not None
        how = "and runs so" if kept else f"by its config, and was read as {_short(module.dtype)}"
        return [f"The checkpoint is quantised ({method}) {how}."]
    sizes: dict[str, int] = {}
    for tensor in files.tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + math.prod(tensor.shape)
    stored = STORED.get(max(sizes, key=sizes.__getitem__)) if sizes else None
    if spec.dtype != "auto" or stored is None or stored == module.dtype:
        return []
    loaded = f"stored as {_short(stored)} and were loaded as {_short(module.dtype)}"
    return [f"The weights are {loaded}, as config.json asks; --dtype chooses."]


def _settings(files: CheckpointFiles, module: PreTrainedModel) -> list[str]:
    """Return a note on settings of the config that no code reads."""
    asked = files.config.get("text_config", files.config)
    ignored = ignored_settings(asked, module) if isinstance(asked, dict) else []
    if not ignored:
        return []
    return [f"{type(module).__name__} knows no {named(ignored)}, which config.json sets."]


def _placed(module: PreTrainedModel) -> list[str]:
    """Return notes on weights that a device map put on the disk, or on the CPU beside a GPU."""
    places = getattr(module, "hf_device_map", None) or {}
    waiting = {
        "disk": "stay on the disk and are read at every use.",
        "cpu": "stay on the CPU and are copied to the GPU at every use.",
    }
    notes = []
    for place, how in waiting.items():
        names = sorted(name for name, found in places.items() if str(found) == place)
        names = [name for name in names if offloaded(module.get_submodule(name))]
        if names:
            notes.append(f"Weights of {named(names)} {how}")
    return notes


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def neutral_generation_config(configured: GenerationConfig | None) -> GenerationConfig:
    """Return a checkpoint's generation config reduced to its special tokens.

    Some checkpoints carry a repetition penalty or a top-p that ``generate`` would apply unasked; an
    audit samples from the model's own distribution.
    """
    source = configured or GenerationConfig()
    return GenerationConfig(
        bos_token_id=source.bos_token_id,
        eos_token_id=source.eos_token_id,
        pad_token_id=source.pad_token_id,
    )


# --- finding ----------------------------------------------------------------------------------


def find_checkpoint(
    name: Side, checkpoint: str, revision: str | None, *, weights: bool = True
) -> Located:
    """Return where a checkpoint is: a folder or a GGUF file.

    Without ``weights`` only the files beside them are downloaded.
    """
    shown = f"{name}: checkpoint {checkpoint!r}"
    local = expanded(checkpoint)
    try:
        exists = local.exists() or local.is_symlink()
        if exists:
            local.stat()
    except ValueError:
        exists = False
    except OSError as exc:
        raise PairError(
            f"{shown} cannot be read: {exc.strerror or first_line(exc)}",
            "Check the path and its permissions.",
        ) from exc
    if not exists:
        return download(name, checkpoint, revision, what="model", weights=weights)
    require_no_revision(shown, revision)
    if local.is_file() and not is_gguf(local):
        raise PairError(f"{shown} is a file", "Name the folder it is in.")
    return Located(local)


def _as_folder(shown: str, found: Path) -> tuple[Path, list[str]]:
    """Return the folder to load from, and notes: for a GGUF file that of its converted copy.

    A folder with one GGUF file and no other weights counts as that file.
    """
    file = found if found.is_file() else gguf_of_folder(shown, found)
    if file is None:
        return found, []
    return converted(shown, file)


# --- options ----------------------------------------------------------------------------------


def _offload_folder(shown: str, wanted: str | None) -> tempfile.TemporaryDirectory[str]:
    """Return a folder of its own for weights that a device map puts on the disk."""
    try:
        return tempfile.TemporaryDirectory(
            prefix="adl-offload-",
            dir=None if wanted is None else expanded(wanted),
            ignore_cleanup_errors=True,
        )
    except (OSError, ValueError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or first_line(exc)
        raise PairError(
            f"{shown}: nothing can be written to {wanted or tempfile.gettempdir()!r}: {reason}",
            "Give as --offload-folder a folder that is there, on a disk with room for the weights.",
        ) from exc


def _empty(auto: Any, config: PreTrainedConfig, spec: PairSpec) -> PreTrainedModel:
    """Return a model without data, to fit a table of modules to."""
    with torch.device("meta"):
        module: PreTrainedModel = auto.from_config(
            copy.deepcopy(config),
            attn_implementation=spec.attn_implementation,
            trust_remote_code=spec.trust_remote_code,
        )
    return module


def _quantised(files: CheckpointFiles) -> str | None:
    """Return the quantisation method of the checkpoint's config."""
    table = files.config.get("quantization_config")
    if not isinstance(table, dict) or not table:
        return None
    bits = "bitsandbytes" if table.get("load_in_4bit") or table.get("load_in_8bit") else "unnamed"
    return str(table.get("quant_method") or bits)


def _check_quantisation(shown: str, files: CheckpointFiles, spec: PairSpec) -> None:
    method = _quantised(files)
    if method is None or spec.quantisation is None:
        return
    raise PairError(
        f"{shown} is quantised already ({method}) and cannot be loaded in {spec.quantisation} on top",
        "Leave out --load-in-8bit and --load-in-4bit.",
    )


@contextmanager
def _weight_errors(shown: str, files: CheckpointFiles) -> Iterator[None]:
    """Turn an error while loading weights into one that names the reason."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, pickle.UnpicklingError):
            raise PairError(
                f"{shown}: its pickle is damaged, or holds something else than tensors",
                "Save the model again with save_pretrained, as safetensors.",
            ) from exc
        method = _quantised(files)
        if method is None or is_out_of_memory(exc):
            raise
        missing = isinstance(exc, ImportError)
        lacks = "its package is missing or cannot run here" if missing else "it cannot be loaded"
        raise PairError(
            f"{shown} is quantised ({method}), and {lacks}: {first_line(exc)}",
            "Install what is named, or give the checkpoint that it was quantised from.",
        ) from exc


def _quantisation(spec: PairSpec) -> BitsAndBytesConfig | None:
    if spec.quantisation is None:
        return None
    return BitsAndBytesConfig(
        load_in_8bit=spec.quantisation == "8bit", load_in_4bit=spec.quantisation == "4bit"
    )
