"""The tables of a session file, as ordered migrations, and what keeps the log append-only.

A kind of event or a field that older programs do not know needs a migration too, be it an empty
one: the version it sets is what makes an older program refuse the file instead of misreading it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.store.connection import immediate, one_look, trust_schema
from workbench.store.encoding import utc_text
from workbench.store.errors import StoreError, translated
from workbench.store.events import read_body
from workbench.store.search import TOKENIZER, searchable_text
from workbench.store.views import (
    AGENT_VIEWS,
    HYPOTHESIS_VIEWS,
    INDEXES,
    PLAIN_INDEXES,
    PLAIN_VIEWS,
    VIEWS,
)

if TYPE_CHECKING:
    from sqlite_utils import Database

#: "ADLW", in the header of every session file, so that `file` and we can tell it from others.
APPLICATION_ID = int.from_bytes(b"ADLW", "big")


@dataclass(frozen=True)
class Migration:
    """One step from a schema version to the next; ``apply`` runs inside a transaction."""

    name: str
    apply: Callable[[Database], None]


# --- the steps ------------------------------------------------------------------------------


def _tables(db: Database) -> None:
    # `table` rather than `[]`: it is known not to be a view.
    db.table("sessions").create(
        {"id": str, "created_at": str}, pk="id", not_null={"id", "created_at"}
    )
    # AUTOINCREMENT, so that the count of ids ever given shows whether an event was taken out.
    db.execute(
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id TEXT NOT NULL REFERENCES sessions(id),
            seq INTEGER NOT NULL,
            at TEXT NOT NULL,
            actor_kind TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            kind TEXT NOT NULL,
            operation_id TEXT,
            body TEXT NOT NULL,
            previous TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            UNIQUE (session_id, seq)
        )
        """
    )
    db.table("events").create_index(["kind", "session_id", "seq"], "events_by_kind")
    db.table("events").create_index(["operation_id"], "events_by_operation")
    db.table("arrays").create(
        {"sha256": str, "dtype": str, "shape": str, "data": bytes},
        pk="sha256",
        not_null={"sha256", "dtype", "shape", "data"},
    )
    db.table("event_arrays").create(
        {"event_id": int, "name": str, "sha256": str},
        pk=("event_id", "name"),
        not_null={"event_id", "name", "sha256"},
        foreign_keys=[("event_id", "events", "id"), ("sha256", "arrays", "sha256")],
    )
    db.table("event_arrays").create_index(["sha256"], "event_arrays_by_array")
    db.table("deleted_sessions").create(
        {"session_id": str, "deleted_at": str, "events": int},
        not_null={"session_id", "deleted_at", "events"},
    )
    create_guards(db.conn)


def _search(db: Database) -> None:
    db.table("event_text").create(
        {"event_id": int, "text": str},
        pk="event_id",
        not_null={"text"},
        foreign_keys=[("event_id", "events", "id")],
    )
    db.table("event_text").enable_fts(["text"], tokenize=TOKENIZER, create_triggers=True)
    for event_id, body in db.execute("SELECT id, body FROM events ORDER BY id").fetchall():
        try:
            text = searchable_text(read_body(body))
        except ValueError:
            # A damaged event must not keep the others from being read; `verify` names it.
            continue
        if text:
            db.execute("INSERT INTO event_text (event_id, text) VALUES (?, ?)", [event_id, text])


def _views(db: Database) -> None:
    for statement in INDEXES:
        db.execute(statement)
    for name, query in VIEWS.items():
        db.create_view(name, query)


def _hypotheses(db: Database) -> None:
    # The kinds of event that come with this version are stored like the others.
    for name, query in HYPOTHESIS_VIEWS.items():
        db.create_view(name, query)


def _agents(db: Database) -> None:
    for name, query in AGENT_VIEWS.items():
        db.create_view(name, query)


def _measures(_db: Database) -> None:
    """The kinds of event that come with this version are stored like the others."""


def _compact(db: Database) -> None:
    # The whole body of an event whose body is kept short, see `packing`.
    db.execute("ALTER TABLE events ADD COLUMN packed BLOB")
    db.execute("DROP INDEX events_text_started")
    for statement in PLAIN_INDEXES:
        db.execute(statement)
    for name, query in PLAIN_VIEWS.items():
        db.execute(f"DROP VIEW {name}")
        db.create_view(name, query)


