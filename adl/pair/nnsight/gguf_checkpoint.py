"""Checkpoints in GGUF files, converted once into safetensors.

transformers reads a GGUF file by turning its quantised blocks into plain numbers, which takes a while
for each load. A converted copy is kept in the hub client's cache of assets, by the file's content.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from huggingface_hub import cached_assets_path
from transformers import AutoModelForCausalLM, AutoTokenizer

from adl.errors import PairError, first_line
from adl.pair.checkpoint_files import CheckpointFiles, check_not_a_pointer
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loaded_weights import LoadingInfo, check_loaded
from adl.pair.weight_hashes import FileHashes

MAGIC = b"GGUF"
# Part of a converted folder's name: raise it when the content changes.
FORMAT = 1
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def converted(shown: str, file: Path) -> tuple[Path, str]:
    """Return the folder with the content of a GGUF file as safetensors, and a note on it.

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
    return folder, f"Read from {file.name}, whose blocks were turned into float32 (in {folder})."


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
        target.replace(folder)


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
