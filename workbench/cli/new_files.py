"""Files that a command writes beside its output: checked before its work, written whole after it."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.private_files import new_text
from workbench.report.errors import ExportError
from workbench.store.whole_file import new_file


def check_new_file(file: Path, *, force: bool) -> None:
    """Raise `ExportError` for a file that could not be written, or is there and is not to be replaced.

    Before the work, which may take hours.
    """
    folder = file.parent
    if not folder.is_dir():
        raise ExportError(
            f"{file} cannot be written: there is no folder {folder}",
            "Make the folder, or name a file in another.",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(
            f"{file} cannot be written: the folder {folder} is not yours to write to",
            "Name a file in another folder.",
        )
    if file.exists() and not file.is_file():
        raise ExportError(f"{file} is no ordinary file", "Name a file that does not exist.")
    if (file.exists() or file.is_symlink()) and not force:
        raise ExportError(
            f"{file} exists already", "Name a file that does not, or replace it with --force."
        )


def write_whole(file: Path, text: str, *, replace: bool) -> None:
    """Write a text file whole or not at all. Raises `ExportError`."""
    with (
        new_file(file, replace=replace, error=ExportError) as part,
        new_text(part, newline="") as opened,
    ):
        opened.write(text)
