"""Leases: marks of the sessions that are open in some process, so that none is opened twice unawares.

A lease is an advisory lock on a small file outside the database: the system lets go of it however
the process ends. It protects nothing, since a log takes events of several processes; it warns.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.store.errors import StoreError

if TYPE_CHECKING:
    from filelock import FileLock


class OpenElsewhere(StoreError):
    """The session is open already, in another process or another window of this one."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"session {session_id} is open in another process",
            "Go on there, or close it there first.",
        )
        self.session_id = session_id


class Lease:
    """One session, held open by this process until `release`, or worked on beside whoever holds it."""

    def __init__(self, lock: FileLock | None) -> None:
        self._lock = lock

    @classmethod
    def take(cls, folder: Path, session_id: str, *, even_if_open: bool = False) -> Lease:
        """Hold the session. Raises `OpenElsewhere` if it is held already, unless ``even_if_open``.

        Where the folder cannot be written nobody can be warned, and nothing is held.
        """
        # The first screen stands without it.
        from filelock import FileLock, Timeout

        path = _file(folder, session_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not a singleton and not of a thread: it is released on whichever thread closes.
            lock = FileLock(path, timeout=0, thread_local=False)
            lock.acquire()
        except Timeout:
            if not even_if_open:
                raise OpenElsewhere(session_id) from None
        except OSError:
            return cls(None)
        return cls(lock)

    def is_of_others(self) -> bool:
        """True while another holds the session; once it let go, this one holds it."""
        from filelock import Timeout

        if self._lock is None or self._lock.is_locked:
            return False
        try:
            self._lock.acquire()
        except Timeout:
            return True
        except OSError:
            return False
        return False

    def release(self) -> None:
        """Let go; may be called twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release()


def is_open(folder: Path, session_id: str) -> bool:
    """True if a process, perhaps this one, holds the session."""
    if not _file(folder, session_id).exists():
        return False
    try:
        Lease.take(folder, session_id).release()
    except OpenElsewhere:
        return True
    return False


def _file(folder: Path, session_id: str) -> Path:
    # An id out of a file that came by mail may be anything, also a path.
    plain = re.fullmatch(r"[\w-]{1,64}", session_id, re.ASCII)
    return (
        folder / f"{session_id if plain else hashlib.sha256(session_id.encode()).hexdigest()}.lock"
    )
