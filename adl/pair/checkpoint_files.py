"""Check the files of a checkpoint's folder before anything is loaded from it.

The model libraries name neither the file nor a remedy for a folder that they do not expect, and
mistake some faults (missing shards, an empty file) for others.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from adl.errors import PairError, first_line
from adl.paths import looks_like_path

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
# The first is taken if both exist.
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
INDEX = ".index.json"
# In the order of precedence of transformers.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_AGAIN = "Download or copy it again."
_NAMED = 3


@dataclass(frozen=True)
class StoredTensor:
    """The number format (as in safetensors: "BF16") and shape of a tensor in a file."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CheckpointFiles:
    """A folder that can be loaded: its config, its weight files and their tensors.

    ``variant`` is that of the weight files' names, None for plain names. ``tensors`` are those of
    safetensors files; pickles have none.
    """

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    variant: str | None
    tensors: Mapping[str, StoredTensor]


def require_no_revision(shown: str, revision: str | None) -> None:
    """Raise ``PairError`` for a revision of what is on this machine: which one it is, nobody knows."""
    if revision is not None:
        raise PairError(
            f"{shown} is on this machine and has no revisions, so it cannot be that of {revision!r}",
            f"Leave out @{revision}. For the hub's, run where there is no such folder, or name the "
            "folder it was downloaded to.",
        )


def read_folder(shown: str, folder: Path) -> CheckpointFiles:
    """Read a checkpoint's folder; ``shown`` names it in errors.

    Raises ``PairError`` for anything that prevents loading it in full.
    """
    with _readable(shown):
        names = sorted(path.name for path in folder.iterdir())
        if CONFIG not in names:
            raise PairError(f"{shown} has no {CONFIG}", _instead(folder, names))
        if ADAPTER_CONFIG in names:
            raise PairError(
                f"{shown} holds a checkpoint and an adapter",
                "Give the adapter as --adapter, from a folder of its own, and the folder without "
                f"{ADAPTER_CONFIG} as the checkpoint: with it, it would be loaded as both.",
            )
        config = _read_json(shown, folder / CONFIG)
        if not isinstance(config.get("model_type"), str):
            raise PairError(
                f"{shown}: {CONFIG} names no model_type",
                "Name a folder written by transformers' save_pretrained.",
            )
        explicit = config.get("transformers_weights")
        first, variant = (
            (explicit, None) if isinstance(explicit, str) else first_weights(shown, names)
        )
        weights = _shards(shown, folder / first) if first.endswith(INDEX) else (folder / first,)
        tensors: dict[str, StoredTensor] = {}
        for path in weights:
            tensors |= _tensors(shown, path)
        return CheckpointFiles(folder, config, weights, variant, tensors)


def weights_not_taken(files: CheckpointFiles) -> tuple[str, ...]:
    """Return a note where a folder has its weights both in one file, which is loaded, and in shards."""
    if len(files.weights) > 1:
        return ()
    (taken,) = files.weights
    index = taken.with_name(taken.name + INDEX)
    if taken.name not in WEIGHTS or not index.is_file():
        return ()
    note = (
        f"The folder holds two sets of weights: {taken.name} was loaded, as transformers does, and "
        f"the shards of {index.name} were not. Take away the set that is not meant."
    )
    return (note,)


def gguf_names(names: Iterable[str]) -> list[str]:
    """Return the GGUF files among the names, without vision projectors."""
    return sorted(
        name for name in names if name.lower().endswith(".gguf") and "mmproj" not in name.lower()
    )


def is_gguf(path: Path) -> bool:
    """Return True for the name of a GGUF file."""
    return path.suffix.lower() == ".gguf"


def gguf_of_repository(name: str) -> tuple[str, str] | None:
    """Return the repository's id and the file of ``ID/NAME.gguf``, None for any other name."""
    if looks_like_path(name) or name.count("/") < 2 or not name.endswith(".gguf"):
        return None
    owner, model, file = name.split("/", 2)
    return f"{owner}/{model}", file


def gguf_of_folder(shown: str, folder: Path) -> Path | None:
    """Return the GGUF file that a folder holds without other weights, None if there is none.

    Raises ``PairError`` for several.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return None
    files = [] if has_weights(names) else gguf_names(names)
    if len(files) > 1:
        raise PairError(
            f"{shown} holds several GGUF files: {', '.join(files)}",
            "Give the path of one of them.",
        )
    return folder / files[0] if files else None


def is_adapter_alone(folder: Path) -> bool:
    """Return True for a folder with an adapter's config and no checkpoint's."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()


def has_weights(names: Iterable[str]) -> bool:
    """Return True if there is a weight file that transformers loads by default."""
    stems = tuple(name.partition(".")[0] for name in WEIGHTS)
    return any(
        name.startswith(stems) and name.endswith((".safetensors", ".bin", INDEX)) for name in names
    )


