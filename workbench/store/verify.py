"""Checking a session file: every hash is derived again from what it is a hash of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from workbench.store.arrays import array_refs
from workbench.store.checking import array_faults, check_event, session_faults
from workbench.store.errors import StoreError, translated
from workbench.store.heads import Expected, Head, HeadError, kept_heads
from workbench.store.packing import legible_part
from workbench.store.rows import COLUMNS, array_form
from workbench.store.schema import compare_shape, shape_text
from workbench.store.search import TOKENIZER, searchable_text


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was recorded; session and seq are None if it is of the file."""

    session_id: str | None
    seq: int | None
    what: str

    def __str__(self) -> str:
        """The place of the problem, then the problem."""
        place = [] if self.session_id is None else [f"session {self.session_id}"]
        if self.seq is not None:
            place.append(f"event {self.seq}")
        return f"{', '.join(place) or 'file'}: {self.what}"


@dataclass(frozen=True)
class VerifyReport:
    """The counts of what was checked, and every problem found.

    ``heads`` gives the head of each session. A chain cannot show by itself that it once was longer
    or that all of it was written anew; ``known`` gives the last head of each session that is known
    from elsewhere and that the session still has, see `heads`.
    """

    path: Path
    events: int
    arrays: int
    heads: dict[str, Head]
    known: dict[str, Expected]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