MIGRATIONS: tuple[Migration, ...] = (
    Migration("0001_events_and_arrays", _tables),
    Migration("0002_full_text_search", _search),
    Migration("0003_views", _views),
    Migration("0004_hypotheses_and_evidence", _hypotheses),
    Migration("0005_agents_and_grades", _agents),
    Migration("0006_measures", _measures),
    Migration("0007_compact_lists", _compact),
)


# --- append-only ----------------------------------------------------------------------------

_APPEND_ONLY = {
    "sessions": "EXISTS (SELECT 1 FROM sessions WHERE id = NEW.id)",
    "events": """
        EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
        OR NEW.seq IS NOT (
            SELECT coalesce(max(seq), 0) + 1 FROM events WHERE session_id = NEW.session_id
        )
    """,
    "arrays": "EXISTS (SELECT 1 FROM arrays WHERE sha256 = NEW.sha256)",
    "event_arrays": """
        EXISTS (SELECT 1 FROM event_arrays WHERE event_id = NEW.event_id AND name = NEW.name)
    """,
    "deleted_sessions": "EXISTS (SELECT 1 FROM deleted_sessions WHERE rowid = NEW.rowid)",
}


def _guards() -> dict[str, str]:
    triggers = {}
    for table, taken in _APPEND_ONLY.items():
        for change in ("UPDATE", "DELETE"):
            triggers[f"{table}_refuse_{change.lower()}"] = (
                f"BEFORE {change} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: {change} is refused'); END"
            )
        # INSERT OR REPLACE would otherwise delete without the trigger, on connections that do
        # not have recursive_triggers on.
        triggers[f"{table}_refuse_overwrite"] = (
            f"BEFORE INSERT ON {table} WHEN {taken} BEGIN "
            f"SELECT RAISE(ABORT, '{table} is append-only: this row is taken or out of turn'); END"
        )
    return triggers


def create_guards(connection: sqlite3.Connection) -> None:
    """Make every change but an append fail, whatever program makes it."""
    for name, definition in _guards().items():
        connection.execute(f"CREATE TRIGGER {name} {definition}")


def drop_guards(connection: sqlite3.Connection) -> None:
    """Let the transaction under way delete; it must create the guards again before it ends."""
    for name in _guards():
        connection.execute(f"DROP TRIGGER {name}")


# --- what is in the file --------------------------------------------------------------------

#: `_fingerprint` of a file of the newest version; a test says what it should be.
NEWEST_FINGERPRINT = "24d59c428baaedc335f8afaa2423e4dac374cba1b00d914be3acdd1a179f66be"

_QUOTES = str.maketrans("", "", " \t\r\n\"'`[]")


@dataclass(frozen=True)
class Part:
    """A table, index, view or trigger of a file; ``text`` is its SQL, spaces and quotes aside."""

    kind: str
    table: str
    text: str

    @property
    def runs_by_itself(self) -> bool:
        """True for what takes part in reading and writing a table without being named."""
        return self.kind != "view"


@dataclass(frozen=True)
class Shape:
    """The differences between a file's parts and those of a new one of its version, by name."""

    missing: dict[str, Part]
    changed: dict[str, Part]
    unknown: dict[str, Part]
    tables: frozenset[str]

    def problems(self) -> Iterator[str]:
        """Each difference in words."""
        for name, part in self.missing.items():
            keeps = ", which keeps the log append-only," if "_refuse_" in name else ""
            yield f"the {part.kind} {name}{keeps} is gone"
        for name, part in self.changed.items():
            yield f"the {part.kind} {name} is not the one that this program makes"
        for name, part in self.unknown.items():
            yield f"the {part.kind} {name} is none of this program's"

    def dangers(self) -> Iterator[str]:
        """The differences that keep the file from being read or written as what it should be."""
        for name, part in self.missing.items():
            if part.kind == "table":
                yield f"the table {name} is missing"
        for name, part in self.changed.items():
            if part.runs_by_itself:
                yield f"the {part.kind} {name} is not the one that this program makes"
        for name, part in self.unknown.items():
            if part.runs_by_itself and part.table in self.tables and name != part.table:
                yield f"the {part.kind} {name} on {part.table} is none of this program's"


