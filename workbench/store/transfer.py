"""Copying one session from file to file, so that a session can be mailed."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from workbench.store.connection import connect, immediate
from workbench.store.errors import StoreError, translated
from workbench.store.events import BODY
from workbench.store.rows import COLUMNS, insert_array, insert_event
from workbench.store.schema import migrate
from workbench.store.search import searchable_text


def copy_session(source: sqlite3.Connection, target: sqlite3.Connection, session_id: str) -> None:
    """Copy events, hashes and arrays as they are, inside the transaction of ``target``.

    Only the texts for the search are made anew.
    """
    target.execute(
        "INSERT INTO sessions (id, created_at) VALUES (?, ?)",
        source.execute(
            "SELECT id, created_at FROM sessions WHERE id = ?", (session_id,)
        ).fetchone(),
    )
    for array in source.execute(
        """
        SELECT sha256, dtype, shape, data FROM arrays WHERE sha256 IN (
            SELECT event_arrays.sha256 FROM event_arrays
            JOIN events ON events.id = event_arrays.event_id WHERE events.session_id = ?
        )
        """,
        (session_id,),
    ):
        insert_array(target, *array)
    for event_id, *row in source.execute(
        f"SELECT id, {COLUMNS} FROM events WHERE session_id = ? ORDER BY seq", (session_id,)
    ):
        arrays = source.execute(
            "SELECT name, sha256 FROM event_arrays WHERE event_id = ?", (event_id,)
        ).fetchall()
        insert_event(target, tuple(row), searchable_text(BODY.validate_json(row[7])), arrays)


def export_session(source: sqlite3.Connection, session_id: str, target: Path) -> None:
    """Write the session into a new file; see `SessionLog.export_session`."""
    if target.exists():
        raise StoreError(f"{target} exists already", "Name a file that does not.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-")
    except OSError as error:
        raise StoreError(
            f"the folder {target.parent} cannot be written: {error.strerror or error}",
            "Name a file in another folder.",
        ) from error
    with folder:
        part = Path(folder.name) / target.name
        connection = connect(part, "create")
        try:
            # One file, with no write-ahead log beside it, so that it opens on read-only media too.
            migrate(connection, part)
            # One view of the source: another process may be appending to it or deleting it.
            with translated(target, "exporting a session"):
                source.execute("BEGIN")
            try:
                with immediate(connection, target, "exporting a session"):
                    copy_session(source, connection, session_id)
            finally:
                source.execute("ROLLBACK")
        finally:
            connection.close()
        try:
            os.link(part, target)
        except FileExistsError as error:
            raise StoreError(f"{target} exists already", "Name a file that does not.") from error
        except OSError:
            # A file system without hard links.
            part.replace(target)