@contextmanager
def _readable(shown: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        file = f" ({exc.filename})" if exc.filename else ""
        raise PairError(
            f"{shown} cannot be read: {exc.strerror or first_line(exc)}{file}",
            "Check the path and its permissions.",
        ) from exc


def _read_json(shown: str, path: Path) -> dict[str, Any]:
    check_not_a_pointer(shown, path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise PairError(f"{shown}: {path.name} is not JSON: {first_line(exc)}", _AGAIN) from exc
    if not isinstance(found, dict):
        raise PairError(f"{shown}: {path.name} is JSON but no object", _AGAIN)
    return found


def _instead(folder: Path, names: list[str]) -> str:
    """Return the hint for a folder without a config, by what it holds."""
    below = [name for name in names if (folder / name / CONFIG).is_file()]
    snapshots = folder / "snapshots"
    if not below and snapshots.is_dir():
        below = [f"snapshots/{path.name}" for path in sorted(snapshots.iterdir())]
    if ADAPTER_CONFIG in names:
        return "It holds an adapter: give it as --adapter, with its base as --base."
    if "model_index.json" in names:
        return "It holds a diffusion pipeline, which is no language model."
    if "params.json" in names:
        return (
            "It holds weights in their maker's own format: convert them with transformers first, or "
            "take the repository that transformers loads."
        )
    if below:
        return f"Name the folder below that holds the checkpoint: {_some(below)}."
    if not names:
        return "The folder is empty: check the path."
    return "Name a folder written by save_pretrained."


def first_weights(shown: str, names: Sequence[str]) -> tuple[str, str | None]:
    """Return the weight file or index that transformers loads first, and the variant in its name.

    ``names`` are those of a folder or of a repository's top folder. Raises ``PairError`` without
    such a file.
    """
    for name in WEIGHTS:
        for file in (name, name + INDEX):
            if file in names:
                return file, None
    variants: dict[str, str] = {}
    for name in WEIGHTS:
        stem, suffix = name.split(".")
        for file in names:
            parts = file.removesuffix(INDEX).split(".")
            if len(parts) == 3 and parts[0] == stem and parts[2] == suffix:
                variants.setdefault(parts[1], file)
    if len(variants) > 1:
        raise PairError(
            f"{shown} holds several variants of its weights and no plain one: {_some([*variants])}",
            "Leave one of them in the folder.",
        )
    for variant, file in variants.items():
        return file, variant
    shards = [file for file in names if "-of-" in file and file.endswith((".safetensors", ".bin"))]
    if shards:
        raise PairError(
            f"{shown} has shards of weights ({_some(shards)}) but no index that lists them",
            f"Add {WEIGHTS[0]}{INDEX} from where they came from.",
        )
    others = [file for file in names if file.endswith((".h5", ".msgpack", ".onnx", ".pth", ".pt"))]
    holds = f"; it holds {_some(others)}, which transformers does not load" if others else ""
    raise PairError(
        f"{shown} has a {CONFIG} but no weights{holds}",
        f"Add {WEIGHTS[0]}, or name a folder written by save_pretrained.",
    )


def shard_names(shown: str, index: Path) -> list[str]:
    """Return the files that an index names. Raises ``PairError`` without a weight map."""
    table = _read_json(shown, index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise PairError(f"{shown}: {index.name} has no weight_map", _AGAIN)
    return sorted({str(file) for file in table.values()})


def _shards(shown: str, index: Path) -> tuple[Path, ...]:
    files = shard_names(shown, index)
    missing = [file for file in files if not (index.parent / file).is_file()]
    if missing:
        raise PairError(
            f"{shown} lacks {len(missing)} of the {len(files)} files that {index.name} names: "
            f"{_some(missing)}",
            "Download or copy the rest.",
        )
    return tuple(index.parent / file for file in files)


def _tensors(shown: str, path: Path) -> dict[str, StoredTensor]:
    check_not_a_pointer(shown, path)
    if path.suffix != ".safetensors":
        _check_pickle(shown, path)
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {
                name: StoredTensor(part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except SafetensorError as exc:
        raise PairError(
            f"{shown}: {path.name} is cut short or damaged: {first_line(exc)}", _AGAIN
        ) from exc


def _check_pickle(shown: str, path: Path) -> None:
    """Raise ``PairError`` unless in a format of torch.save: a zip archive, or formerly a pickle."""
    with path.open("rb") as file:
        head = file.read(2)
    if not zipfile.is_zipfile(path) and not (head[:1] == b"\x80"):
        raise PairError(f"{shown}: {path.name} is cut short or damaged", _AGAIN)


def check_not_a_pointer(shown: str, path: Path) -> None:
    """Raise ``PairError`` for an empty file and for a git-lfs pointer."""
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if not head:
        raise PairError(f"{shown}: {path.name} is empty", _AGAIN)
    if head == LFS_POINTER:
        raise PairError(
            f"{shown}: {path.name} is a git-lfs pointer, not the file itself",
            "Run `git lfs pull` in the folder, or give the id on the hub.",
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