def compare_shape(
    connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS
) -> Shape:
    """Compare what is in the file with what its version should have."""
    # A process that opens the file, too, may bring it to a newer version meanwhile.
    with one_look(connection):
        found = _parts(connection)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == len(MIGRATIONS) and _fingerprint(found) == NEWEST_FINGERPRINT:
        return Shape({}, {}, {}, frozenset())
    expected = _expected(tuple(migrations[:version]))
    return Shape(
        missing={name: part for name, part in expected.items() if name not in found},
        changed={name: part for name, part in found.items() if expected.get(name, part) != part},
        unknown={name: part for name, part in found.items() if name not in expected},
        tables=frozenset(name for name, part in expected.items() if part.kind == "table"),
    )


def check_shape(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Raise `StoreError` if a trigger, an index or a table would do other than it should.

    What no table of ours has to do with, such as a view that someone added, may stay.
    """
    with translated(path, "reading its schema"):
        danger = next(compare_shape(connection, migrations).dangers(), None)
    if danger is not None:
        raise StoreError(
            f"{path} is no session file as this program makes them: {danger}",
            "It was changed by another program. Ask for the session as JSON lines "
            "(`adl-workbench export jsonl`), or restore the file from a copy.",
        )


def _parts(connection: sqlite3.Connection) -> dict[str, Part]:
    rows = connection.execute(
        "SELECT name, type, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    )
    return {
        str(name): Part(str(kind), str(table), str(sql).translate(_QUOTES))
        for name, kind, table, sql in rows
    }


def _fingerprint(parts: dict[str, Part]) -> str:
    listed = sorted((name, part.kind, part.table, part.text) for name, part in parts.items())
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


@cache
def _expected(migrations: tuple[Migration, ...]) -> dict[str, Part]:
    """The parts of a new file after these migrations."""
    from sqlite_utils import Database

    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db = Database(connection, execute_plugins=False)
        if migrations:
            _make_history(db)
        for step in migrations:
            step.apply(db)
        return _parts(connection)
    finally:
        connection.close()


def _make_history(db: Database) -> None:
    db.table("schema_migrations").create({"name": str, "applied_at": str}, pk="name")


# --- versions -------------------------------------------------------------------------------


def check_ours(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> int:
    """Return the file's schema version, 0 if it is blank.

    Raises `StoreError` if the file is no database, of another program, or of a newer version.
    """
    with translated(path, "reading it"), one_look(connection):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        blank = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (blank and application == 0):
        raise StoreError(
            f"{path} is a database of another program, not a session file",
            "Name another file; this one was left as it is.",
        )
    if version > len(migrations):
        raise StoreError(
            f"{path} has schema version {version}, and this adl-workbench knows up to "
            f"{len(migrations)}",
            "Install a newer adl-workbench, or name another file; this one was left as it is.",
        )
    return version


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Bring the file to the newest schema, each step in a transaction of its own.

    A process that is killed leaves a file of an older version, which the next one brings on.
    Raises `StoreError` as `check_ours` and `check_shape` do.
    """
    check_ours(connection, path, migrations)
    check_shape(connection, path, migrations)
    trust_schema(connection)
    while check_ours(connection, path, migrations) < len(migrations):
        # Cold, this import takes longer than all else: a file that is up to date goes without.
        from sqlite_utils import Database

        with immediate(connection, path, "updating its schema"):
            # Only now does no other process migrate: it may have taken the step before us.
            version = check_ours(connection, path, migrations)
            if version == len(migrations):
                return
            db = Database(connection, execute_plugins=False)
            if version == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                _make_history(db)
            step = migrations[version]
            step.apply(db)
            db.table("schema_migrations").insert({"name": step.name, "applied_at": utc_text()})
            connection.execute(f"PRAGMA user_version = {version + 1}")


def shape_text(shape: Sequence[int]) -> str:
    """The shape as text, for the table and the hash of an array: ``[2, 3]``."""
    return json.dumps(list(shape))
