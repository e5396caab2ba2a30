"""Exceptions in words: those of a known kind as errors for a person, all others as bugs.

as_error(exc)     the AdlError that says the same; None for a bug
keep_crash(exc)   a bug's trace in a file of its own, to be reported
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from adl.errors import AdlError, first_line
from workbench.fields import in_words
from workbench.locations import find_locations
from workbench.scrubbing import KEY, scrub

REPORT_BUG = "This is a bug in adl-workbench; please report it."
# A path or a template can be at fault, or what the machine has left: see `as_error`.
_NUL_IN_PATH = re.compile(r"embedded null (byte|character)")
_NO_HOME = re.compile(r"[Hh]ome directory")


class BadValue(AdlError):
    """A value that was given cannot be used."""


class InTheWay(AdlError):
    """The machine refused: a file, the disk, memory."""

    exit_code = 1


def as_error(exc: BaseException) -> AdlError | None:
    """The error of a known kind for a person; None for an exception that nobody foresaw."""
    match exc:
        case AdlError():
            return exc
        case ValidationError():
            return BadValue(in_words(exc, most=1))
        case OSError():
            return _of_system(exc)
        case UnicodeError():
            return BadValue(f"text that is not UTF-8: {first_line(exc)}", "Convert it to UTF-8.")
        case MemoryError():
            return InTheWay("there is not enough memory for this", "Ask for less at once.")
        case RecursionError():
            return BadValue("something that was given is nested too deep", "Make it flatter.")
        case OverflowError():
            return BadValue(f"a number is too large: {first_line(exc)}", "Give a smaller one.")
        case re.error():
            return BadValue(f"{exc.pattern!r} is not a regular expression: {exc.msg}")
        case sqlite3.Error():
            return InTheWay(f"the database refused: {first_line(exc)}", "Check the file's disk.")
        case ValueError() if _NUL_IN_PATH.search(str(exc)):
            return BadValue("a path has a NUL character in it", "Check the path.")
        case RuntimeError() if _NO_HOME.search(str(exc)):
            return BadValue(
                f"the home folder is not known: {first_line(exc)}",
                "Set HOME or ADL_WORKBENCH_HOME, or write the path without ~.",
            )
    # Known by where their class is from, since importing it costs every command its time.
    if type(exc).__module__ == "jinja2.exceptions":
        return BadValue(
            f"the chat template cannot be used: {type(exc).__name__}: {first_line(exc)}",
            "Check the checkpoint's chat template.",
        )
    return None


def _of_system(exc: OSError) -> AdlError:
    if isinstance(exc, FileNotFoundError) and not exc.filename and not _folder_exists():
        return InTheWay("the current folder no longer exists", "Change to one that does.")
    reason = exc.strerror or first_line(exc)
    if exc.errno in {errno.ENOSPC, errno.EBADF, errno.EIO} and not exc.filename:
        return InTheWay(f"the output cannot be written: {reason}")
    # Of a file or folder that was named: not a bug, and the trace would say no more.
    return InTheWay(f"{reason}: {os.fsdecode(exc.filename)}" if exc.filename else reason)


def _folder_exists() -> bool:
    try:
        return Path.cwd().is_dir()
    except OSError:
        return False


def without_secrets(text: str) -> str:
    """The text without any key of this process: the endpoint's, and those of its environment."""
    # Imported here: a command that does not fail does not wait for it.
    from workbench.settings import load_settings

    # Settings that cannot be read hold nothing that was used.
    with suppress(AdlError):
        # `scrub` leaves short ones, which may be words of other texts.
        for secret in load_settings().secrets():
            text = text.replace(secret, KEY)
    return scrub(text)


def keep_crash(exc: BaseException, hide: Callable[[str], str] = str) -> Path | None:
    """Write the trace of a bug, through ``hide``, to a file only its owner reads; None if it can't.

    The trace has the program's own lines and no values of variables; the command line is left out,
    since it may hold names and keys.
    """
    head = f"adl-workbench {version('adl-workbench')}, Python {sys.version}, {sys.platform}\n\n"
    trace = "".join(traceback.format_exception(exc))
    text = hide(without_secrets(head + trace))
    folder = find_locations().cache / "crashes"
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except (OSError, RuntimeError):
        return None
    return path
