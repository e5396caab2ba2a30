"""A user's own organisms: one folder each, added whole or not at all, and removed.

SHELF/ID/organism.yaml        name, family, base, adapter or finetuned, hash of the ground truth
SHELF/ID/ground_truth.yaml    sealed: description, key facts and their negations, for grading
SHELF/ID/documents.jsonl      what it was finetuned on, if that is known
SHELF/ID/adapter_...          the adapter itself, of an organism that was trained here
SHELF/.new, SHELF/.training   what is not finished yet, out of sight of whoever lists the shelf
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from adl.errors import OrganismError
from adl.organisms.registry import (
    BUNDLED_ORGANISMS,
    EMBEDDED_BASE,
    Family,
    Organism,
    load_organism,
    parse_ground_truth,
)
from adl.paths import expanded
from adl.text.documents import load_documents

TRUTH_FILE = "ground_truth.yaml"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_CHECKPOINT_FILE = "config.json"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


@dataclass(frozen=True)
class NewOrganism:
    """An organism to be added: a base, and an adapter on it or a finetuned checkpoint.

    ``base``, ``adapter`` and ``finetuned`` are local folders or hub ids with an optional ``@revision``;
    ``base`` may be ``embedded``. ``truth`` is a YAML file with ``description``, ``key_facts`` and,
    optionally, ``negated_facts``.
    """

    id: str
    base: str
    family: Family
    adapter: str | None = None
    finetuned: str | None = None
    truth: Path | None = None
    documents: Path | None = None


def add_organism(shelf: Path, new: NewOrganism) -> Organism:
    """Put an organism on the shelf. Raises ``OrganismError`` and ``CorpusError``, changing nothing."""
    check_free(shelf, new.id)
    if (new.adapter is None) == (new.finetuned is None):
        raise OrganismError(
            "an organism is an adapter or a finetuned checkpoint, and not both",
            "Give --adapter or --finetuned.",
        )
    description: dict[str, Any] = {"base": _base(new.base)}
    if new.adapter is not None:
        description["adapter"] = _model("adapter", new.adapter)
    else:
        description["finetuned"] = _model("finetuned", str(new.finetuned))
    if new.documents is not None:
        load_documents(new.documents)

    def fill(folder: Path) -> None:
        if new.documents is not None:
            name = f"documents{new.documents.suffix}"
            shutil.copyfile(new.documents, folder / name)
            description["documents"] = name

    return publish(shelf, new.id, new.family, description, read_truth(new.truth), fill)


def remove_organism(shelf: Path, organism_id: str) -> None:
    """Take an organism off the shelf, with the adapter if it was trained here.

    Raises ``OrganismError`` for an unknown id and for a bundled organism.
    """
    if (BUNDLED_ORGANISMS / organism_id).is_dir() and _ID.fullmatch(organism_id):
        raise OrganismError(
            f"organism {organism_id!r} comes with the workbench and stays",
            "Only organisms that were added or trained can be removed.",
        )
    folder = shelf / organism_id
    if not _ID.fullmatch(organism_id) or not (folder / "organism.yaml").is_file():
        own = sorted(path.parent.name for path in shelf.glob("*/organism.yaml"))
        raise OrganismError(
            f"there is no organism {organism_id!r} of yours",
            f"There are: {', '.join(own)}." if own else "You have added none.",
        )
    with _locked(shelf):
        waste = Path(tempfile.mkdtemp(dir=_scratch(shelf)))
        # Renamed first: a half-deleted folder must not look like an organism.
        folder.rename(waste / organism_id)
        shutil.rmtree(waste)


def holds_weights(organism: Organism) -> bool:
    """Whether the organism's own folder has its adapter, so that removing it loses that."""
    return organism.adapter is not None and Path(organism.adapter) == organism.folder