def verify_file(
    connection: sqlite3.Connection,
    path: Path,
    session_id: str | None,
    expected: Iterable[Expected] = (),
) -> VerifyReport:
    """Check the file and all of its sessions, or only one of them; see `SessionLog.verify`."""
    check = _Check(connection)
    with translated(path, "verifying it"):
        # One view of the file, though others may append to it meanwhile.
        connection.execute("BEGIN")
        try:
            check.run(session_id)
            check.compare_with_kept(session_id, path)
            check.compare(session_id, expected)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return VerifyReport(
        path, check.events, check.arrays, check.heads, check.known, tuple(check.problems)
    )


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `StoreError` if SQLite's quick check of the file finds it damaged."""
    (message,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if message != "ok":
        raise StoreError(
            f"{path} is damaged: {message}",
            "Ask for it again, or for the session as JSON lines (`adl-workbench export jsonl`).",
        )


class _Check:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.problems: list[Problem] = []
        self.heads: dict[str, Head] = {}
        self.known: dict[str, Expected] = {}
        self.events = 0
        self.arrays = 0

    def run(self, session_id: str | None) -> None:
        self._file()
        if session_id is None:
            rows = self.connection.execute(
                "SELECT id FROM sessions UNION SELECT session_id FROM events ORDER BY 1"
            ).fetchall()
            sessions = [row[0] for row in rows]
        else:
            sessions = [session_id]
        self._nothing_missing()
        for session in sessions:
            self._session(session)
        self._arrays(session_id)

    def compare_with_kept(self, session_id: str | None, path: Path) -> None:
        """Compare with the heads beside the database; that they cannot be read is a problem, too."""
        try:
            kept = kept_heads(path)
        except HeadError as exc:
            self._add(None, None, exc.message)
        else:
            self.compare(session_id, self.still_binding(kept))

    def still_binding(self, kept: Iterable[Expected]) -> Iterator[Expected]:
        """The heads but those of before their session was deleted: it may have been imported anew."""
        deleted = self._deleted()
        for head in kept:
            if not head.at or head.at > deleted.get(head.session_id, ""):
                yield head

    def _deleted(self) -> dict[str, str]:
        """The time at which each deleted session was deleted, the last of several."""
        return dict(
            self.connection.execute(
                "SELECT session_id, max(deleted_at) FROM deleted_sessions GROUP BY session_id"
            )
        )

    def compare(self, session_id: str | None, expected: Iterable[Expected]) -> None:
        """Compare with heads that are known from elsewhere; those of deleted sessions are past."""
        deleted = self._deleted()
        for head in expected:
            if session_id not in {None, head.session_id}:
                continue
            now = self.heads.get(head.session_id)
            if now is None:
                if head.session_id not in deleted:
                    self._add(
                        head.session_id,
                        None,
                        f"it is gone: {head.source} knows it with {head.head}",
                    )
            elif now.seq < head.head.seq:
                self._add(
                    head.session_id,
                    None,
                    f"its tail was cut: it ends with event {now.seq}, and {head.source} knows it "
                    f"with {head.head}",
                )
            elif self._hash_of(head.session_id, head.head.seq) != head.head.sha256:
                self._add(
                    head.session_id,
                    head.head.seq,
                    f"it is not the event that {head.source} knows, {head.head}",
                )
            elif (
                head.session_id not in self.known
                or self.known[head.session_id].head.seq <= head.head.seq
            ):
                self.known[head.session_id] = head

    def _hash_of(self, session_id: str, seq: int) -> object:
        row = self.connection.execute(
            "SELECT sha256 FROM events WHERE session_id = ? AND seq = ?", (session_id, seq)
        ).fetchone()
        return row and row[0]

    def _add(self, session_id: str | None, seq: int | None, what: str) -> None:
        self.problems.append(Problem(session_id, seq, what))

    def _file(self) -> None:
        for (message,) in self.connection.execute("PRAGMA integrity_check"):
            if message != "ok":
                self._add(None, None, f"SQLite's integrity check: {message}")
        for table, rowid, parent, _ in self.connection.execute("PRAGMA foreign_key_check"):
            self._add(None, None, f"row {rowid} of {table} names a row of {parent} that is gone")
        for what in compare_shape(self.connection).problems():
            self._add(None, None, what)
        self._index()

    def _index(self) -> None:
        """The index of the search against one that is made anew of the texts.

        FTS5's own check writes, which a reader cannot.
        """
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.execute(
                f"CREATE VIRTUAL TABLE texts USING fts5 (text, content='', tokenize='{TOKENIZER}')"
            )
            fresh.executemany(
                "INSERT INTO texts (rowid, text) VALUES (?, ?)",
                self.connection.execute("SELECT event_id, CAST(text AS TEXT) FROM event_text"),
            )
            fresh.execute("CREATE VIRTUAL TABLE words USING fts5vocab (texts, instance)")
            expected = fresh.execute("SELECT term, doc, offset FROM words")
            # A temporary table of this connection alone.
            query_only = self.connection.execute("PRAGMA query_only").fetchone()[0]
            self.connection.execute("PRAGMA query_only = OFF")
            try:
                self.connection.execute(
                    "CREATE VIRTUAL TABLE temp.kept_words "
                    "USING fts5vocab (main, event_text_fts, instance)"
                )
                found = self.connection.execute("SELECT term, doc, offset FROM temp.kept_words")
                differs = any(kept != made for kept, made in zip_longest(found, expected))
                found.close()
                if differs:
                    self._add(None, None, "the search index is not that of the texts")
                self.connection.execute("DROP TABLE temp.kept_words")
            except sqlite3.DatabaseError as error:
                self._add(None, None, f"the search index cannot be read: {error}")
            finally:
                self.connection.execute(f"PRAGMA query_only = {query_only}")

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
        else:
            first = self.connection.execute(
                "SELECT at FROM events WHERE session_id = ? ORDER BY seq LIMIT 1", (session_id,)
            ).fetchone()
            for what in session_faults(session_id, created[0], first and first[0]):
                self._add(session_id, None, what)
        expected_seq, previous = 1, ""
        for row in self.connection.execute(
            f"""
            SELECT {COLUMNS}, events.body, packed, events.id, event_text.text
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
            self.heads[session_id] = Head(seq, sha256)
        if session_id not in self.heads:
            self._add(session_id, None, "it has no events")

    def _event(self, row: tuple[Any, ...]) -> Iterator[str]:
        *columns, legible, packed, event_id, search_text = row
        body, faults = check_event(columns)
        yield from faults
        if body is None:
            return
        if packed is not None and legible != legible_part(columns[7]):
            yield "what is legible of its body is not in the body"
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
            for what in array_faults(sha256, dtype, shape, data):
                self._add(session_id, None, f"the array {str(sha256)[:12]}…: {what}")
