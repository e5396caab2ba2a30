"""An open session file: the connections to it, and who may use which."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.private_files import make_folder
from workbench.store import verify
from workbench.store.connection import Mode, connect, use_write_ahead_log
from workbench.store.errors import OlderSchema, StoreError, translated
from workbench.store.schema import MIGRATIONS, check_ours, check_shape, migrate


class SessionFile:
    """Connections to a session file, each lent to a thread at a time.

    There is one connection that writes, behind a lock, and as many that read as threads read at
    the same time: SQLite has one writer at a time in any case, and a reader, such as a screen being
    drawn, never waits for the disk of a writer.
    """

    def __init__(self, path: Path, *, read_only: bool, busy_timeout: float) -> None:
        self.path = path
        self.read_only = read_only
        self.busy_timeout = busy_timeout
        self.is_closed = False
        self.journal_warning: str | None = None
        "A warning for the person if the file's folder cannot do write-ahead logging."
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._idle_readers: list[sqlite3.Connection] = []

    def open(self, *, foreign: bool) -> None:
        """Make or check the file, see `SessionLog.open`. Raises `StoreError`."""
        try:
            if self.read_only:
                self._check_readable(foreign)
            else:
                self._open_for_writing()
        except BaseException:
            with self.closing():
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads to this thread alone."""
        self._check_open()
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = self.connect()
        try:
            with translated(self.path, "reading it"):
                yield connection
        finally:
            self._idle_readers.append(connection)
            if self.is_closed:
                self._close_readers()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes to this thread alone. Raises `StoreError`."""
        if self.read_only:
            raise StoreError(
                f"{self.path} was opened only to read", "Open it for writing to record."
            )
        with self._writing:
            self._check_open()
            assert self._writer is not None
            yield self._writer

    def connect(self) -> sqlite3.Connection:
        """Return another connection that reads, for whoever closes it."""
        mode: Mode = "read-only" if self.read_only else "query"
        return connect(self.path, mode, busy_timeout=self.busy_timeout)

    def size(self) -> int:
        """Return the size of the file with its write-ahead log, in bytes."""
        beside = self.path.with_name(f"{self.path.name}-wal")
        return sum(file.stat().st_size for file in (self.path, beside) if file.exists())

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Lend no connection any more; at the end write everything into the file and let go of it.

        May be called twice.
        """
        with self._writing:
            self.is_closed = True
            writer, self._writer = self._writer, None
            try:
                yield
            finally:
                self._close_readers()
                if writer is not None:
                    _close_writer(writer)

    def _open_for_writing(self) -> None:
        try:
            make_folder(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"the folder {self.path.parent} for the session file cannot be made: "
                f"{error.strerror or error}",
                "Name another file, or set ADL_WORKBENCH_HOME to a folder that is writable.",
            ) from error
        self._writer = connect(self.path, "create", busy_timeout=self.busy_timeout)
        # Before anything is written: the file may be someone else's.
        check_ours(self._writer, self.path)
        check_shape(self._writer, self.path)
        mode = use_write_ahead_log(self._writer, self.path, self.busy_timeout)
        if mode != "wal":
            self.journal_warning = (
                f"the folder of {self.path} does not support write-ahead logging (SQLite uses "
                f"'{mode}' instead), as is usual on network drives: recording is safe, but slower, "
                "and processes that use the file at once wait for each other; a file on a local disk "
                "(--database, or ADL_WORKBENCH_HOME) is quicker"
            )
        migrate(self._writer, self.path)

    def _check_readable(self, foreign: bool) -> None:
        with self.reading() as connection:
            version = check_ours(connection, self.path)
            check_shape(connection, self.path)
            if foreign:
                verify.check_pages(connection, self.path)
        if version == 0:
            raise StoreError(f"{self.path} is empty", "Name a file with sessions in it.")
        if version < len(MIGRATIONS):
            raise OlderSchema(
                f"{self.path} has the older schema version {version}, and is opened only to read",
                f"Copy it to where it can be written: any command brings it to {len(MIGRATIONS)}.",
            )

    def _check_open(self) -> None:
        if self.is_closed:
            raise StoreError(f"the session log {self.path} is closed", "Open it again.")

    def _close_readers(self) -> None:
        # Not `while self._idle_readers`: another thread may take the last one in between.
        with suppress(IndexError):
            while True:
                self._idle_readers.pop().close()


def _close_writer(writer: sqlite3.Connection) -> None:
    try:
        # Another process may be reading: then the last one to close does this.
        writer.execute("PRAGMA busy_timeout = 0")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        # Nothing is lost: the write-ahead log holds it, and the next one to open reads it from
        # there.
        pass
    finally:
        writer.close()
