"""Read a session's events in chunks, and wait for more of any process."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adl.callbacks import ShouldStop
from workbench.store.errors import translated
from workbench.store.events import Event
from workbench.store.rows import COLUMNS, event_of

CHUNK = 2_000
_POLL_SECONDS = 0.1


def read_chunk(
    connection: sqlite3.Connection,
    session_id: str,
    after_seq: int,
    kinds: tuple[str, ...] | None = None,
) -> list[Any]:
    """Rows of the next `CHUNK` events of a session, those of ``kinds`` only unless it is None."""
    # The + keeps SQLite on the index over seq, whatever the kinds.
    wanted = "" if kinds is None else f"AND +kind IN ({', '.join('?' * len(kinds))})"
    return connection.execute(
        f"SELECT {COLUMNS} FROM events WHERE session_id = ? AND seq > ? {wanted} "
        "ORDER BY seq LIMIT ?",
        (session_id, after_seq, *(kinds or ()), CHUNK),
    ).fetchall()


def follow_events(
    connection: sqlite3.Connection,
    path: Path,
    session_id: str,
    after_seq: int,
    *,
    stop: ShouldStop,
    woken: threading.Event,
    timeout: float | None,
) -> Iterator[Event]:
    """Yield events as they are committed, until ``stop`` or ``timeout`` seconds without one.

    ``woken`` is set when this process commits events; other processes are asked about every 0.1 s.
    """
    seen: int | None = None
    last_event = time.monotonic()
    while not stop():
        woken.clear()
        with translated(path, "following it"):
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            rows = [] if version == seen else read_chunk(connection, session_id, after_seq)
        # A full chunk may not be all there is.
        seen = None if len(rows) == CHUNK else version
        for row in rows:
            yield event_of(row, path)
            after_seq = row[1]
            if stop():
                return
        if rows:
            last_event = time.monotonic()
            continue
        idle = time.monotonic() - last_event
        if timeout is not None and idle >= timeout:
            return
        woken.wait(_POLL_SECONDS if timeout is None else min(_POLL_SECONDS, timeout - idle))
