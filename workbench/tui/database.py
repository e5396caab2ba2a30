"""The database that the program records in, opened when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from workbench.store.log import SessionLog


class Database:
    """A session database by its path, and its log once it is open. For any thread.

    ``warn`` takes the warning of a database that cannot be written as safely as others; it is called
    on the thread that opens it.
    """

    def __init__(self, path: Path, warn: Callable[[str], object]) -> None:
        self.path = path
        self.log: SessionLog | None = None
        self._warn = warn
        self._opening = threading.Lock()

    def open(self) -> SessionLog:
        """Return the log, opened the first time it is needed."""
        with self._opening:
            log, is_new = self.log, self.log is None
            if log is None:
                log = self.log = SessionLog.open(self.path)
        # Not while others wait: the thread of the screen may be one of them.
        if is_new and log.journal_warning:
            self._warn(log.journal_warning)
        return log

    def move(self, path: Path) -> None:
        """Record in the database at ``path`` from here on."""
        with self._opening:
            log, self.log, self.path = self.log, None, path
        if log is not None:
            log.close()

    def open_at(self, path: Path) -> SessionLog:
        """Record in the database at ``path`` from here on; returns its log."""
        if path != self.path:
            self.move(path)
        return self.open()

    def close(self) -> None:
        """Close the log if it is open."""
        if self.log is not None:
            self.log.close()
