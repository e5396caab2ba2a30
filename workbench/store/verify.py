"""Checking a session file: every hash is derived again from what it is a hash of."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from workbench.store.errors import translated
from workbench.store.events import BODY, Actor, array_refs, event_hash
from workbench.store.rows import COLUMNS, array_form
from workbench.store.schema import missing_guards, shape_text
from workbench.store.search import searchable_text


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was recorded; session and seq are None if it is of the file."""

    session_id: str | None
    seq: int | None
    what: str

    def __str__(self) -> str:
        """Where it is, then what it is."""
        place = [] if self.session_id is None else [f"session {self.session_id}"]
        if self.seq is not None:
            place.append(f"event {self.seq}")
        return f"{', '.join(place) or 'file'}: {self.what}"


@dataclass(frozen=True)
class VerifyReport:
    """What was checked, and everything that is wrong.

    ``heads`` gives the seq and hash of each session's last event. A chain cannot show by itself
    that it once was longer or that all of it was written anew, so a person who wants to be sure
    keeps the head elsewhere, in a report or a mail, and compares.
    """

    path: Path
    events: int
    arrays: int
    heads: dict[str, tuple[int, str]]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_file(connection: sqlite3.Connection, path: Path, session_id: str | None) -> VerifyReport:
    """Check the file and all of its sessions, or only one of them; see `SessionLog.verify`."""
    check = _Check(connection)
    with translated(path, "verifying it"):
        # One view of the file, though others may append to it meanwhile.
        connection.execute("BEGIN")
        try:
            check.run(session_id)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return VerifyReport(path, check.events, check.arrays, check.heads, tuple(check.problems))


class _Check:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.problems: list[Problem] = []
        self.heads: dict[str, tuple[int, str]] = {}
        self.events = 0
        self.arrays = 0

    def run(self, session_id: str | None) -> None:
        self._file()
        if session_id is None:
            rows = self.connection.execute(
                "SELECT id FROM sessions UNION SELECT session_id FROM events ORDER BY 1"
            ).fetchall()
            sessions = [row[0] for row in rows]
            self._nothing_missing()
        else:
            sessions = [session_id]
        for session in sessions:
            self._session(session)
        self._arrays(session_id)

    def _add(self, session_id: str | None, seq: int | None, what: str) -> None:
        self.problems.append(Problem(session_id, seq, what))

    def _file(self) -> None:
        for (message,) in self.connection.execute("PRAGMA integrity_check"):
            if message != "ok":
                self._add(None, None, f"SQLite's integrity check: {message}")
        for table, rowid, parent, _ in self.connection.execute("PRAGMA foreign_key_check"):
            self._add(None, None, f"row {rowid} of {table} names a row of {parent} that is gone")
        for name in missing_guards(self.connection):
            self._add(None, None, f"the trigger {name}, which keeps the log append-only, is gone")
        # The index's own check writes, which a reader cannot: its list of documents is compared.
        strays = self.connection.execute(
            """
            SELECT count(*) FROM (
                SELECT id FROM event_text_fts_docsize EXCEPT SELECT event_id FROM event_text
            )
            """
        ).fetchone()[0]
        missing = self.connection.execute(
            """
            SELECT count(*) FROM (
                SELECT event_id FROM event_text EXCEPT SELECT id FROM event_text_fts_docsize
            )
            """
        ).fetchone()[0]
        if strays or missing:
            self._add(
                None, None, f"the search index lacks {missing} texts and has {strays} of no event"
            )

    def _nothing_missing(self) -> None:
        """Every event ever written is there, or went with its session by `delete_session`."""
        given, present, deleted = self.connection.execute(
            """
            SELECT
                (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'),
                (SELECT count(*) FROM events),
                (SELECT coalesce(sum(events), 0) FROM deleted_sessions)
            """
        ).fetchone()
        if given != present + deleted:
            self._add(
                None,
                None,
                f"{given} events were written, {deleted} went with deleted sessions, and "
                f"{present} are here instead of {given - deleted}",
            )

    def _session(self, session_id: str) -> None:
        created = self.connection.execute(
            "SELECT created_at FROM sessions WHERE id = ?", (session_id,)
        ).fetchone()
        if created is None:
            self._add(session_id, None, "it has events, but is not in the table of sessions")
        expected_seq, previous = 1, ""
        for row in self.connection.execute(
            f"""
            SELECT {COLUMNS}, events.id, event_text.text
            FROM events LEFT JOIN event_text ON event_text.event_id = events.id
            WHERE session_id = ? ORDER BY seq
            """,
            (session_id,),
        ):
            seq, sha256 = row[1], row[9]
            self.events += 1
            if seq != expected_seq:
                missing = (
                    f"event {expected_seq} is"
                    if seq == expected_seq + 1
                    else f"events {expected_seq} to {seq - 1} are"
                )
                self._add(session_id, seq, f"{missing} missing before it")
            if row[8] != previous:
                self._add(session_id, seq, "it does not follow from the event before it")
            for what in self._event(row):
                self._add(session_id, seq, what)
            expected_seq, previous = seq + 1, sha256
            self.heads[session_id] = (seq, sha256)
        if session_id not in self.heads:
            self._add(session_id, None, "it has no events")

    def _event(self, row: tuple[Any, ...]) -> Iterator[str]:
        session_id, seq, at, actor_kind, actor_name, kind, operation_id, text = row[:8]
        previous, sha256, event_id, search_text = row[8:]
        derived = event_hash(
            session_id=session_id,
            seq=seq,
            at=at,
            # As it stands, even where it is no actor at all.
            actor=Actor.model_construct(kind=cast(Any, actor_kind), name=actor_name),
            operation_id=operation_id,
            body_text=text,
            previous=previous,
        )
        if derived != sha256:
            yield "its content does not match its hash"
        try:
            body = BODY.validate_json(text)
        except ValidationError:
            yield "its body cannot be read"
            return
        if body.kind != kind:
            yield f"its column kind says {kind}, its body {body.kind}"
        if searchable_text(body) != (search_text or ""):
            yield "its text for the search is not the text of its body"
        named = {name: ref.sha256 for name, ref in array_refs(body)}
        listed = dict(
            self.connection.execute(
                "SELECT name, sha256 FROM event_arrays WHERE event_id = ?", (event_id,)
            ).fetchall()
        )
        if named != listed:
            yield "its arrays are not those listed for it"
        for name, ref in array_refs(body):
            found = array_form(self.connection, ref.sha256)
            if found is None:
                yield f"its array {name} is missing"
            elif found != (ref.dtype, shape_text(ref.shape)):
                yield f"its array {name} has another dtype or shape"

    def _arrays(self, session_id: str | None) -> None:
        for sha256, dtype, shape, data in self.connection.execute(
            """
            SELECT sha256, dtype, shape, data FROM arrays WHERE ? IS NULL OR sha256 IN (
                SELECT event_arrays.sha256 FROM event_arrays
                JOIN events ON events.id = event_arrays.event_id WHERE events.session_id = ?
            ) ORDER BY sha256
            """,
            (session_id, session_id),
        ):
            self.arrays += 1
            if hashlib.sha256(f"{dtype}{shape}".encode() + bytes(data)).hexdigest() != sha256:
                self._add(session_id, None, f"the array {sha256[:12]}… does not match its hash")
