"""Sets of questions that are kept by name and put to the models as a whole.

They are a JSON file beside ``config.toml``: ``{"name": ["question", ...], ...}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workbench.locations import find_locations
from workbench.private_files import NotAFile, make_folder, opened_input
from workbench.settings import SettingsError
from workbench.store.whole_file import new_file

_SETS = TypeAdapter(dict[str, list[str]])


def sets_file() -> Path:
    """Return the file that holds the sets."""
    return find_locations().config_file.with_name("question_sets.json")


def load_sets(file: Path) -> dict[str, list[str]]:
    """Read the sets by name, none if there is no file.

    Raises `SettingsError` if the file cannot be read or is not what it should be.
    """
    try:
        with opened_input(file) as opened:
            text = opened.read()
    except FileNotFoundError:
        return {}
    except (OSError, NotAFile) as exc:
        raise SettingsError(f"{file} cannot be read: {exc}", "Repair it, or delete it.") from exc
    try:
        return _SETS.validate_json(text)
    except ValidationError as exc:
        raise SettingsError(
            f"{file} holds no sets of questions",
            'Write {"a name": ["a question", "another"]}, or delete the file.',
        ) from exc


def save_set(file: Path, name: str, questions: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Keep the questions under the name, in place of those that had it; return all sets.

    Raises `SettingsError` for no name, no question, or a file that cannot be read or written.
    """
    if not name.strip():
        raise SettingsError("the set has no name", "Give it one.")
    if not questions:
        raise SettingsError("there is no question to keep", "Ask some first.")
    sets = load_sets(file) | {name.strip(): list(questions)}
    try:
        make_folder(file.parent)
        with new_file(file, replace=True, error=SettingsError) as part:
            part.write_text(json.dumps(sets, ensure_ascii=False, indent=2) + "\n", "utf-8")
    except OSError as exc:
        raise SettingsError(
            f"{file} cannot be written: {exc}", "Make room or give rights."
        ) from exc
    return sets
