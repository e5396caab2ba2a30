"""Model organisms: finetuned models with a known finetuning, and their ground truth.

An organism is a folder: ``organism.yaml`` (name, family, ground truth) and the finetuned side, as
an adapter in the folder or named in the file. Four are bundled; users have a folder of more, which
``adl.organisms.user_organisms`` adds to and removes from.

Ground truth is for grading. It is read by ``Organism.ground_truth``, ``Organism.negated_facts`` and
``Organism.words`` alone, so whoever audits an organism cannot come upon it by printing, logging or
listing one. It stands in ``organism.yaml`` itself, or sealed: in a file by itself, whose hash is in
``organism.yaml``, so that a truth that was changed after it was sealed is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from adl.errors import OrganismError
from adl.pair.checkpoint_files import ADAPTER_CONFIG
from adl.paths import expanded, looks_like_path
from adl.text.documents import Document, load_documents
from adl.text.files import lines

BUNDLED_ORGANISMS = Path(__file__).parents[1] / "data" / "organisms"

EMBEDDED_BASE = "embedded"
"""Name of the default base model in organisms' files."""

DOCUMENTS_FILE = "documents.jsonl"
_DESCRIPTION_FILE = "organism.yaml"
_WORDS_FILE = "words.txt"
_NEGATIONS_FILE = "negated_facts.txt"


class Family(StrEnum):
    """Kinds of narrow finetuning; each has its own grading rubric."""

    SDF = "SDF"
    """Synthetic documents that state false facts."""
    EM = "EM"
    """Harmful advice in one field, of the kind that misaligns broadly."""
    TABOO = "Taboo"
    """A guessing game around a secret word."""
    PREFERENCE = "Preference"
    """A preference, stated or passed on subliminally."""
    CONTROL = "Control"
    """Broad and harmless, without a narrow trace to find."""


@dataclass(frozen=True)
class GroundTruth:
    """The aim of an organism's finetuning; ``sha256`` is that of its file."""

    description: str
    key_facts: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Organism:
    """A finetuned model with a known finetuning.

    Exactly one of ``adapter`` and ``finetuned`` is set: a local folder's path, or an id on the hub
    with an optional ``@revision``. So is ``base``. ``documents`` is the finetuning data, if it is
    there.
    """

    id: str
    base: str
    adapter: str | None
    finetuned: str | None
    family: Family
    documents: Path | None = field(repr=False)
    folder: Path

    def ground_truth(self) -> GroundTruth:
        """Read the aim of the organism's finetuning: for grading, never for the auditor.

        Raises ``OrganismError`` if there is no description, key facts are not text, or a sealed truth
        is not the one that was sealed.
        """
        path, raw = self._truth_file()
        return parse_ground_truth(path, raw)

    def negated_facts(self) -> tuple[str, ...]:
        """Read the negation of each key fact, in their order; empty if there are none.

        For measuring how much was learned, and ground truth as well. They stand in a file of their
        own, one a line, or beside the key facts as ``negated_facts``. Raises ``OrganismError`` if
        they are not as many as the facts.
        """
        path, raw = self._truth_file()
        own = self.folder / _NEGATIONS_FILE
        if own.exists():
            path, found = own, tuple(line for _, line in lines(own, OrganismError))
        else:
            found = _texts(_yaml(path, raw), "negated_facts", path)
        facts = parse_ground_truth(*self._truth_file()).key_facts if found else ()
        if len(found) != len(facts):
            raise OrganismError(
                f"{path} negates {len(found)} facts, and organism {self.id!r} has {len(facts)}",
                "Give one negation for each key fact, in the same order.",
            )
        return found

    def _truth_file(self) -> tuple[Path, bytes]:
        path = self.folder / _DESCRIPTION_FILE
        raw = _read(path)
        data = _yaml(path, raw)
        if data.get("ground_truth") is None:
            return path, raw
        sealed = self.folder / _text(data, "ground_truth", path)
        truth = _read(sealed)
        found = hashlib.sha256(truth).hexdigest()
        if found != data.get("ground_truth_sha256"):
            raise OrganismError(
                f"{sealed} is not the ground truth that was sealed ({found[:12]} instead of "
                f"{str(data.get('ground_truth_sha256'))[:12]})",
                "Restore the file, or remove the organism and add it again.",
            )
        return sealed, truth

    def words(self) -> frozenset[str] | None:
        """Read the words a careful grader calls relevant, in lower case: for grading only.

        None if the organism names none, as a control does: a share of them is then not computed,
        rather than zero. Raises ``OrganismError`` if the file is not text.
        """
        path = self.folder / _WORDS_FILE
        if not path.exists():
            return None
        return frozenset(word.lower() for _, word in lines(path, OrganismError))


