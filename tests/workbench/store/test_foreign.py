"""Files of others: what is in them may have been made to do harm."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adl.errors import AdlError
from tests.workbench.store.samples import record_audit
from workbench.report.jsonl import LONGEST_LINE, export_jsonl, import_jsonl
from workbench.report.vectors import export_vectors
from workbench.store.connection import connect
from workbench.store.encoding import canonical_json, event_hash
from workbench.store.errors import StoreError
from workbench.store.events import SYSTEM
from workbench.store.ids import file_stem, is_session_id
from workbench.store.log import SessionLog
from workbench.store.schema import create_guards, drop_guards

AT = "2026-01-01T00:00:00.000000Z"


def chained(session_id: str, bodies: list[dict[str, Any]], **envelope: Any) -> list[dict[str, Any]]:
    """The lines of a session with whatever bodies, every hash right."""
    head = {
        "line": "session",
        "format": "adl-workbench session",
        "version": 1,
        "session_id": session_id,
        "created_at": AT,
    }
    lines, previous = [head], ""
    for seq, body in enumerate(bodies, start=1):
        fields = {"seq": seq, "at": AT, "operation_id": None} | envelope
        digest = event_hash(
            session_id=session_id,
            actor=SYSTEM,
            body_text=canonical_json(body),
            previous=previous,
            **fields,
        )
        line = {"session_id": session_id, "body": body, "previous": previous, "sha256": digest}
        lines.append(line | fields | {"line": "event", "actor": {"kind": "system", "name": ""}})
        previous = digest
    lines.append({"line": "end", "events": len(bodies), "sha256": previous})
    return lines


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(canonical_json(line) + "\n" for line in lines))
    return path


STARTED = {
    "kind": "session_started",
    "name": "n",
    "environment": {},
    "parent_session": None,
    "parent_seq": None,
}


def test_the_lines_made_here_are_a_session(log: SessionLog, tmp_path: Path) -> None:
    assert import_jsonl(log, written(tmp_path / "a.jsonl", chained("20260101-aaaaaa", [STARTED])))
    assert log.verify().ok


# --- ids ------------------------------------------------------------------------------------

PATHS = ["../victim/README", "/etc/passwd", "..", ".", "a/b", "a\\b", "", "a b", "-rf", "nul"]
PATHS += ["x" * 65, "a\n", "a\x00", "caf\u00e9", "a.b", "CON", "~"]


@pytest.mark.parametrize("session_id", PATHS)
def test_an_id_that_is_a_path_is_not_imported(
    log: SessionLog, tmp_path: Path, session_id: str
) -> None:
    assert not is_session_id(session_id)
    with pytest.raises(StoreError, match="no file is named by it"):
        file_stem(session_id)
    with pytest.raises(AdlError):
        import_jsonl(log, written(tmp_path / "a.jsonl", chained(session_id, [STARTED])))
    assert log.sessions() == []


@pytest.mark.parametrize("session_id", ["../victim/README", "a b"])
def test_an_id_that_is_a_path_does_not_verify_and_names_no_file(
    log: SessionLog, tmp_path: Path, session_id: str
) -> None:
    lines = chained(session_id, [STARTED])[1:-1]
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("INSERT INTO sessions VALUES (?, ?)", (session_id, AT))
        connection.executemany(
            "INSERT INTO events (session_id, seq, at, actor_kind, actor_name, kind, body, previous,"
            " sha256) VALUES (?, ?, ?, 'system', '', 'session_started', ?, ?, ?)",
            [
                (session_id, one["seq"], AT, canonical_json(one["body"]), "", one["sha256"])
                for one in lines
            ],
        )
    problems = log.verify(session_id).problems
    assert any("its id has not the form" in str(one) for one in problems), problems
    with (
        SessionLog.open(tmp_path / "other.db") as other,
        pytest.raises(StoreError, match="not the form"),
    ):
        other.import_session(log.path)


# --- what is in a line ----------------------------------------------------------------------


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


def line_with(text: str) -> Callable[[list[dict[str, Any]]], bytes]:
    """The file with the first event's body set to raw JSON."""

    def spoil(lines: list[dict[str, Any]]) -> bytes:
        one = canonical_json(lines[1] | {"body": "HERE"}).replace('"HERE"', text)
        texts = [canonical_json(lines[0]), one, canonical_json(lines[-1])]
        return "\n".join(texts).encode()

    return spoil


