"""Files and folders that only their owner can read, unless the umask is asked for.

What an audit records may be secret: prompts, answers, where models lie. The setting
``private_files`` (in the environment ``ADL_WORKBENCH_PRIVATE_FILES=0``) leaves it to the umask.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

from adl.errors import AdlError

_OWNER_FILE, _OWNER_FOLDER = 0o600, 0o700
_ANYONE_FILE, _ANYONE_FOLDER = 0o666, 0o777


class NotAFile(AdlError):
    """Something that is to be read is no ordinary file."""


def are_private() -> bool:
    """True if new files are for their owner alone; also where the settings cannot be read."""
    # Here: a file is made rarely, and a start does without the settings.
    from workbench.settings import SettingsError, load_settings

    try:
        return load_settings().private_files
    except SettingsError:
        return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each new one for its owner alone. Raises `OSError`."""
    mode = _OWNER_FOLDER if are_private() else _ANYONE_FOLDER
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=mode, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(folder))


def make_empty(file: Path) -> None:
    """Make an empty file, unless something is there or nothing can be made there."""
    with suppress(OSError):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(file, flags, _OWNER_FILE if are_private() else _ANYONE_FILE))


def keep_private(file: Path) -> None:
    """Give a file that was just written the mode of a new one."""
    if are_private():
        file.chmod(_OWNER_FILE)


def new_text(file: Path, *, replace: bool = False, newline: str | None = None) -> IO[str]:
    """Open a new file for text in UTF-8. Raises `FileExistsError` unless ``replace``."""
    mode = _OWNER_FILE if are_private() else _ANYONE_FILE
    flags = os.O_CREAT | os.O_WRONLY | (os.O_TRUNC if replace else os.O_EXCL)
    return os.fdopen(os.open(file, flags, mode), "w", encoding="utf-8", newline=newline)


def opened_input(file: Path) -> IO[bytes]:
    """Open a file to read. Raises `NotAFile` for a device, pipe, socket or folder, and `OSError`.

    Opening waits for nobody: the other end of a named pipe may never come.
    """
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        check_ordinary(file, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_ordinary(file: Path, mode: int) -> None:
    """Raise `NotAFile`, with what it is, for anything but an ordinary file."""
    if not stat.S_ISREG(mode):
        kind = next((name for is_one, name in _KINDS if is_one(mode)), "no ordinary file")
        raise NotAFile(f"{file} is {kind}", "Name an ordinary file; save a stream to one first.")


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
