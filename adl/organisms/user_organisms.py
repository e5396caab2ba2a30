"""The user's own organisms: one folder each, added completely or not at all, and removed.

DIRECTORY/ID/organism.yaml       name, family, base, adapter or finetuned, hash of the ground truth
DIRECTORY/ID/ground_truth.yaml   sealed: description, key facts and their negations, for grading
DIRECTORY/ID/documents.jsonl     finetuning documents, if known
DIRECTORY/ID/adapter_...         the adapter of an organism that was trained here
DIRECTORY/.new, .training        unfinished organisms, which are not listed
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
from adl.pair.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG
from adl.paths import HUB_ID, expanded, looks_like_path
from adl.text.documents import load_documents

TRUTH_FILE = "ground_truth.yaml"
# As PEFT saves an adapter today.
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS[0])

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HUB_NAME = re.compile(HUB_ID.pattern + r"(@[\w./-]+)?")


@dataclass(frozen=True)
class NewOrganism:
    """An organism to add: a base, and an adapter on it or a finetuned checkpoint.

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


def add_organism(directory: Path, new: NewOrganism) -> Organism:
    """Add an organism. Raises ``OrganismError`` and ``CorpusError``, changing nothing."""
    check_free(directory, new.id)
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

    return publish(directory, new.id, new.family, description, read_truth(new.truth), fill)


def remove_organism(directory: Path, organism_id: str) -> None:
    """Remove an organism, with the adapter if it was trained here.

    Raises ``OrganismError`` for an unknown id and for a bundled organism.
    """
    if (BUNDLED_ORGANISMS / organism_id).is_dir() and _ID.fullmatch(organism_id):
        raise OrganismError(
            f"organism {organism_id!r} comes with the workbench and stays",
            "Only organisms that were added or trained can be removed.",
        )
    folder = directory / organism_id
    if not _ID.fullmatch(organism_id) or not (folder / "organism.yaml").is_file():
        own = sorted(path.parent.name for path in directory.glob("*/organism.yaml"))
        raise OrganismError(
            f"there is no organism {organism_id!r} of yours",
            f"There are: {', '.join(own)}." if own else "You have added none.",
        )
    with _locked(directory):
        waste = Path(tempfile.mkdtemp(dir=_scratch(directory)))
        # Renamed first: a half-deleted folder must not look like an organism.
        folder.rename(waste / organism_id)
        shutil.rmtree(waste)


def holds_weights(organism: Organism) -> bool:
    """Return True if the organism's own folder has its adapter, which removing it deletes."""
    return organism.adapter is not None and Path(organism.adapter) == organism.folder


def check_id(organism_id: str) -> None:
    """Raise ``OrganismError`` for an invalid id, or that of a bundled organism."""
    if not _ID.fullmatch(organism_id):
        raise OrganismError(
            f"{organism_id!r} is not an id for an organism",
            "Use up to 64 letters, digits, dots, dashes and underscores, a letter or digit first.",
        )
    if (BUNDLED_ORGANISMS / organism_id).is_dir():
        raise OrganismError(f"{organism_id!r} is a bundled organism's id", "Choose another.")


def check_free(directory: Path, organism_id: str) -> None:
    """Raise ``OrganismError`` for an invalid id, or one that is taken."""
    check_id(organism_id)
    if (directory / organism_id).exists():
        raise OrganismError(
            f"there is an organism {organism_id!r} already, in {directory / organism_id}",
            f"Choose another id, or remove it: organisms remove {organism_id}.",
        )


def read_truth(path: Path | None) -> bytes | None:
    """Return a file of ground truth to seal. Raises ``OrganismError`` without a description."""
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
    directory: Path,
    organism_id: str,
    family: Family,
    description: Mapping[str, Any],
    truth: bytes | None,
    fill: Callable[[Path], None],
) -> Organism:
    """Make an organism's folder in a scratch folder, check it, and move it in one step.

    ``fill`` writes what else belongs into the folder and may add to ``description``. Raises
    ``OrganismError`` if the folder is no organism, the id is taken, or the disk refuses.
    """
    try:
        scratch = Path(tempfile.mkdtemp(dir=_scratch(directory)))
        try:
            # Under its final name, which is part of the check.
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
            with _locked(directory):
                check_free(directory, organism_id)
                folder.rename(directory / organism_id)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as exc:
        raise OrganismError(
            f"organism {organism_id!r} cannot be written to {directory}: {exc.strerror or exc}",
            "Free some space there, or set ADL_WORKBENCH_HOME to a folder that is writable.",
        ) from exc
    return load_organism(directory / organism_id)


def _scratch(directory: Path) -> Path:
    folder = directory / ".new"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _locked(directory: Path) -> FileLock:
    return FileLock(str(directory / ".lock"))


def _base(written: str) -> str:
    return EMBEDDED_BASE if written == EMBEDDED_BASE else _model("base", written)


def _model(what: str, written: str) -> str:
    """Return a model's name to record: a folder by its full path, a hub id unchanged."""
    local = expanded(written)
    if local.is_dir():
        _check_folder(what, local)
        return str(local.resolve())
    if looks_like_path(written) or not _HUB_NAME.fullmatch(written):
        raise OrganismError(
            f"{what} {written!r} is neither a folder nor a hub id", "Check the path or the id."
        )
    return written


def _check_folder(what: str, folder: Path) -> None:
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    if what == "adapter":
        missing = [] if is_adapter else [ADAPTER_CONFIG]
        if not any((folder / name).is_file() for name in ADAPTER_WEIGHTS):
            missing.append(ADAPTER_WEIGHTS[0])
        hint = "Name a folder written by PEFT's save_pretrained."
    else:
        missing = [] if (folder / CONFIG).is_file() else [CONFIG]
        hint = (
            "It holds an adapter: give it as --adapter."
            if is_adapter
            else "Name a folder written by save_pretrained."
        )
    if missing:
        raise OrganismError(f"{what} {str(folder)!r} has no {missing[0]}", hint)
