"""Copying one session from file to file, so that a session can be mailed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from workbench.store.arrays import array_refs
from workbench.store.checking import array_faults, check_event, session_faults, unsound
from workbench.store.connection import connect, immediate
from workbench.store.encoding import event_hash, utc_text
from workbench.store.errors import StoreError, translated
from workbench.store.events import Actor, SessionStarted, read_body
from workbench.store.heads import Head
from workbench.store.rows import COLUMNS, Row, array_form, insert_array, insert_event
from workbench.store.schema import migrate, shape_text
from workbench.store.search import searchable_text
from workbench.store.whole_file import new_file

_ARRAYS = """
    SELECT sha256, dtype, shape, data FROM arrays WHERE sha256 IN (
        SELECT event_arrays.sha256 FROM event_arrays
        JOIN events ON events.id = event_arrays.event_id WHERE events.session_id = ?
    ) ORDER BY sha256
"""
# Looking through every token of every list for an array takes longer than all else.
_OF_AN_ARRAY = '"shape":'


class Intake:
    """Takes the rows of one session of another file in, each checked as it comes.

    The caller's transaction decides whether they last. ``source`` is the other file, as errors name
    it; with ``continuing`` a session that is here already is taken further. Everything raises
    `StoreError` for what does not verify.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        source: object,
        *,
        continuing: bool = False,
    ) -> None:
        self._connection = connection
        self._path = path
        self._source = source
        self.session_id = ""
        self.head = Head(0, "")
        self._continuing = continuing
        self._known = Head(0, "")
        self._created_at: object = None

    def session(self, session_id: str, created_at: object) -> None:
        """Begin with the session itself."""
        # The first event says when it was; until then it is no fault.
        for what in session_faults(session_id, created_at, None):
            raise unsound(session_id, self._source, what)
        self.session_id, self._created_at = session_id, created_at
        known = self._connection.execute(
            "SELECT seq, sha256 FROM events WHERE session_id = ? ORDER BY seq DESC LIMIT 1",
            (session_id,),
        ).fetchone()
        if known is not None:
            if not self._continuing:
                raise StoreError(
                    f"session {session_id} is in {self._path} already",
                    "To import it again, delete the one that is there first.",
                )
            self._known = Head(*known)
            return
        self._connection.execute(
            "INSERT INTO sessions (id, created_at) VALUES (?, ?)", (session_id, created_at)
        )

    def array(self, sha256: str, dtype: str, shape: str, data: bytes) -> None:
        """Take an array, before the first event that names it."""
        for what in array_faults(sha256, dtype, shape, data):
            raise unsound(self.session_id, self._source, f"the array {sha256[:12]}…: {what}")
        insert_array(self._connection, sha256, dtype, shape, data)

    def event(self, row: Row) -> None:
        """Take the next event; ``row`` is as in `rows.COLUMNS`."""
        seq, previous = self.head
        body, faults = check_event(row)
        if row[1] != seq + 1:
            faults.append(f"event {seq + 1} is missing before it")
        if row[0] != self.session_id:
            faults.append(f"it is of another session, {row[0]!r}")
        if row[8] != previous:
            faults.append("it does not follow from the event before it")
        if seq == 0:
            faults += session_faults(self.session_id, self._created_at, row[2])
        if body is not None and isinstance(body, SessionStarted) != (seq == 0):
            faults.append("a session starts with its first event, and with no other")
        arrays = []
        if body is not None and _OF_AN_ARRAY in row[7]:
            for name, ref in array_refs(body):
                arrays.append((name, ref.sha256))
                if array_form(self._connection, ref.sha256) != (ref.dtype, shape_text(ref.shape)):
                    faults.append(f"its array {name} is missing, or of another dtype or shape")
        if faults or body is None:
            raise unsound(self.session_id, self._source, f"event {row[1]}: {faults[0]}")
        self.head = Head(row[1], row[9])
        if self.head.seq > self._known.seq:
            insert_event(self._connection, row, searchable_text(body), arrays)
        elif self.head.seq == self._known.seq and self.head != self._known:
            raise StoreError(
                f"session {self.session_id} went on otherwise in {self._path} than in {self._source}",
                "Delete one of the two, or keep them in files of their own.",
            )

    def finish(self) -> None:
        """End with the last event."""
        if self.head[0] == 0:
            raise unsound(self.session_id, self._source, "it has no events")
        if self.head.seq < self._known.seq:
            raise StoreError(
                f"session {self.session_id} has {self._known.seq} events in {self._path}, and only "
                f"{self.head.seq} in {self._source}",
                "There is nothing to take from there.",
            )


def take_session(source: sqlite3.Connection, target: Intake, session_id: str) -> None:
    """Copy a session of another file into the one that ``target`` writes, checking all of it."""
    created_at = source.execute(
        "SELECT created_at FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()
    target.session(session_id, created_at and created_at[0])
    for array in source.execute(_ARRAYS, (session_id,)):
        target.array(*array)
    for row in source.execute(
        f"SELECT {COLUMNS} FROM events WHERE session_id = ? ORDER BY seq", (session_id,)
    ):
        target.event(row)
    target.finish()


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
    for array in source.execute(_ARRAYS, (session_id,)):
        insert_array(target, *array)
    for event_id, *row in source.execute(
        f"SELECT id, {COLUMNS} FROM events WHERE session_id = ? ORDER BY seq", (session_id,)
    ):
        arrays: Sequence[tuple[str, str]] = source.execute(
            "SELECT name, sha256 FROM event_arrays WHERE event_id = ?", (event_id,)
        ).fetchall()
        insert_event(target, tuple(row), searchable_text(read_body(row[7])), arrays)


def copy_events(
    connection: sqlite3.Connection, parent: tuple[str, int], session_id: str, head: Head
) -> Head:
    """Write the events of ``parent`` (session id, seq) from its second on into another session.

    Bodies as they are; times and hashes are of the new one. Returns its head.
    """
    for row in connection.execute(
        f"""
        SELECT events.id, {COLUMNS}, event_text.text
        FROM events LEFT JOIN event_text ON event_text.event_id = events.id
        WHERE session_id = ? AND seq > 1 AND seq <= ? ORDER BY seq
        """,
        parent,
    ):
        event_id, _, seq, _, kind, name, of, operation_id, body, _, _, text = row
        at = utc_text()
        digest = event_hash(
            session_id=session_id,
            seq=seq,
            at=at,
            actor=Actor.model_construct(kind=kind, name=name),
            operation_id=operation_id,
            body_text=body,
            previous=head.sha256,
        )
        arrays: Sequence[tuple[str, str]] = ()
        if _OF_AN_ARRAY in body:
            arrays = connection.execute(
                "SELECT name, sha256 FROM event_arrays WHERE event_id = ?", (event_id,)
            ).fetchall()
        copied = (session_id, seq, at, kind, name, of, operation_id, body, head.sha256, digest)
        insert_event(connection, copied, text or "", arrays)
        head = Head(seq, digest)
    return head


def export_session(source: sqlite3.Connection, session_id: str, target: Path) -> None:
    """Write the session into a new file; see `SessionLog.export_session`."""
    with new_file(target) as part:
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
