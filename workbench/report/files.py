"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.report.errors import ExportError


@contextmanager
def new_file(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A path beside ``target`` to write to, which becomes ``target`` if nothing is raised.

    Raises `ExportError` if the target exists (unless ``replace``) or its folder cannot be written.
    """
    if target.exists() and not replace:
        raise ExportError(f"{target} exists already", "Name a file that does not.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-")
    except OSError as error:
        raise ExportError(
            f"the folder {target.parent} cannot be written: {error.strerror or error}",
            "Name a file in another folder.",
        ) from error
    with folder:
        part = Path(folder.name) / target.name
        try:
            yield part
            _move(part, target, replace)
        except OSError as error:
            raise ExportError(
                f"{target} cannot be written: {error.strerror or error}",
                "Make room on the disk, or name a file on another.",
            ) from error


def _move(part: Path, target: Path, replace: bool) -> None:
    if replace:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise ExportError(f"{target} exists already", "Name a file that does not.") from error
    except OSError:
        # A file system without hard links.
        part.replace(target)
