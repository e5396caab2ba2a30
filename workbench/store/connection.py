"""Opening and writing the session file: pragmas, transactions, and refusals."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from workbench.private_files import check_ordinary, make_empty
from workbench.store.errors import StoreError, store_error, translated
from workbench.store.packing import whole_or_nothing

Mode = Literal["create", "write", "query", "read-only"]

#: The first schema version without an index of a JSON function.
_WITHOUT_JSON = 7

# What SQLite answers where memory cannot be shared over a file, as on network drives.
_NO_SHARED_MEMORY = {sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}

#: How long a transaction waits for those of other processes, in seconds.
BUSY_TIMEOUT = 30.0


def connect(path: Path, mode: Mode, *, busy_timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """Open the file with the pragmas that every connection needs; nothing is written to it.

    ``create`` makes a missing file, ``query`` is a reader of a file that this process writes,
    ``read-only`` is for files of others: it makes neither the file nor, where it can be helped,
    files beside it. Raises `StoreError`.
    """
    _check_path(path, mode)
    if mode == "create":
        # SQLite gives the files that it makes beside a database the mode of the database.
        make_empty(path)
    with translated(path, "opening it"):
        connection = _open(path, mode, busy_timeout)
        try:
            connection.create_function("whole_body", 1, whole_or_nothing, deterministic=True)
            # The file may be someone else's: no damaged page is taken for what it says it is.
            connection.execute("PRAGMA cell_size_check = ON")
            distrust_schema(connection)
            connection.execute("PRAGMA mmap_size = 0")
            # In kibibytes: an import of a long session would write the same pages again and again.
            connection.execute("PRAGMA cache_size = -16384")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            # What `delete_session` deletes should be gone from the file too.
            connection.execute("PRAGMA secure_delete = ON")
            # REPLACE counts as a delete only with this on, and deletes are refused by triggers.
            connection.execute("PRAGMA recursive_triggers = ON")
            if mode in {"query", "read-only"}:
                connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def distrust_schema(connection: sqlite3.Connection) -> None:
    """Let nothing in the file's schema call a function that does more than compute.

    A file of a schema before `_WITHOUT_JSON` has an index of a JSON function, for which some
    versions of SQLite do not open it then: what is in it is looked at before anything of it runs.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version >= _WITHOUT_JSON or not _distrusts_itself():
        connection.execute("PRAGMA trusted_schema = OFF")


def trust_schema(connection: sqlite3.Connection) -> None:
    """Let the triggers run that keep the index of the search, once they were looked at."""
    if _distrusts_itself():
        connection.execute("PRAGMA trusted_schema = ON")


@cache
def _distrusts_itself() -> bool:
    """True if this SQLite (up to 3.40) takes its own full-text search for unsafe in a trigger."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE a (x)")
        connection.execute("CREATE VIRTUAL TABLE b USING fts5 (x)")
        connection.execute(
            "CREATE TRIGGER c AFTER INSERT ON a BEGIN INSERT INTO b VALUES (new.x); END"
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        try:
            connection.execute("INSERT INTO a VALUES ('')")
        except sqlite3.OperationalError:
            return True
    return False


def _check_path(path: Path, mode: Mode) -> None:
    """Raise `StoreError` unless there is an ordinary file, or none where one is to be made."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):  # a NUL in the name is a ValueError
        if mode != "create":
            raise StoreError(
                f"there is no session file {path}",
                "Check the path; a first `adl-workbench audit` makes the default one.",
            ) from None
        return
    if stat.S_ISDIR(kind):
        raise StoreError(f"{path} is a folder", "Name a file in it, such as sessions.db.")
    check_ordinary(path, kind)


def _open(path: Path, mode: Mode, busy_timeout: float) -> sqlite3.Connection:
    access = {"create": "rwc", "write": "rw", "query": "rw", "read-only": "ro"}[mode]
    try:
        return _readable(_connect_uri(path, f"mode={access}", busy_timeout))
    except sqlite3.OperationalError:
        if mode != "read-only" or _has_write_ahead_log(path):
            raise
    # A file in WAL mode in a folder that cannot be written: SQLite reads it only as one that
    # cannot change, which is right as long as no log of a writer lies beside it.
    return _readable(_connect_uri(path, "mode=ro&immutable=1", busy_timeout))


def _readable(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, once something was read through it: opening alone does not look."""
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _has_write_ahead_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _connect_uri(path: Path, parameters: str, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{parameters}",
        uri=True,
        timeout=busy_timeout,
        # Transactions are begun and ended by `immediate` alone.
        isolation_level=None,
        # The log hands a connection to one thread at a time.
        check_same_thread=False,
    )


def use_write_ahead_log(connection: sqlite3.Connection, path: Path, busy_timeout: float) -> str:
    """Ask for WAL, in which readers and the writer do not wait for each other.

    Returns the journal mode that SQLite settled on: some network folders cannot do WAL.
    """
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in _NO_SHARED_MEMORY:
                return _use_rollback_journal(connection, path, error)
            # Two processes that change the mode at once would wait for each other, so SQLite
            # answers "busy" at once rather than after the busy timeout.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise store_error(error, path, "switching to write-ahead logging") from error
            time.sleep(0.01)


def _use_rollback_journal(
    connection: sqlite3.Connection, path: Path, refused: sqlite3.OperationalError
) -> str:
    """Set the journal that needs no memory shared between processes, where WAL is refused."""
    try:
        return str(connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0])
    except sqlite3.OperationalError:
        raise store_error(refused, path, "switching to write-ahead logging") from refused


@contextmanager
def one_look(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read within is of one state of the file, whatever others commit meanwhile."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()


@contextmanager
def immediate(connection: sqlite3.Connection, path: Path, doing: str) -> Iterator[None]:
    """One transaction that holds the write lock from its start; all or nothing is committed."""
    with translated(path, doing):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # A full disk has SQLite roll back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
