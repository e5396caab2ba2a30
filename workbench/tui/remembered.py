"""The theme, remembered between starts in a one-line file beside the settings."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from pathlib import Path

FILE = "theme"
_LONGEST = 100


def remembered_theme(config_file: Path, known: Container[str]) -> str | None:
    """The theme that was chosen last, if it is one there still is."""
    try:
        with config_file.with_name(FILE).open(encoding="utf-8") as file:
            name = file.read(_LONGEST).strip()
    except (OSError, ValueError):
        return None
    return name if name in known else None


def remember_theme(config_file: Path, name: str) -> None:
    """Keep the theme for the next start; where nothing can be written, it is for this one alone."""
    path = config_file.with_name(FILE)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n", encoding="utf-8")