SPOILT: dict[str, tuple[Callable[[list[dict[str, Any]]], bytes], str]] = {
    "deep": (line_with(canonical_json(STARTED | {"environment": {"x": nested(200)}})), "nested"),
    "very deep": (line_with("[" * 5000 + "]" * 5000), "line 2"),
    "a number of 5000 digits": (line_with("9" * 5000), "line 2 is not JSON"),
    "NaN": (line_with('{"kind":NaN}'), "NaN is no number"),
    "Infinity": (line_with('{"kind":-Infinity}'), "Infinity is no number"),
    "a name twice": (line_with('{"kind":"note_written","text":"a","text":"b"}'), "twice"),
    "many values": (line_with("[" + "{}," * 900_000 + "{}]"), "more than 200000 values"),
    "many names": (
        line_with("{" + ",".join(f'"a{i}":1' for i in range(300_000)) + "}"),
        "more than 200000 values",
    ),
    "a seq beyond 64 bits": (
        lambda lines: written_bytes([lines[0], lines[1] | {"seq": 2**63}]),
        "line 2.*seq",
    ),
    "a seq that is none": (
        lambda lines: written_bytes([lines[0], lines[1] | {"seq": True}]),
        "line 2.*seq",
    ),
    "a time that is none": (
        lambda lines: written_bytes(chained("x", [STARTED], at="yesterday")),
        "its time is none",
    ),
    "no UTF-8": (lambda lines: b"\xff\xfe\n", "line 1 is not JSON"),
    "UTF-16": (lambda lines: canonical_json(lines[0]).encode("utf-16"), "line 1 is not JSON"),
    "a byte order mark": (lambda lines: b"\xef\xbb\xbf" + written_bytes(lines), "byte order mark"),
    "a long line": (lambda lines: b'"' + b"x" * (LONGEST_LINE + 9), "longer than 16 MiB"),
    "an event twice": (
        lambda lines: written_bytes([*lines[:2], lines[1]]),
        "event 2 is missing before it",
    ),
    "a second start": (
        lambda lines: written_bytes(chained("x", [STARTED, STARTED])),
        "starts with its first event",
    ),
}


def written_bytes(lines: list[dict[str, Any]]) -> bytes:
    return "".join(canonical_json(line) + "\n" for line in lines).encode()


@pytest.mark.parametrize("what", SPOILT)
def test_a_line_that_is_none_is_refused_by_its_number(
    log: SessionLog, tmp_path: Path, what: str
) -> None:
    spoil, message = SPOILT[what]
    file = tmp_path / "spoilt.jsonl"
    file.write_bytes(spoil(chained("20260101-aaaaaa", [STARTED])))
    with pytest.raises(AdlError, match=message):
        import_jsonl(log, file)
    assert log.sessions() == []
    assert log.verify().ok


@pytest.mark.slow
def test_refusing_a_line_takes_little_memory(tmp_path: Path) -> None:
    """In a process of its own: the peak of this one may be higher already."""
    files = []
    for number, (spoil, _message) in enumerate(SPOILT.values()):
        files.append(tmp_path / f"{number}.jsonl")
        files[-1].write_bytes(spoil(chained("20260101-aaaaaa", [STARTED])))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from adl.errors import AdlError\n"
        "from tests.peaks import peak_memory\n"
        "from workbench.report.jsonl import import_jsonl\n"
        "from workbench.store.log import SessionLog\n"
        "log = SessionLog.open(Path(sys.argv[1]))\n"
        "before = peak_memory()\n"
        "for file in sys.argv[2:]:\n"
        "    try:\n"
        "        import_jsonl(log, Path(file))\n"
        "    except AdlError:\n"
        "        print(peak_memory() - before, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s.db", *files],
        capture_output=True,
        text=True,
        check=True,
    )
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == len(SPOILT)
    # 34 MiB; without the limit on values 99 MiB.
    assert grown[-1] < 64 * 2**20, dict(zip(SPOILT, grown, strict=True))


