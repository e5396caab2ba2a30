import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workbench.store.samples import ARRAYS, record_audit
from workbench.store.arrays import ArrayRef
from workbench.store.errors import StoreError
from workbench.store.log import SessionLog
from workbench.store.schema import create_guards, drop_guards

Problems = list[tuple[str | None, int | None, str]]


@pytest.fixture
def tampered(log: SessionLog) -> Callable[[str], Problems]:
    """Record an audit, change the file as someone who knows how would, and verify it."""

    def tamper(statements: str) -> Problems:
        session = record_audit(log)
        assert log.verify().ok
        connection = sqlite3.connect(log.path, isolation_level=None)
        connection.execute("BEGIN")
        drop_guards(connection)
        for statement in statements.split(";"):
            connection.execute(statement)
        create_guards(connection)
        connection.execute("COMMIT")
        connection.close()
        report = log.verify()
        assert not report.ok
        # A reader finds the same.
        with SessionLog.open(log.path, read_only=True) as reader:
            assert reader.verify().problems == report.problems
        return [
            (
                "s" if problem.session_id == session else problem.session_id,
                problem.seq,
                problem.what,
            )
            for problem in report.problems
        ]

    return tamper


def test_an_untouched_file_verifies(log: SessionLog) -> None:
    session = record_audit(log)
    report = log.verify()
    assert report.ok
    assert (report.path, report.events, report.arrays) == (log.path, 24, 2)
    assert report.heads == {session: (24, list(log.events(session))[-1].sha256)}
    assert log.verify(session).events == 24


@pytest.mark.parametrize(
    ("change", "seq", "what"),
    [
        ("UPDATE events SET body = replace(body, 'baking', 'mining')", 22, "match its hash"),
        ("UPDATE events SET body = '{' WHERE seq = 22", 22, "cannot be read"),
        ("UPDATE events SET kind = 'text_grew' WHERE seq = 22", 22, "column kind"),
        ("UPDATE events SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 5", 5, "its hash"),
        ("UPDATE events SET actor_kind = 'agent' WHERE seq = 22", 22, "its hash"),
        ("UPDATE events SET operation_id = 'op-9' WHERE seq = 22", 22, "its hash"),
        ("UPDATE events SET previous = '' WHERE seq = 22", 22, "does not follow"),
        ("UPDATE events SET sha256 = 'x' WHERE seq = 22", 23, "does not follow"),
        ("DELETE FROM events WHERE seq = 23", 24, "event 23 is missing"),
        ("DELETE FROM events WHERE seq IN (20, 21, 23)", 22, "events 20 to 21 are missing"),
        ("DELETE FROM events WHERE seq = 24", None, "24 events were written"),
        ("DELETE FROM events WHERE seq > 20", None, "24 events were written"),
        ("UPDATE events SET seq = 99 WHERE seq = 24", 99, "events 24 to 98 are missing"),
        (
            """
            UPDATE events SET seq = -1 WHERE seq = 22;
            UPDATE events SET seq = 22 WHERE seq = 23;
            UPDATE events SET seq = 23 WHERE seq = -1
            """,
            22,
            "does not follow",
        ),
        ("UPDATE arrays SET data = zeroblob(length(data))", None, "does not match its hash"),
        ("UPDATE arrays SET data = x'00' WHERE shape = '[1, 2, 6]'", None, "match its hash"),
        ("UPDATE arrays SET dtype = '<i4' WHERE shape = '[1, 2, 6]'", 4, "another dtype or shape"),
        ("UPDATE arrays SET shape = '[12]' WHERE shape = '[1, 2, 6]'", 4, "another dtype or shape"),
        ("DELETE FROM arrays", 4, "its array arrays.difference is missing"),
        ("DELETE FROM event_arrays", 4, "not those listed"),
        ("UPDATE event_text SET text = 'other' WHERE text LIKE '%baking%'", 22, "for the search"),
        ("DELETE FROM event_text", 22, "for the search"),
        ("INSERT INTO event_text_fts (event_text_fts) VALUES ('delete-all')", None, "search index"),
        ("DELETE FROM sessions", None, "not in the table of sessions"),
        ("INSERT INTO sessions VALUES ('empty', 'now')", None, "no events"),
    ],
)
def test_tampering_is_found(
    tampered: Callable[[str], Problems], change: str, seq: int | None, what: str
) -> None:
    found = tampered(change)
    assert any(problem[1] == seq and what in problem[2] for problem in found), found


def test_missing_guards_are_found(log: SessionLog) -> None:
    session = record_audit(log)
    connection = sqlite3.connect(log.path, isolation_level=None)
    connection.execute("DROP TRIGGER events_refuse_update")
    connection.close()
    (problem,) = log.verify(session).problems
    assert "events_refuse_update" in str(problem)
    assert str(problem).startswith("file: ")


def test_a_changed_array_or_event_is_not_given_out(log: SessionLog) -> None:
    session = record_audit(log)
    connection = sqlite3.connect(log.path, isolation_level=None)
    drop_guards(connection)
    connection.execute("UPDATE arrays SET data = zeroblob(length(data))")
    connection.execute("UPDATE events SET body = '{}', packed = NULL WHERE seq = 5")
    connection.close()
    with pytest.raises(StoreError, match="not what was recorded"):
        log.array(ArrayRef.of(ARRAYS["difference"]))
    with pytest.raises(StoreError, match=f"event 5 of session {session} is damaged"):
        list(log.events(session))


def test_a_damaged_page_is_reported(path: Path) -> None:
    with SessionLog.open(path) as log:
        record_audit(log)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"It is about *baking*.")
    content[place : place + 2] = b"XX"
    path.write_bytes(content)
    with SessionLog.open(path, read_only=True) as log:
        assert not log.verify().ok
