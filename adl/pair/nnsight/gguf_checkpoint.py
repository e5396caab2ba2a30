"""Checkpoints in GGUF files, converted once into safetensors.

transformers reads a GGUF file by turning its quantised blocks into plain numbers, which takes a while
for each load. A converted copy is kept in the hub client's cache of assets, by the file's content.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from huggingface_hub import cached_assets_path
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from adl.errors import PairError, first_line
from adl.pair.checkpoint_files import CheckpointFiles, check_not_a_pointer
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loaded_weights import LoadingInfo, check_loaded
from adl.pair.weight_hashes import FileHashes

MAGIC = b"GGUF"
# Part of a converted folder's name: raise it when the content changes.
FORMAT = 3
# What a person should know of the file's tokenizer, beside the converted weights.
_NOTES = "notes_on_gguf.json"
# Names that llama.cpp gives to rules that are GPT-2's, by which transformers cuts text for every name
# that it does not know; and names of tokenizers that begin texts with a token where the file does not
# say so. Source: llama.cpp, src/llama-vocab.cpp.
_GPT2_RULES = {"gpt-2", "jais", "mpt", "olmo", "phi-2"}
_BEGIN_TEXTS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"}
# Of linear maps: what other parts call so, such as the steps of a state-space layer, are no biases there.
_BIAS = re.compile(r"\.(attn_(q|k|v|qkv|output)|ffn_(up|down|gate))\.bias$")
Setting = Callable[[str], Any]
"""The value of a setting of a GGUF file by its name; None without it."""

_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def converted(shown: str, file: Path) -> tuple[Path, list[str]]:
    """Return the folder with the content of a GGUF file as safetensors, and notes on it.

    Safe against interruption (written beside, then renamed) and against two processes at once.
    Raises ``PairError`` for a file that cannot be read and for a full disk.
    """
    _check_file(shown, file)
    key = FileHashes().of([file])[file][:16]
    try:
        cache = cached_assets_path("adl-workbench", namespace="gguf", subfolder="converted")
        # Not by the file's name: a moved file is the same checkpoint.
        folder = cache / f"{key}-{FORMAT}"
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _convert_safely(shown, file, folder)
    except OSError as exc:
        raise PairError(
            f"{shown} cannot be converted from GGUF: {exc.strerror or first_line(exc)}",
            "Free four bytes per weight where HF_HOME is, or set HF_HOME to a folder with room.",
        ) from exc
    notes = [f"Read from {file.name}, whose blocks were turned into float32 (in {folder})."]
    if (folder / _NOTES).is_file():
        notes += json.loads((folder / _NOTES).read_text("utf-8"))
    return folder, notes


def convert(source: Path, folder: Path, name: str, shown: str | None = None) -> None:
    """Write the model and the tokenizer of a GGUF file to ``folder``, as ``name``."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as scratch:
        target = Path(scratch) / "model"
        auto: Any = AutoModelForCausalLM
        read, info = auto.from_pretrained(
            str(source.parent),
            gguf_file=source.name,
            dtype=torch.float32,
            output_loading_info=True,
        )
        check_loaded(
            shown or name, read, LoadingInfo.of(info), CheckpointFiles(folder, {}, (), None, {})
        )
        setting, tensors = _metadata(source)
        _check_taken(shown or name, source.name, setting, tensors, read)
        # A model read from GGUF still calls itself quantised and refuses to be saved: its numbers
        # go into a fresh model of the same config.
        plain = read.config.to_dict()
        plain.pop("quantization_config", None)
        plain["_name_or_path"] = name
        with torch.device("meta"):
            model: Any = type(read)(type(read.config).from_dict(plain))
        model.load_state_dict(read.state_dict(), assign=True)
        model.tie_weights()
        model.generation_config = read.generation_config
        model.save_pretrained(target)
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        tokenizer.save_pretrained(target)
        if notes := _notes_on_rules(setting, tokenizer):
            (target / _NOTES).write_text(json.dumps(notes), "utf-8")
        target.replace(folder)