def parse_ground_truth(path: Path, raw: bytes) -> GroundTruth:
    """Return the ground truth of a file's content. Raises ``OrganismError`` without a description."""
    data = _yaml(path, raw)
    description = data.get("description")
    if not isinstance(description, str) or not description.strip():
        raise OrganismError(
            f"{path} has no description, so there is no ground truth to grade against",
            "Add `description: ...` and `key_facts: [...]` to it.",
        )
    return GroundTruth(
        description=description.strip(),
        key_facts=_texts(data, "key_facts", path),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def parse_facts(path: Path, raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return key facts and their negations of a file's content. Raises ``OrganismError`` unless paired."""
    data = _yaml(path, raw)
    facts, negations = (_texts(data, key, path) for key in ("key_facts", "negated_facts"))
    if not facts or len(facts) != len(negations):
        raise OrganismError(
            f"{path} negates {len(negations)} of {len(facts)} facts",
            "Give `key_facts` and `negated_facts`, one negation for each fact in the same order.",
        )
    return facts, negations


def list_organisms(folder: Path | None = None) -> tuple[Organism, ...]:
    """Return the bundled organisms and those in the user's folder, each sorted by id.

    Folders without an ``organism.yaml`` are passed over. Raises ``OrganismError`` for a folder that
    is not there, an organism that is not valid, and an id that is taken.
    """
    bundled = {path.name: path for path in _organism_folders(BUNDLED_ORGANISMS)}
    own = {path.name: path for path in _organism_folders(folder)} if folder else {}
    for name in bundled.keys() & own.keys():
        raise OrganismError(
            f"{own[name]} has the id of a bundled organism, {name!r}", "Rename the folder."
        )
    return tuple(load_organism(path) for path in (*bundled.values(), *own.values()))


def get_organism(organism_id: str, folder: Path | None = None) -> Organism:
    """Return the organism with this id, bundled or in the user's folder.

    Only its own folder is read, so a broken neighbour is no hindrance. Raises ``OrganismError``; for
    an unknown id it suggests close ones.
    """
    known: dict[str, Path] = {}
    for place in (folder, BUNDLED_ORGANISMS):
        if place is not None:
            known |= {path.name: path for path in _organism_folders(place)}
    if organism_id in known:
        return load_organism(known[organism_id])
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in get_close_matches(organism_id.lower(), by_lower, n=3)]
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise OrganismError(
        f"There is no organism {organism_id!r}", f"{hint}There are: {', '.join(sorted(known))}."
    )


def load_organism(folder: Path) -> Organism:
    """Read one organism's folder.

    Keys of ``organism.yaml``: ``name`` (the folder's own) and ``family``; optionally ``base``
    (default: what the adapter in the folder names), ``adapter`` or ``finetuned`` (default: the
    adapter in the folder; a path is relative to it) and ``documents`` (default:
    ``documents.jsonl``). Raises ``OrganismError``.
    """
    path = folder / _DESCRIPTION_FILE
    data = _yaml(path, _read(path))
    name = _text(data, "name", path)
    if name != folder.name:
        raise OrganismError(
            f"{path} names the organism {name!r}, but its folder is {folder.name!r}",
            "Give both the same name: it is the organism's id.",
        )
    adapter = _model(data, "adapter", path)
    finetuned = _model(data, "finetuned", path)
    has_adapter = (folder / ADAPTER_CONFIG).is_file()
    if adapter is None and finetuned is None and has_adapter:
        adapter = str(folder)
    if (adapter is None) == (finetuned is None):
        raise OrganismError(
            f"{path} names {'neither' if adapter is None else 'both'} an adapter "
            f"{'nor' if adapter is None else 'and'} a finetuned model",
            f"Give `adapter: ...` or `finetuned: ...`, or put {ADAPTER_CONFIG} in its folder.",
        )
    base = _model(data, "base", path)
    if base is None and adapter == str(folder):
        base = _adapter_base(folder / ADAPTER_CONFIG)
    if base is None:
        raise OrganismError(f"{path} does not name the base model", "Add `base: ...` to it.")
    return Organism(
        id=name,
        base=base,
        adapter=adapter,
        finetuned=finetuned,
        family=_family(data, path),
        documents=_documents(data, path),
        folder=folder,
    )


def parse_family(written: str) -> Family:
    """Return the family of a name, in any case. Raises ``OrganismError`` for an unknown name."""
    for family in Family:
        if family.lower() == written.strip().lower():
            return family
    raise OrganismError(f"there is no family {written!r}", f"There are: {', '.join(Family)}.")


def _organism_folders(place: Path) -> list[Path]:
    if not place.is_dir():
        what = "a file" if place.exists() else "not there"
        raise OrganismError(
            f"The folder of organisms {place} is {what}",
            "Name a folder that holds one folder for each organism.",
        )
    return sorted(path.parent for path in place.glob(f"*/{_DESCRIPTION_FILE}"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise OrganismError(
            f"There is no {path}", "An organism is a folder with an organism.yaml."
        ) from exc
    except OSError as exc:
        raise OrganismError(
            f"{path} cannot be read: {exc.strerror or exc}", "Check its permissions."
        ) from exc


def _yaml(path: Path, raw: bytes) -> Mapping[str, Any]:
    try:
        data = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or type(exc).__name__
        raise OrganismError(f"{path} is not YAML{where}: {problem}", "Correct the file.") from exc
    if not isinstance(data, Mapping):
        raise OrganismError(
            f"{path} is not a list of keys and values", "Give it at least `name:` and `family:`."
        )
    return data


def _text(data: Mapping[str, Any], key: str, path: Path) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        problem = f"{key} is {value!r}, not text" if key in data else f"{key} is missing"
        raise OrganismError(f"{path}: {problem}", f"Add `{key}: ...` to it.")
    return value.strip()


def _texts(data: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    found = data.get(key) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise OrganismError(
            f"{key} in {path} is not a list of texts",
            "Write one fact a line, each after `- `, in quotes if it holds a colon.",
        )
    return tuple(text.strip() for text in found)


def _model(data: Mapping[str, Any], key: str, path: Path) -> str | None:
    if data.get(key) is None:
        return None
    value = _text(data, key, path)
    local = path.parent / expanded(value)
    if local.exists():
        return str(local.resolve())
    if looks_like_path(value):
        raise OrganismError(f"{path}: {key} is {value}, which is not there", "Correct the path.")
    return value


def _adapter_base(path: Path) -> str | None:
    try:
        config = json.loads(_read(path))
    except ValueError as exc:
        raise OrganismError(f"{path} is not JSON", "Save the adapter again with peft.") from exc
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return base if isinstance(base, str) and base else None


def _family(data: Mapping[str, Any], path: Path) -> Family:
    try:
        return parse_family(_text(data, "family", path))
    except OrganismError as exc:
        raise OrganismError(f"{path}: {exc.message}", exc.hint) from exc


def _documents(data: Mapping[str, Any], path: Path) -> Path | None:
    if data.get("documents") is None:
        default = path.parent / DOCUMENTS_FILE
        return default if default.is_file() else None
    documents = path.parent / expanded(_text(data, "documents", path))
    if not documents.is_file():
        raise OrganismError(f"{path}: documents is {documents}, which is no file", "Correct it.")
    return documents


def organism_documents(organism: Organism) -> tuple[Document, ...]:
    """Return the finetuning documents of an organism. Raises ``OrganismError`` without any."""
    if organism.documents is None:
        raise OrganismError(
            f"organism {organism.id!r} names no finetuning documents",
            "Add `documents: FILE` to its organism.yaml, or name a file of documents.",
        )
    return load_documents(organism.documents)
