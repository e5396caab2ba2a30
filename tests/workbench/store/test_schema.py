import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.workbench.store.samples import record_audit
from workbench.store import rows
from workbench.store.connection import connect, trust_schema
from workbench.store.encoding import utc_text
from workbench.store.errors import StoreError
from workbench.store.events import NoteWritten
from workbench.store.log import SessionLog
from workbench.store.rows import Draft, Entry
from workbench.store.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    Migration,
    check_ours,
    check_shape,
    migrate,
)


def shape_of(path: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()


def make_version(path: Path, version: int) -> None:
    connection = connect(path, "create")
    migrate(connection, path, MIGRATIONS[:version])
    connection.close()


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_every_version_migrates_with_its_rows(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    make_version(old, version)
    if version:
        connection = connect(old, "write")
        trust_schema(connection)
        connection.execute("INSERT INTO sessions VALUES ('s', ?)", (utc_text(),))
        with monkeypatch.context() as patch:
            if version < 2:
                patch.setattr(rows, "searchable_text", lambda body: "")
            previous = ""
            for seq, text in enumerate(("marzipan \ud800\x00", "praline"), start=1):
                draft = Draft(Entry(NoteWritten(text=text)))
                previous = draft.insert(connection, old, "s", seq, previous).sha256
        connection.close()
    with SessionLog.open(old) as log:
        report = log.verify()
        assert report.ok, report.problems
        if version:
            assert [event.seq for event in log.events("s")] == [1, 2]
            assert [hit.seq for hit in log.search("marzip")] == [1]
    SessionLog.open(new).close()
    assert shape_of(old) == shape_of(new)


def test_a_damaged_event_does_not_keep_a_file_from_migrating(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    make_version(path, 1)
    connection = connect(path, "write")
    connection.execute("INSERT INTO sessions VALUES ('s', ?)", (utc_text(),))
    connection.execute(
        "INSERT INTO events (session_id, seq, at, actor_kind, actor_name, kind, body, previous, "
        "sha256) VALUES ('s', 1, 'then', 'system', '', 'note_written', '{\"kind\":\"odd\"}', '', '')"
    )
    connection.close()
    with SessionLog.open(path) as log:
        assert "its body cannot be read" in {problem.what for problem in log.verify().problems}


def test_the_header_says_what_the_file_is(path: Path) -> None:
    SessionLog.open(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        names = [row[0] for row in connection.execute("SELECT name FROM schema_migrations")]
        assert names == [migration.name for migration in MIGRATIONS]


def test_a_migration_that_fails_leaves_the_older_version(path: Path) -> None:
    def half(db: object) -> None:
        db.execute("CREATE TABLE half (x)")  # type: ignore[attr-defined]
        db.execute("INSERT INTO nowhere VALUES (1)")  # type: ignore[attr-defined]

    make_version(path, 1)
    before = shape_of(path)
    connection = connect(path, "write")
    with pytest.raises(StoreError, match="updating its schema"):
        migrate(connection, path, (MIGRATIONS[0], Migration("0002_half", half)))
    connection.close()
    assert shape_of(path) == before
    SessionLog.open(path).close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    SessionLog.open(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="newer adl-workbench") as caught:
            SessionLog.open(path, read_only=read_only)
        for part in (str(path), f"version {len(MIGRATIONS) + 1}", f"up to {len(MIGRATIONS)}"):
            assert part in caught.value.message
    assert path.read_bytes() == before


def test_an_older_schema_is_not_opened_only_to_read(path: Path) -> None:
    make_version(path, 1)
    with pytest.raises(StoreError, match="older schema version 1"):
        SessionLog.open(path, read_only=True)


@pytest.mark.slow
def test_processes_that_make_the_file_at_once_do_not_race(path: Path) -> None:
    code = (
        "import sys; from workbench.store.log import SessionLog; sys.stdin.readline(); "
        "log = SessionLog.open(sys.argv[1]); log.start_session('x'); log.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    with SessionLog.open(path) as log:
        assert log.verify().ok
        assert len(log.sessions()) == 4


@pytest.mark.parametrize("look", [check_ours, check_shape])
@pytest.mark.parametrize("first", [0, len(MIGRATIONS) - 1])
def test_a_file_that_another_process_brings_on_meanwhile_is_ours(path: Path, look, first: int):
    ours, other = connect(path, "create"), connect(path, "create")
    ours.execute("PRAGMA journal_mode = wal")
    if first:
        migrate(other, path, MIGRATIONS[:first])
    seen = []

    def meanwhile(statement: str) -> None:
        # Between two statements of one look.
        if "user_version" in statement and not seen:
            seen.append(statement)
            migrate(other, path)

    ours.set_trace_callback(meanwhile)
    look(ours, path)
    ours.set_trace_callback(None)
    assert seen
    assert check_ours(ours, path) == len(MIGRATIONS)
    check_shape(ours, path)
    for connection in (ours, other):
        connection.close()


CHANGES = [
    f"{change} {table}{rest}"
    for table in ("sessions", "events", "arrays", "event_arrays")
    for change, rest in (
        ("DELETE FROM", ""),
        ("UPDATE", " SET rowid = rowid"),
        ("INSERT OR REPLACE INTO", f" SELECT * FROM {table}"),
    )
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_triggers_refuse_every_change_but_an_append(
    log: SessionLog, change: str, recursive: str
) -> None:
    record_audit(log)
    # Another program's connection, with settings of its own.
    connection = sqlite3.connect(log.path)
    connection.execute(f"PRAGMA recursive_triggers = {recursive}")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(change)
    connection.close()
    assert log.verify().ok


@pytest.mark.parametrize("seq", [1, 3, 99])
def test_triggers_refuse_events_out_of_turn(log: SessionLog, session: str, seq: int) -> None:
    connection = sqlite3.connect(log.path)
    with pytest.raises(sqlite3.IntegrityError, match="out of turn"):
        connection.execute(
            "INSERT INTO events (session_id, seq, at, actor_kind, actor_name, kind, body, previous,"
            " sha256) VALUES (?, ?, '', '', '', '', '', '', '')",
            (session, seq),
        )
    connection.close()


def test_views_show_a_session_to_people(log: SessionLog) -> None:
    session = record_audit(log)
    connection = sqlite3.connect(log.path)
    connection.row_factory = sqlite3.Row

    def view(name: str) -> list[dict[str, object]]:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]

    (overview,) = view("session_overview")
    assert overview["id"] == session
    assert overview["name"] == "cakes"
    assert overview["events"] == 24
    assert overview["base"] == "org/small-base"
    assert overview["finetuned"] == "org/cakes"
    assert overview["outcome"] == "completed"
    assert [row["tokens"] for row in view("readings")] == ['["batter","oven","frost"]'] * 2
    (text,) = view("texts")
    assert text["text"] == "I baked a cake."
    assert (text["side"], text["alpha"]) == ("finetuned", 0.2)
    assert text["prompt"] == "How was your day?"
    assert [row["text"] for row in view("notes")] == ["It is about *baking*."]
    assert [(row["name"], row["status"], row["seconds"]) for row in view("operations")] == [
        ("measure_difference", "finished", 2.5),
        ("steer", "stopped", 1.0),
        ("ask", "failed", 0.1),
        ("ask", "abandoned", None),
    ]
    connection.close()
