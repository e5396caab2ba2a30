"""Checks of a typed pair that need no loading."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adl.errors import AdlError, PairError, install_extra
from adl.pair.checkpoint_files import (
    ADAPTER_CONFIG,
    CONFIG,
    gguf_of_folder,
    gguf_of_repository,
    is_adapter_alone,
    is_gguf,
    require_no_revision,
)
from adl.paths import HUB_ID, expanded, looks_like_path
from workbench.fields import WHOLE, problems_in_words
from workbench.operations.pair import PairArguments, split_revision
from workbench.tui.on_screen import on_screen
from workbench.tui.operation_fields import Checked

#: The choice that leaves a value to the program.
DEFAULT = "default"
#: The same, for where the models run.
HERE = "this machine"
ON, OFF = "on", "off"
Fields = dict[str, str]
"""The texts of a form by the name of the field."""
TYPED = ("base", "adapter", "finetuned", "device_map", "offload_folder", "chat_template")
_CHOSEN = {DEFAULT: None, HERE: None, ON: True, OFF: False}


def as_fields(pair: PairArguments) -> dict[str, str]:
    """Return the pair as the texts and choices of the form."""
    fields: dict[str, str] = {}
    for name, value in pair.model_dump().items():
        if name == "organism":
            continue
        if value is None:
            unset = HERE if name == "remote" else DEFAULT
            fields[name] = "" if name in TYPED else unset
        elif isinstance(value, bool):
            fields[name] = ON if value else OFF
        else:
            fields[name] = str(value)
    return fields


def check_pair(fields: Mapping[str, str]) -> Checked[PairArguments]:
    """Return the pair that the fields of `as_fields` name, or the problems by field.

    Checks local folders, never the network; the rest is checked by loading.
    """
    values: dict[str, Any] = {
        name: (value.strip() or None) if name in TYPED else _CHOSEN.get(value, value)
        for name, value in fields.items()
    }
    problems = _sides(values.get("base"), values.get("adapter"), values.get("finetuned"))
    if values.get("quantisation") and find_spec("bitsandbytes") is None:
        problems["quantisation"] = (
            f"needs bitsandbytes, which is not installed: {install_extra('quantised')}"
        )
    try:
        pair = PairArguments(**values)
    except ValidationError as exc:
        return Checked(None, problems_in_words(exc, PairArguments) | problems)
    return Checked(None if problems else pair, problems)


def load_problems(error: AdlError) -> dict[str, str]:
    """Return what kept a pair from being loaded, by the field of the form that it concerns."""
    return {error.concerns or WHOLE: on_screen(str(error))}


def _sides(base: str | None, adapter: str | None, finetuned: str | None) -> dict[str, str]:
    problems: dict[str, str] = {}
    if base is None:
        problems["base"] = "name the base model: an id on the hub, a folder or a GGUF file"
    elif problem := _checkpoint(base):
        problems["base"] = problem
    if adapter and (problem := _adapter(adapter)):
        problems["adapter"] = problem
    # With an adapter, it is the checkpoint that the adapter is on.
    if finetuned and (problem := _finetuned(finetuned, adapter)):
        problems["finetuned"] = problem
    elif finetuned and finetuned == base and not adapter:
        problems["finetuned"] = "is the base itself: there is no difference to measure"
    if not adapter and not finetuned:
        problems["adapter"] = "name an adapter here, or a finetuned checkpoint below"
    return problems


def _checkpoint(name: str) -> str | None:
    path, problem = _local(name, is_checkpoint=True)
    if path is None or path.is_file():
        return problem
    try:
        if gguf_of_folder("this folder", path) is not None or (path / CONFIG).is_file():
            return None
    except PairError as exc:
        return str(exc)
    if is_adapter_alone(path):
        return "this folder holds an adapter: name it as the adapter, and its base as the base"
    return f"this folder has no {CONFIG}: name one that save_pretrained wrote"


def _finetuned(name: str, adapter: str | None) -> str | None:
    """As `_checkpoint`, but an adapter's folder is put on the base as the adapter."""
    path, problem = _local(name, is_checkpoint=True)
    if path is None or not is_adapter_alone(path):
        return problem or _checkpoint(name)
    return "this folder holds an adapter, as the field above does: name one" if adapter else None


def _adapter(name: str) -> str | None:
    folder, problem = _local(name)
    if folder is None or (folder / ADAPTER_CONFIG).is_file():
        return problem
    if (folder / CONFIG).is_file():
        return "this folder holds a whole checkpoint: name it as the finetuned one"
    return f"this folder has no {ADAPTER_CONFIG}: name one that PEFT's save_pretrained wrote"


def _local(name: str, *, is_checkpoint: bool = False) -> tuple[Path | None, str | None]:
    """Return the named folder, None for an id on the hub, and the problem with the name, if any.

    That of a checkpoint may be a GGUF file, too.
    """
    wanted, revision = split_revision(name)
    try:
        path = expanded(wanted)
        is_there = path.exists()
        is_fit = path.is_dir() or (is_checkpoint and is_gguf(path))
    except (OSError, RuntimeError, ValueError):
        # Too long for a path, the home of nobody, or a NUL within: no folder has such a name.
        is_there = False
    if is_there and not is_fit:
        return None, "this is a file: enter its folder"
    if is_there:
        try:
            require_no_revision("this", revision)
        except PairError as exc:
            return None, str(exc)
        return path, None
    if is_checkpoint and (in_repository := gguf_of_repository(wanted)):
        wanted, _ = in_repository
    if looks_like_path(wanted) or wanted.count("/") > 1 or "\\" in wanted:
        return None, f"there is no such {'file' if is_gguf(Path(wanted)) else 'folder'}"
    if not HUB_ID.fullmatch(wanted):
        return None, "neither a folder nor an id on the hub (name, or owner/name)"
    if "@" in name and revision is None:
        return None, "the revision after @ is empty: add a branch, tag or commit, or remove the @"
    return None, None