def _check_taken(
    shown: str, file: str, setting: Setting, names: list[str], model: PreTrainedModel
) -> None:
    """Raise ``PairError`` for what the file has and transformers, without a word, left out.

    Its reader passes over settings and tensors that its tables do not name. Of these, rotary scaling
    and biases change every number.
    """
    kind = setting("general.architecture")
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    by_kind = (
        list(rope.values()) if all(isinstance(each, dict) for each in rope.values()) else [rope]
    )
    dropped = []
    if all(each.get("rope_type", "default") == "default" for each in by_kind):
        scaling, factor = (setting(f"{kind}.rope.scaling.{key}") for key in ("type", "factor"))
        if scaling not in {None, "none"} and factor != 1.0:
            dropped.append(f"the rotary scaling {scaling!r}")
        dropped += sorted(
            {name for name in names if name.startswith(("rope_freqs", "rope_factors"))}
        )
    theta = setting(f"{kind}.rope.freq_base")
    taken = [each["rope_theta"] for each in by_kind if "rope_theta" in each]
    if (
        theta is not None
        and taken
        and not any(math.isclose(theta, own, rel_tol=1e-3) for own in taken)
    ):
        dropped.append(f"the rotary base {theta:g} (read as {taken[0]:g})")
    if not any(name.endswith(".bias") for name, _ in model.named_parameters()):
        dropped += [name for name in names if _BIAS.search(name)][:1]
    if dropped:
        raise PairError(
            f"{shown}: transformers {transformers.__version__} does not take {', '.join(dropped)} from "
            f"{file}, so the model would be another one",
            "Give the safetensors checkpoint that the file was made from.",
        )


def _notes_on_rules(setting: Setting, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return notes on rules of the file's tokenizer that transformers does not have."""
    if setting("tokenizer.ggml.model") != "gpt2":
        return []
    notes = []
    rules = setting("tokenizer.ggml.pre")
    taken = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    if rules not in _GPT2_RULES and taken.get("use_regex"):
        said = (
            "does not say by which rules its tokenizer cuts text"
            if rules is None
            else (
                f"names rules by which its tokenizer cuts text ({rules!r}) that transformers "
                f"{transformers.__version__} does not have"
            )
        )
        notes.append(
            f"The file {said}: GPT-2's are taken, by which some numbers, blanks or scripts become "
            "other tokens. The safetensors checkpoint has its own."
        )
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    if setting("tokenizer.ggml.add_bos_token") is None and rules in _BEGIN_TEXTS and not begins:
        notes.append(
            "The file does not say whether texts begin with a token of their own: none is put before "
            f"them, where llama.cpp does it for {rules!r}."
        )
    return notes


def _metadata(file: Path) -> tuple[Setting, list[str]]:
    """Return the file's settings and the names of its tensors."""
    from gguf import GGUFReader  # an extra, which is there where a file was read

    reader = GGUFReader(file)

    def setting(key: str) -> Any:
        field = reader.fields.get(key)
        return None if field is None else field.contents()

    return setting, [tensor.name for tensor in reader.tensors]


def _check_file(shown: str, file: Path) -> None:
    try:
        check_not_a_pointer(shown, file)
        with file.open("rb") as opened:
            head = opened.read(len(MAGIC))
    except OSError as exc:
        raise PairError(
            f"{shown} cannot be read: {exc.strerror or first_line(exc)}",
            "Check the path and its permissions.",
        ) from exc
    if head != MAGIC:
        raise PairError(f"{shown}: {file.name} is no GGUF file", "Download or copy it again.")
    if _PART.search(file.name):
        raise PairError(
            f"{shown}: {file.name} is one of several parts of a GGUF file",
            "Join them with llama.cpp's `llama-gguf-split --merge` and give the whole file.",
        )


def _convert_safely(shown: str, file: Path, folder: Path) -> None:
    """Convert, with errors of transformers and gguf turned into ``PairError``."""
    try:
        convert(file, folder, folder.name, shown)
    except PairError:
        raise
    except ImportError as exc:
        raise PairError(
            f"{shown} is a GGUF file, and reading one needs the package gguf: {first_line(exc)}",
            "Run: pip install gguf accelerate",
        ) from exc
    except Exception as exc:
        # transformers raises OSErrors of its own, which have no number.
        if is_out_of_memory(exc) or (isinstance(exc, OSError) and exc.errno is not None):
            raise
        raise PairError(
            f"{shown}: {file.name} cannot be read as a model: {first_line(exc)}",
            "Check that the file is whole and that transformers reads GGUF files of its "
            "architecture; else give the safetensors checkpoint it was made from.",
        ) from exc
