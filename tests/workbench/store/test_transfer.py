import sqlite3
from pathlib import Path

import pytest

from tests.workbench.store.samples import record_audit
from workbench.store.connection import connect
from workbench.store.errors import StoreError
from workbench.store.events import NoteWritten
from workbench.store.log import SessionLog
from workbench.store.rows import COLUMNS
from workbench.store.schema import create_guards, drop_guards


def contents(path: Path, session: str) -> list[object]:
    connection = connect(path, "read-only")
    rows = [
        connection.execute(query, (session,)).fetchall()
        for query in (
            f"SELECT {COLUMNS} FROM events WHERE session_id = ? ORDER BY seq",
            """
            SELECT seq, name, arrays.* FROM events JOIN event_arrays ON event_id = events.id
            JOIN arrays USING (sha256) WHERE session_id = ? ORDER BY seq, name
            """,
            "SELECT * FROM sessions WHERE id = ?",
        )
    ]
    connection.close()
    return rows


def test_a_session_goes_out_and_back_bit_for_bit(log: SessionLog, tmp_path: Path) -> None:
    session = record_audit(log)
    log.start_session("another")
    mailed = log.export_session(session, tmp_path / "out" / "mailed.db")
    assert [entry.name for entry in mailed.parent.iterdir()] == ["mailed.db"]
    assert contents(mailed, session) == contents(log.path, session)
    with SessionLog.open(mailed, read_only=True) as reader:
        assert [overview.id for overview in reader.sessions()] == [session]
        assert reader.verify().ok
    # Reading it leaves nothing beside it.
    assert [entry.name for entry in mailed.parent.iterdir()] == ["mailed.db"]
    with SessionLog.open(tmp_path / "new.db") as new:
        assert new.import_session(mailed) == session
        assert contents(new.path, session) == contents(log.path, session)
        assert new.verify().ok
        assert new.search("baking")
        assert new.append(session, NoteWritten(text="on")).seq == 25


def test_an_export_overwrites_nothing(log: SessionLog, session: str, tmp_path: Path) -> None:
    target = tmp_path / "there.db"
    target.write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        log.export_session(session, target)
    assert target.read_text() == "precious"
    with pytest.raises(StoreError, match="cannot be written"):
        log.export_session(session, target / "below" / "a.db")


def test_an_export_may_run_while_the_session_grows(log: SessionLog, tmp_path: Path) -> None:
    session = record_audit(log)
    with SessionLog.open(log.path, read_only=True) as reader:
        log.append(session, NoteWritten(text="more"))
        reader.export_session(session, tmp_path / "a.db")
    with SessionLog.open(tmp_path / "a.db") as copy:
        assert copy.verify().events == 25


def test_a_session_is_imported_once(log: SessionLog, tmp_path: Path) -> None:
    mailed = log.export_session(record_audit(log), tmp_path / "mailed.db")
    with pytest.raises(StoreError, match="already"):
        log.import_session(mailed)
    assert log.verify().ok


def test_one_of_several_sessions_is_imported_by_name(log: SessionLog, tmp_path: Path) -> None:
    first, _ = log.start_session("first"), log.start_session("second")
    with SessionLog.open(tmp_path / "new.db") as new:
        with pytest.raises(StoreError, match="2 sessions"):
            new.import_session(log.path)
        assert new.import_session(log.path, "first") == first
        with pytest.raises(StoreError, match="no session file"):
            new.import_session(tmp_path / "missing.db")


def test_a_changed_session_is_not_imported(log: SessionLog, tmp_path: Path) -> None:
    mailed = log.export_session(record_audit(log), tmp_path / "mailed.db")
    connection = sqlite3.connect(mailed, isolation_level=None)
    drop_guards(connection)
    connection.execute("UPDATE events SET body = replace(body, 'baking', 'mining')")
    create_guards(connection)
    connection.close()
    with SessionLog.open(tmp_path / "new.db") as new:
        with pytest.raises(StoreError, match="does not verify"):
            new.import_session(mailed)
        assert new.sessions() == []


def test_a_session_that_went_on_elsewhere_is_taken_further(log: SessionLog, tmp_path: Path) -> None:
    session = record_audit(log)
    shorter = log.export_session(session, tmp_path / "shorter.db")
    with SessionLog.open(tmp_path / "away.db") as away:
        away.import_session(shorter, continuing=True)
        away.append(session, NoteWritten(text="written away"))
    with pytest.raises(StoreError, match="already"):
        log.import_session(away.path)
    for _ in range(2):
        assert log.import_session(away.path, continuing=True) == session
        assert contents(log.path, session) == contents(away.path, session)
    assert log.verify().ok
    assert log.search("written away")
    # One that is shorter, and one that went another way.
    with SessionLog.open(tmp_path / "other.db") as other:
        other.import_session(shorter)
        other.append(session, NoteWritten(text="otherwise"))
        other.append(session, NoteWritten(text="and longer"))
    before = contents(log.path, session)
    for source, problem in ((shorter, "nothing to take"), (other.path, "went on otherwise")):
        with pytest.raises(StoreError, match=problem):
            log.import_session(source, continuing=True)
        assert contents(log.path, session) == before
    assert log.verify().ok
