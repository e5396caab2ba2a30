"""Errors of session files, each with a hint for the person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adl.errors import AdlError


class StoreError(AdlError):
    """A session file cannot be opened, read or written; what was committed before is intact."""


class OlderSchema(StoreError):
    """The file is of an older version, and was opened so that nothing in it can change."""


class SessionOver(StoreError):
    """The session was closed, and what was to be recorded belongs to the work before its end."""


class SessionMoved(StoreError):
    """Something was recorded in the session since the event that was to be the last one."""


class StoreFailure(StoreError):
    """The disk or another process is in the way, not what was asked for."""

    exit_code = 1


_FAILURES = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors while ``doing`` something with the file into a `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path, doing) from error


def store_error(error: sqlite3.Error, path: Path, doing: str) -> StoreError:
    """Say what SQLite's error means for the person at the keys."""
    # Extended codes carry the primary one in their low byte.
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    reason, hint = _REASONS.get(primary, _UNKNOWN)
    kind = StoreFailure if primary in _FAILURES else StoreError
    return kind(f"{path}: {doing} failed: {reason} ({error})", hint.format(path=path))


_UNKNOWN = (
    "SQLite refused",
    "What was recorded before is intact. `adl-workbench sessions verify` checks the whole file.",
)
_REASONS: dict[int | None, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: (
        "another process kept the file locked for too long",
        "Try again once it is done, or close whatever has {path} open.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "another connection kept a table locked for too long",
        "Try again once it is done, or close whatever has {path} open.",
    ),
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "Make room on the disk that holds {path}. What was recorded before is intact.",
    ),
    sqlite3.SQLITE_READONLY: (
        "the file or its folder is read-only",
        "Make the folder writable, or set ADL_WORKBENCH_HOME to a folder that is.",
    ),
    sqlite3.SQLITE_PERM: (
        "access was denied",
        "Make the folder writable, or set ADL_WORKBENCH_HOME to a folder that is.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the file cannot be opened or created",
        "Check that the folder exists and is writable, or set ADL_WORKBENCH_HOME to one that is.",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk reported an error, or is full",
        "Check the disk that holds {path}, or use a local one. What was recorded before is intact.",
    ),
    sqlite3.SQLITE_PROTOCOL: (
        "its folder cannot lock files as SQLite needs, as on some network drives",
        "Name a file on a local disk, or set ADL_WORKBENCH_HOME to a local folder.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "it is not an SQLite database",
        "Name a session file, or move this one away so that a new one can be made.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "Copy it before anything else; `sqlite3 {path} .recover` saves what can be read.",
    ),
    sqlite3.SQLITE_TOOBIG: (
        "a text or an array is larger than SQLite can hold (1 GB)",
        "Record it in smaller parts.",
    ),
}
