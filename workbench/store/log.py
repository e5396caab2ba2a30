"""The session log: the one door to a session file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.paths import expanded
from adl.words import number_of
from workbench.store import following, search, transfer, verify
from workbench.store.announce import Announcer, Subscriber
from workbench.store.append import (
    Sitting,
    append_drafts,
    check_last,
    check_open,
    new_session_id,
    session_start,
)
from workbench.store.arrays import ArrayRef
from workbench.store.connection import BUSY_TIMEOUT, immediate
from workbench.store.delete import delete_session
from workbench.store.errors import StoreError, translated
from workbench.store.events import (
    SYSTEM,
    Actor,
    Event,
    EventBody,
    SessionClosed,
    SessionStarted,
)
from workbench.store.heads import Expected, Head, keep_heads
from workbench.store.overview import SessionOverview, choose, read_overviews
from workbench.store.rows import COLUMNS, Draft, Entry, actor_of, event_of, read_array
from workbench.store.search import SearchHit
from workbench.store.session_file import SessionFile


class SessionLog:
    """Sessions in one SQLite file: append, read, follow, search, verify.

    May be used from several threads, and by several processes on one file, see `SessionFile`. No
    read transaction stays open between two chunks, so a slow reader does not make the write-ahead
    log grow.
    """

    def __init__(self, path: Path, *, read_only: bool, busy_timeout: float) -> None:
        self._path = path
        self._file = SessionFile(path, read_only=read_only, busy_timeout=busy_timeout)
        self._announcer = Announcer()
        # Of the sessions recorded in here, until they are kept in the second file.
        self._heads: dict[str, Head] = {}

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        read_only: bool = False,
        foreign: bool = False,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Self:
        """Open a session file; make it, and the folders above it, unless ``read_only``.

        A file that may be someone else's (``foreign``, with ``read_only``) is looked through for
        damage first.
        ``busy_timeout`` is how long to wait for another process's transaction, in seconds. Raises
        `StoreError` if the file is missing (read-only), is not a session file, has a newer schema,
        or cannot be made.
        """
        log = cls(expanded(path), read_only=read_only, busy_timeout=busy_timeout)
        log._file.open(foreign=foreign)
        return log

    @property
    def path(self) -> Path:
        """The session file."""
        return self._path

    @property
    def read_only(self) -> bool:
        """True if nothing can be appended."""
        return self._file.read_only

    @property
    def journal_warning(self) -> str | None:
        """A warning for the person if the file's folder cannot do write-ahead logging, else None."""
        return self._file.journal_warning

    # --- writing ----------------------------------------------------------------------------

    def start_session(
        self,
        name: str,
        environment: Mapping[str, Any] | None = None,
        actor: Actor = SYSTEM,
        *,
        parent: tuple[str, int] | None = None,
        then: Iterable[Entry] = (),
    ) -> str:
        """Begin a session and return its id, such as ``20261121-k3f9x2``.

        ``parent`` is the (session id, seq) of the event from which this session branches, and
        ``then`` what is recorded in it in the same transaction.
        """
        drafts = [Draft(Entry(session_start(name, environment, parent), actor)), *map(Draft, then)]
        with self._transaction("starting a session") as (connection, done):
            session_id = new_session_id(connection)
            append_drafts(connection, self._path, session_id, Head(0, ""), drafts, done)
        return session_id

    def branch_session(
        self,
        parent: tuple[str, int],
        name: str,
        environment: Mapping[str, Any],
        actor: Actor,
        then: Iterable[Entry] = (),
    ) -> str:
        """Begin a session with another's events up to a seq, in one transaction; return its id.

        ``parent`` is the (session id, seq) of the last of them. They keep their numbers and bodies
        but for the first, and get times and hashes of their own; ``then`` comes after them. The
        copies are not announced.
        """
        first = Draft(Entry(session_start(name, environment, parent), actor))
        drafts = [Draft(entry) for entry in then]
        with self._transaction("branching a session") as (connection, done):
            if self._head(connection, parent[0]) is None:
                raise self._unknown(parent[0])
            session_id = new_session_id(connection)
            head = append_drafts(connection, self._path, session_id, Head(0, ""), [first], done)
            head = transfer.copy_events(connection, parent, session_id, head)
            head = append_drafts(connection, self._path, session_id, head, drafts, done)
        return session_id

    def append(
        self,
        session_id: str,
        body: EventBody,
        *,
        actor: Actor = SYSTEM,
        operation_id: str | None = None,
        arrays: Sequence[np.ndarray] = (),
    ) -> Event:
        """Commit one event, with the arrays that its body names, then announce and return it.

        When this returns, the event is on the disk. When it raises `StoreError`, nothing of it is.
        """
        return self.append_many(session_id, [Entry(body, actor, operation_id, arrays)])[0]

    def append_many(
        self,
        session_id: str,
        entries: Iterable[Entry],
        *,
        sitting: Sitting | None = None,
        after: int | None = None,
    ) -> list[Event]:
        """Commit several events in one transaction, all or none, then announce them.

        Those of a ``sitting`` raise `SessionOver` behind its end, whichever process recorded that.
        Those that rest on everything up to event ``after`` raise `SessionMoved` behind a later one.
        """
        drafts = [Draft(entry) for entry in entries]
        for draft in drafts:
            if isinstance(draft.body, SessionStarted):
                raise StoreError(
                    f"session {session_id} has started already",
                    "Record `session_continued`, or start a session of its own.",
                )
        with self._transaction("recording an event") as (connection, done):
            head = self._head(connection, session_id)
            if head is None:
                raise self._unknown(session_id)
            if sitting is not None:
                closing = any(isinstance(draft.body, SessionClosed) for draft in drafts)
                check_open(connection, session_id, sitting, closing=closing)
            if after is not None:
                check_last(head[0], session_id, after)
            append_drafts(connection, self._path, session_id, Head(*head), drafts, done)
        return done

    def delete_session(self, session_id: str, *, confirm: str) -> None:
        """Delete a session for good: events, texts, and arrays that no other session names.

        ``confirm`` must be the session's name as it is now. That there was such a session, and of
        how many events, stays recorded. Raises `StoreError`, with nothing deleted.
        """
        with self._transaction("deleting a session") as (connection, _):
            delete_session(connection, self._path, session_id, confirm)
        self._heads.pop(session_id, None)

    def vacuum(self) -> tuple[int, int]:
        """Give back the space of what was deleted; return the size before and after, in bytes.

        SQLite copies the file and puts the copy in its place in one transaction, so a process that
        is killed meanwhile leaves the file as it was. Raises `StoreError` if another process is
        writing, or the disk has no room for the copy.
        """
        with self._file.writing() as writer, translated(self._path, "giving space back"):
            before = self._file.size()
            writer.execute("VACUUM")
            # The copy stands in the write-ahead log until then.
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before, self._file.size()

    def import_session(
        self, from_path: Path | str, session: str | None = None, *, continuing: bool = False
    ) -> str:
        """Copy a session of another file into this one, events and hashes as they are.

        ``session`` says which, as in `find_session`; it may be left out if there is only one.
        With ``continuing`` a session that is here already gets the events that it lacks.
        Returns its id. Raises `StoreError` if the other file does not verify, or the session is
        here already, or does not begin with what is here.
        """
        with SessionLog.open(
            from_path, read_only=True, busy_timeout=self._file.busy_timeout
        ) as other:
            overviews = other.sessions()
            if session is None and len(overviews) > 1:
                raise StoreError(
                    f"{other.path} has {number_of(len(overviews), 'session')}",
                    "Say which one to import.",
                )
            found = choose(overviews, session or "last", other.path)
            with (
                other._file.reading() as source,
                self.importing(other.path, continuing=continuing) as intake,
            ):
                # One view of the source, though another process may append to it meanwhile.
                source.execute("BEGIN")
                try:
                    verify.check_pages(source, other.path)
                    transfer.take_session(source, intake, found.id)
                finally:
                    source.execute("ROLLBACK")
        return found.id

    @contextmanager
    def importing(self, source: object, *, continuing: bool = False) -> Iterator[transfer.Intake]:
        """Take one session in: all of it once it verified to its end, or nothing of it.

        ``source`` is where it comes from, for the errors; ``continuing`` as in `import_session`.
        """
        with self._transaction("importing a session") as (connection, _):
            intake = transfer.Intake(connection, self._path, source, continuing=continuing)
            yield intake
        self._heads[intake.session_id] = intake.head

    # --- reading ----------------------------------------------------------------------------

    def events(
        self, session_id: str, after_seq: int = 0, kinds: Iterable[str] | None = None
    ) -> Iterator[Event]:
        """Read the session's events in order, as far as they are committed when it gets there.

        ``kinds`` keeps only events of these kinds. Raises `StoreError` for an unknown session.
        """
        with self._file.reading() as connection:
            if self._head(connection, session_id) is None:
                raise self._unknown(session_id)
        return self._stream(session_id, after_seq, None if kinds is None else tuple(kinds))

    def everywhere(self, kinds: Sequence[str]) -> list[Event]:
        """Events of these kinds in every session, in the order they were recorded.

        All at once: for kinds of which there are few.
        """
        places = ", ".join("?" * len(kinds))
        with self._file.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE kind IN ({places}) ORDER BY id", (*kinds,)
            ).fetchall()
        return [event_of(row, self._path) for row in rows]

    def event(self, session_id: str, seq: int) -> Event:
        """Read one event. Raises `StoreError` if the session has none of that number."""
        with self._file.reading() as connection:
            row = connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE session_id = ? AND seq = ?", (session_id, seq)
            ).fetchone()
        if row is None:
            raise StoreError(
                f"session {session_id} in {self._path} has no event {seq}",
                f"`adl-workbench sessions show {session_id}` lists those that it has.",
            )
        return event_of(row, self._path)

    def actors(self, session_id: str) -> list[Actor]:
        """Everyone who did anything in the session."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT actor_kind, actor_name FROM events WHERE session_id = ?",
                (session_id,),
            ).fetchall()
        return [actor_of(*row) for row in rows]

    def follow(
        self,
        session_id: str,
        after_seq: int = 0,
        *,
        stop: ShouldStop = never_stop,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Read the session's events, then wait for more, from this or any other process.

        Ends when ``stop`` answers True (asked at each event and about every 0.1 s), when no event
        came for ``timeout`` seconds, or when the log is closed.
        """
        with self._file.reading() as connection:
            if self._head(connection, session_id) is None:
                raise self._unknown(session_id)
        return self._follow(session_id, after_seq, stop, timeout)

    def array(self, ref: ArrayRef) -> np.ndarray:
        """Read an array (not writable) and check its content against its hash.

        Raises `StoreError` if it is not in the file or was changed there.
        """
        with self._file.reading() as connection:
            return read_array(connection, self._path, ref)

    def sessions(self) -> list[SessionOverview]:
        """Every session of the file, the one written to last first."""
        with self._file.reading() as connection:
            return read_overviews(connection)

    def find_session(self, wanted: str) -> SessionOverview:
        """Find a session by its id, the start of its id, its name, or the word ``last``.

        ``last`` is the one written to last. Raises `StoreError` if none or several fit.
        """
        return choose(self.sessions(), wanted, self._path)

    def search(
        self, words: str, limit: int = 50, *, session_id: str | None = None
    ) -> list[SearchHit]:
        """Find events by the words in their texts, the best matches first.

        All words must be there, each may be the start of a longer one; "words in quotes" stand
        together. Anything may be typed: nothing in it is taken as query syntax.
        """
        with self._file.reading() as connection:
            return search.find_events(connection, words, limit, session_id)

    def matching(self, words: str, session_id: str, *, after: int = 0) -> list[int]:
        """Return the numbers of a session's events whose texts have the words, as `search` reads them.

        In order, and only those after event ``after``.
        """
        with self._file.reading() as connection:
            return search.matching_seqs(connection, words, session_id, after)

    def verify(
        self, session_id: str | None = None, expected: Iterable[Expected] = ()
    ) -> verify.VerifyReport:
        """Check every hash, chain, array and text of the file, or those of one session.

        Also against the heads kept beside the file, and those ``expected``.
        """
        with self._file.reading() as connection:
            if session_id is not None and self._head(connection, session_id) is None:
                raise self._unknown(session_id)
            return verify.verify_file(connection, self._path, session_id, expected)

    def export_session(self, session_id: str, to_path: Path | str) -> Path:
        """Copy a session with its arrays into a new session file, events and hashes as they are.

        The new file is complete or not there at all. Raises `StoreError` if it exists already.
        """
        target = expanded(to_path)
        with self._file.reading() as source:
            if self._head(source, session_id) is None:
                raise self._unknown(session_id)
            transfer.export_session(source, session_id, target)
        return target

    # --- the log as a whole -----------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with every event that this object commits, after it is committed.

        It is called in the order of the commits, one at a time, on a thread that appends, and may
        append itself. Its exceptions go to the program's log. Events of other processes come
        through `follow`. Returns the function that ends the subscription.
        """
        return self._announcer.subscribe(subscriber)

    def close(self) -> None:
        """Write everything into the one file and let go of it; may be called twice.

        The heads of what was recorded go into a second file, see `heads`.
        """
        with self._file.closing():
            heads, self._heads = self._heads, {}
            if heads:
                keep_heads(self._path, heads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[tuple[sqlite3.Connection, list[Event]]]:
        """One transaction; the events put into the list are announced once it is committed."""
        done: list[Event] = []
        with self._file.writing() as connection:
            with immediate(connection, self._path, doing):
                yield connection, done
            for event in done:
                self._heads[event.session_id] = Head(event.seq, event.sha256)
            self._announcer.enqueue(done)
        self._announcer.announce()

    def _unknown(self, session_id: str) -> StoreError:
        return StoreError(
            f"there is no session {session_id} in {self._path}",
            "`adl-workbench sessions list` shows those that are.",
        )

    @staticmethod
    def _head(connection: sqlite3.Connection, session_id: str) -> tuple[int, str] | None:
        """The seq and hash of the session's last event; None if there is no such session."""
        row: tuple[int, str] | None = connection.execute(
            "SELECT seq, sha256 FROM events WHERE session_id = ? ORDER BY seq DESC LIMIT 1",
            (session_id,),
        ).fetchone()
        return row

    def _stream(
        self, session_id: str, after_seq: int, kinds: tuple[str, ...] | None
    ) -> Iterator[Event]:
        while True:
            with self._file.reading() as connection:
                rows = following.read_chunk(connection, session_id, after_seq, kinds)
            for row in rows:
                yield event_of(row, self._path)
            if len(rows) < following.CHUNK:
                return
            after_seq = rows[-1][1]

    def _follow(
        self, session_id: str, after_seq: int, stop: ShouldStop, timeout: float | None
    ) -> Iterator[Event]:
        woken = threading.Event()
        unsubscribe = self.subscribe(lambda _: woken.set())
        # A connection of its own: data_version tells of changes since the same one looked last.
        connection = self._file.connect()
        try:
            yield from following.follow_events(
                connection,
                self._path,
                session_id,
                after_seq,
                stop=lambda: self._file.is_closed or stop(),
                woken=woken,
                timeout=timeout,
            )
        finally:
            unsubscribe()
            connection.close()
