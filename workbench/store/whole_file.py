"""Writing a file whole or not at all, also when the process is killed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adl.errors import AdlError
from workbench.private_files import keep_private, make_folder
from workbench.store.errors import StoreError

_PART = re.compile(r"\.export-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-")


@contextmanager
def new_file(
    target: Path, *, replace: bool = False, error: type[AdlError] = StoreError
) -> Iterator[Path]:
    """A path to write to, which becomes ``target`` if nothing is raised.

    It lies beside ``target`` in a folder of its own. A process that is killed leaves that folder,
    and the next one that writes there takes it away. Raises ``error`` if the target exists (unless
    ``replace``) or its folder cannot be written.
    """
    if (target.exists() or target.is_symlink()) and not replace:
        raise error(f"{target} exists already", "Name a file that does not.")
    try:
        make_folder(target.parent)
        _sweep(target.parent)
        prefix = f".export-{_host()}-{os.getpid()}-"
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix)
    except OSError as problem:
        raise error(
            f"the folder {target.parent} cannot be written: {problem.strerror or problem}",
            "Name a file in another folder.",
        ) from problem
    with folder:
        part = Path(folder.name) / target.name
        try:
            yield part
            # Until here it lay in a folder that is its owner's alone.
            keep_private(part)
            _move(part, target, replace, error)
        except OSError as problem:
            raise error(
                f"{target} cannot be written: {problem.strerror or problem}",
                "Make room on the disk, or name a file on another.",
            ) from problem


def _move(part: Path, target: Path, replace: bool, error: type[AdlError]) -> None:
    if replace:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError as problem:
        raise error(f"{target} exists already", "Name a file that does not.") from problem
    except OSError:
        # A file system without hard links.
        part.replace(target)


def _sweep(folder: Path) -> None:
    """Take away what processes of this machine that were killed had begun to write here."""
    for entry in folder.glob(".export-*"):
        named = _PART.match(entry.name)
        if named and named["host"] == _host() and not _is_alive(int(named["pid"])):
            shutil.rmtree(entry, ignore_errors=True)


def _host() -> str:
    # Process ids are of one machine, and a folder may be of several.
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    with suppress(OSError, OverflowError):
        os.kill(pid, 0)
        return True
    return Path(f"/proc/{pid}").exists()