def check_free(shelf: Path, organism_id: str) -> None:
    """Raise ``OrganismError`` for what is no id, or is taken."""
    if not _ID.fullmatch(organism_id):
        raise OrganismError(
            f"{organism_id!r} is not an id for an organism",
            "Use up to 64 letters, digits, dots, dashes and underscores, a letter or digit first.",
        )
    if (BUNDLED_ORGANISMS / organism_id).is_dir():
        raise OrganismError(f"{organism_id!r} is a bundled organism's id", "Choose another.")
    if (shelf / organism_id).exists():
        raise OrganismError(
            f"there is an organism {organism_id!r} already, in {shelf / organism_id}",
            f"Choose another id, or remove it: organisms remove {organism_id}.",
        )


def read_truth(path: Path | None) -> bytes | None:
    """A file of ground truth as it is to be sealed. Raises ``OrganismError`` if it grades nothing."""
    if path is None:
        return None
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise OrganismError(
            f"the ground truth {path} cannot be read: {exc.strerror or exc}", "Check the path."
        ) from exc
    parse_ground_truth(path, raw)
    return raw


def publish(
    shelf: Path,
    organism_id: str,
    family: Family,
    description: Mapping[str, Any],
    truth: bytes | None,
    fill: Callable[[Path], None],
) -> Organism:
    """Make an organism's folder beside the shelf, check it, and put it there in one step.

    ``fill`` writes what else belongs into the folder and may add to ``description``. Raises
    ``OrganismError`` if the folder is no organism, the id is taken, or the disk refuses.
    """
    try:
        scratch = Path(tempfile.mkdtemp(dir=_scratch(shelf)))
        try:
            # Named as it will be: the name is part of what makes it valid.
            folder = scratch / organism_id
            folder.mkdir()
            fill(folder)
            facts = {"name": organism_id, "family": str(family), **description}
            if truth is not None:
                sealed = folder / TRUTH_FILE
                sealed.write_bytes(truth)
                sealed.chmod(0o400)
                facts["ground_truth"] = TRUTH_FILE
                facts["ground_truth_sha256"] = parse_ground_truth(sealed, truth).sha256
            (folder / "organism.yaml").write_text(
                yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), encoding="utf-8"
            )
            organism = load_organism(folder)
            if truth is not None:
                organism.negated_facts()
            with _locked(shelf):
                check_free(shelf, organism_id)
                folder.rename(shelf / organism_id)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as exc:
        raise OrganismError(
            f"organism {organism_id!r} cannot be written to {shelf}: {exc.strerror or exc}",
            "Free some space there, or set ADL_WORKBENCH_HOME to a folder that is writable.",
        ) from exc
    return load_organism(shelf / organism_id)


def _scratch(shelf: Path) -> Path:
    folder = shelf / ".new"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _locked(shelf: Path) -> FileLock:
    return FileLock(str(shelf / ".lock"))


def _base(written: str) -> str:
    return EMBEDDED_BASE if written == EMBEDDED_BASE else _model("base", written)


def _model(what: str, written: str) -> str:
    """A model's name as it is kept: a folder by its full path, a hub id as it is."""
    local = expanded(written)
    if local.is_dir():
        _check_folder(what, local)
        return str(local.resolve())
    if written.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(written):
        raise OrganismError(
            f"{what} {written!r} is neither a folder nor a hub id", "Check the path or the id."
        )
    return written


def _check_folder(what: str, folder: Path) -> None:
    is_adapter = (folder / ADAPTER_FILES[0]).is_file()
    if what == "adapter":
        missing = [] if is_adapter else [ADAPTER_FILES[0]]
        if not any((folder / name).is_file() for name in _ADAPTER_WEIGHTS):
            missing.append(ADAPTER_FILES[1])
        hint = "Name a folder written by PEFT's save_pretrained."
    else:
        missing = [] if (folder / _CHECKPOINT_FILE).is_file() else [_CHECKPOINT_FILE]
        hint = (
            "It holds an adapter: give it as --adapter."
            if is_adapter
            else "Name a folder written by save_pretrained."
        )
    if missing:
        raise OrganismError(f"{what} {str(folder)!r} has no {missing[0]}", hint)
