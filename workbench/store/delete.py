"""Deleting a whole session, the one way in which anything ever leaves the log."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from workbench.store.encoding import utc_text
from workbench.store.errors import StoreError
from workbench.store.schema import create_guards, drop_guards
from workbench.store.views import VIEWS


def delete_session(
    connection: sqlite3.Connection, path: Path, session_id: str, confirm: str
) -> None:
    """Delete a session inside the transaction under way; see `SessionLog.delete_session`.

    The triggers that refuse deletes are absent only inside this transaction, which holds the write
    lock, so no other process ever sees the log without them.
    """
    found = connection.execute(
        f"SELECT name, events FROM ({VIEWS['session_overview']}) WHERE id = ?", (session_id,)
    ).fetchone()
    if found is None:
        raise StoreError(
            f"there is no session {session_id} in {path}",
            "`adl-workbench sessions list` shows those that are.",
        )
    name, events = found
    if confirm != name:
        raise StoreError(
            f"session {session_id} is named {name!r}, not {confirm!r}; nothing was deleted",
            "To delete it for good, confirm with its exact name.",
        )
    arrays = connection.execute(
        """
        SELECT DISTINCT sha256 FROM event_arrays
        WHERE event_id IN (SELECT id FROM events WHERE session_id = ?)
        """,
        (session_id,),
    ).fetchall()
    drop_guards(connection)
    for table in ("event_arrays", "event_text"):
        connection.execute(
            f"DELETE FROM {table} WHERE event_id IN (SELECT id FROM events WHERE session_id = ?)",
            (session_id,),
        )
    connection.execute("DELETE FROM events WHERE session_id = ?", (session_id,))
    connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
    connection.executemany(
        """
        DELETE FROM arrays WHERE sha256 = ?
        AND NOT EXISTS (SELECT 1 FROM event_arrays WHERE event_arrays.sha256 = arrays.sha256)
        """,
        arrays,
    )
    # The index keeps deleted words until it is rewritten.
    connection.execute("INSERT INTO event_text_fts (event_text_fts) VALUES ('optimize')")
    connection.execute(
        "INSERT INTO deleted_sessions (session_id, deleted_at, events) VALUES (?, ?, ?)",
        (session_id, utc_text(), events),
    )
    create_guards(connection)