def test_line_ends_of_other_systems_are_taken(log: SessionLog, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(written_bytes(chained("20260101-aaaaaa", [STARTED])).replace(b"\n", b"\r\n"))
    assert import_jsonl(log, file) == "20260101-aaaaaa"


def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused(
    log: SessionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    from workbench.report import jsonl

    monkeypatch.setattr(jsonl, "_SMALL", 2**20)
    line = canonical_json(STARTED | {"name": "x" * 5_000_000}).encode()
    lines = chained("20260101-aaaaaa", [STARTED | {"name": "x" * 5_000_000}])
    file = tmp_path / "bomb.jsonl.gz"
    file.write_bytes(gzip.compress(written_bytes(lines)))
    assert len(line) > 100 * file.stat().st_size
    with pytest.raises(AdlError, match="more than 100 times its size"):
        import_jsonl(log, file)


# --- what is no file ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["pipe", "socket", "device", "folder", "link to a pipe"])
def test_what_is_no_file_is_not_read(
    log: SessionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    place = tmp_path / "input"
    listening = socket.socket(socket.AF_UNIX)
    match what:
        case "pipe":
            os.mkfifo(place)
        case "socket":
            monkeypatch.chdir(tmp_path)  # the path of a socket is short
            listening.bind(place.name)
        case "device":
            place.symlink_to("/dev/zero")
        case "folder":
            place.mkdir()
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            place.symlink_to(tmp_path / "pipe")
    with closing(listening):
        for take in (lambda: import_jsonl(log, place), lambda: log.import_session(place)):
            with pytest.raises(AdlError, match="is a |cannot be read"):
                take()
        for read_only in (True, False):
            with pytest.raises(AdlError, match="is a "):
                SessionLog.open(place, read_only=read_only)


# --- modes ----------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Any:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize(("setting", "file", "folder"), [("1", 0o600, 0o700), ("0", 0o644, 0o755)])
def test_files_are_their_owners_alone_unless_the_umask_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, file: int, folder: int
) -> None:
    monkeypatch.setenv("ADL_WORKBENCH_PRIVATE_FILES", setting)
    home = tmp_path / "home" / "deep"
    with SessionLog.open(home / "sessions.db") as log:
        session = record_audit(log)
        beside = sorted(home.iterdir())
        assert {one.name for one in beside} >= {"sessions.db", "sessions.db-wal", "sessions.db-shm"}
        exports = tmp_path / "exports"
        export_jsonl(log, session, exports / "a.jsonl")
        export_jsonl(log, session, exports / "a.jsonl.gz")
        log.export_session(session, exports / "a.db")
        export_vectors(log, session, exports / "a.safetensors")
        for one in (*beside, *exports.iterdir()):
            assert mode(one) == file, one
        for one in (home, home.parent, exports):
            assert mode(one) == folder, one


# --- what is in a database ------------------------------------------------------------------


def test_a_connection_trusts_nothing_in_the_file(log: SessionLog) -> None:
    record_audit(log)
    with closing(connect(log.path, "read-only")) as connection:
        for pragma, value in (("trusted_schema", 0), ("cell_size_check", 1), ("mmap_size", 0)):
            found = connection.execute(f"PRAGMA {pragma}").fetchone()
            assert found in {(value,), None}, pragma


FORGED = {
    "a trigger": "CREATE TRIGGER gone AFTER INSERT ON events BEGIN DELETE FROM event_text; END",
    "a trigger of ours, changed": (
        "DROP TRIGGER events_refuse_update; CREATE TRIGGER events_refuse_update BEFORE UPDATE ON "
        "events BEGIN SELECT 1; END"
    ),
    "an index": "CREATE INDEX slow ON events (length(zeroblob(9999999)))",
    "a view in place of a table": (
        "ALTER TABLE event_arrays RENAME TO hidden; "
        "CREATE VIEW event_arrays AS SELECT * FROM hidden, (WITH RECURSIVE x(y) AS (SELECT 1 UNION "
        "ALL SELECT y + 1 FROM x) SELECT count(*) FROM x)"
    ),
    "a table without its rules": (
        "ALTER TABLE deleted_sessions RENAME TO hidden; "
        "CREATE TABLE deleted_sessions (session_id, deleted_at, events)"
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_file_with_something_of_others_at_its_tables_is_refused(
    log: SessionLog, tmp_path: Path, what: str
) -> None:
    foreign = log.export_session(record_audit(log), tmp_path / "foreign.db")
    with closing(sqlite3.connect(foreign, isolation_level=None)) as connection:
        for statement in FORGED[what].replace("; END", "# END").split(";"):
            connection.execute(statement.replace("# END", "; END"))
    before = foreign.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StoreError, match="none of this program's|not the one"):
            SessionLog.open(foreign, read_only=read_only)
    with SessionLog.open(tmp_path / "new.db") as new, pytest.raises(StoreError):
        new.import_session(foreign)
    assert foreign.read_bytes() == before


def test_views_and_tables_that_someone_added_are_named(log: SessionLog) -> None:
    session = record_audit(log)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT * FROM events")
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute("DROP INDEX events_by_kind")
        connection.execute("DROP VIEW notes")
    with SessionLog.open(log.path, read_only=True) as reader:
        said = " ".join(str(one) for one in reader.verify(session).problems)
    for part in ("view mine is none", "table theirs is none", "events_by_kind is gone"):
        assert part in said
    assert "view notes is gone" in said


def test_a_schema_that_is_damaged_is_refused_in_words(log: SessionLog, tmp_path: Path) -> None:
    foreign = log.export_session(record_audit(log), tmp_path / "foreign.db")
    with closing(sqlite3.connect(foreign, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE nonsense' WHERE name = 'arrays'")
    with pytest.raises(StoreError, match="damaged"):
        SessionLog.open(foreign, read_only=True)


def test_a_damaged_page_is_found_before_a_file_is_read(log: SessionLog, tmp_path: Path) -> None:
    foreign = log.export_session(record_audit(log), tmp_path / "foreign.db")
    content = bytearray(foreign.read_bytes())
    with closing(sqlite3.connect(foreign)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'events_by_kind'"
        ).fetchone()
    content[(page - 1) * 4096 + 8 : page * 4096 - 900] = b"\x7f" * (4096 - 908)
    foreign.write_bytes(content)
    with SessionLog.open(tmp_path / "new.db") as new:
        with pytest.raises(StoreError, match="damaged"):
            new.import_session(foreign)
        assert new.sessions() == []
    with pytest.raises(StoreError, match="damaged"):
        SessionLog.open(foreign, read_only=True, foreign=True)


def test_when_a_session_was_created_is_checked(log: SessionLog) -> None:
    session = record_audit(log)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        drop_guards(connection)
        connection.execute("UPDATE sessions SET created_at = '2020-01-01T00:00:00.000000Z'")
        create_guards(connection)
    assert "entered as created at 2020" in str(log.verify(session).problems[0])


@pytest.mark.slow
def test_an_import_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """Neither in the database nor beside it nor among the temporary files."""
    note = {"kind": "note_written", "text": "a note"}
    file = written(tmp_path / "a.jsonl", chained("20260101-aaaaaa", [STARTED] + [note] * 3000))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from workbench.report.jsonl import import_jsonl\n"
        "from workbench.store.log import SessionLog\n"
        "from workbench.store.transfer import Intake\n"
        "take = Intake.event\n"
        "def event(self, row):\n"
        "    row[1] < 2000 or os.kill(os.getpid(), 9)\n"
        "    take(self, row)\n"
        "Intake.event = event\n"
        "import_jsonl(SessionLog.open(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s.db", file],
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == -9
    assert list(temporary.iterdir()) == []
    with SessionLog.open(tmp_path / "s.db") as log:
        assert log.sessions() == []
        assert log.verify().ok
        import_jsonl(log, file)
    left = {one.name for one in tmp_path.iterdir()} - {"s.db.heads.jsonl"}
    assert left == {"a.jsonl", "s.db", "temporary"}
    assert json.loads(file.read_text().splitlines()[-1])["events"] == 3001
