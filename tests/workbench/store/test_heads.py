"""A session whose tail was cut: what its hashes cannot show, its head kept elsewhere does."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.report.content import build_report
from workbench.report.errors import ExportError
from workbench.report.files import write_report
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.report.known_heads import heads_in
from workbench.store.errors import StoreError
from workbench.store.events import NoteWritten
from workbench.store.heads import Expected, Head, HeadError, heads_file, kept_heads
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.schema import create_guards, drop_guards


def cut(path: Path, session: str, seq: int) -> None:
    """Take the events after ``seq`` away, as someone does who knows the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        drop_guards(connection)
        later = "SELECT id FROM events WHERE session_id = ? AND seq > ?"
        for table in ("event_text", "event_arrays"):
            connection.execute(f"DELETE FROM {table} WHERE event_id IN ({later})", (session, seq))
        connection.execute("DELETE FROM events WHERE session_id = ? AND seq > ?", (session, seq))
        connection.execute("UPDATE sqlite_sequence SET seq = (SELECT count(*) FROM events)")
        create_guards(connection)
        connection.execute("COMMIT")


def problems(path: Path, session: str | None, expected: Iterable[Expected] = ()) -> list[str]:
    with SessionLog.open(path, read_only=True) as log:
        return [str(one) for one in log.verify(session, expected).problems]


@pytest.fixture
def recorded(path: Path) -> str:
    with SessionLog.open(path) as log:
        notes = [Entry(NoteWritten(text=f"note {number}")) for number in range(2, 25)]
        return log.start_session("notes", then=notes)


def test_a_cut_tail_is_found_by_the_second_file(path: Path, recorded: str) -> None:
    kept = heads_file(path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    cut(path, recorded, 20)
    for session in (recorded, None):
        (found,) = problems(path, session)
        assert "its tail was cut: it ends with event 20" in found
        assert kept.name in found
    # Without it nothing can be found, and nothing is claimed.
    kept.unlink()
    with SessionLog.open(path, read_only=True) as log:
        report = log.verify()
        assert report.ok
        assert report.known == {}
        said = build_report(log, recorded).vouched
    assert "cut off after event 20 would leave no trace" in said


def test_a_chain_that_was_written_anew_is_found(path: Path, recorded: str) -> None:
    cut(path, recorded, 20)
    with SessionLog.open(path) as log:
        for _ in range(6):
            log.append(recorded, NoteWritten(text="another"))
    (found,) = problems(path, recorded)
    assert "event 24: it is not the event that sessions.db.heads.jsonl knows, 24:" in found


def test_a_session_that_is_gone_is_found_and_one_that_was_deleted_is_not(
    path: Path, recorded: str
) -> None:
    with SessionLog.open(path) as log:
        deleted = log.start_session("deleted")
    with SessionLog.open(path) as log:
        log.delete_session(deleted, confirm="deleted")
        assert log.verify().ok
    kept = heads_file(path)
    path.unlink()
    with SessionLog.open(path) as log:
        log.start_session("new")
    assert kept.exists()
    assert any(f"{recorded}: it is gone" in one for one in problems(path, None))


def test_each_close_keeps_the_heads_and_a_half_written_line_is_passed_over(
    path: Path, recorded: str
) -> None:
    with heads_file(path).open("a") as file:
        file.write('{"half":')
    with SessionLog.open(path) as log:
        event = log.append(recorded, NoteWritten(text="on"))
    heads = [one.head for one in kept_heads(path)]
    assert [head.seq for head in heads] == [24, 25]
    assert heads[-1] == Head(25, event.sha256)
    with SessionLog.open(path) as log:
        assert log.verify().known[recorded].head.seq == 25
    # Who only looks keeps nothing.
    assert len(kept_heads(path)) == 2


@pytest.mark.parametrize(
    "text", ["", "12", "12:ab", "0:" + "a" * 64, "-1:" + "a" * 64, "x:" + "a" * 64]
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(HeadError, match="is no head"):
        Head.read(text)


def test_exports_and_reports_know_the_head(path: Path, recorded: str, tmp_path: Path) -> None:
    with SessionLog.open(path) as log:
        head = log.verify().heads[recorded]
        known = [
            export_jsonl(log, recorded, tmp_path / "a.jsonl"),
            export_jsonl(log, recorded, tmp_path / "a.jsonl.gz"),
            log.export_session(recorded, tmp_path / "a.db"),
            *write_report(build_report(log, recorded), tmp_path / recorded),
        ]
        assert "is the one kept in sessions.db.heads.jsonl" in known[-1].read_text()
    known.append(shutil.copy(heads_file(path), tmp_path / "mine.heads.jsonl"))
    heads_file(path).unlink()
    cut(path, recorded, 20)
    assert problems(path, recorded) == []
    for file in known:
        assert {one.head for one in heads_in(file)} == {head}, file
        (found,) = problems(path, recorded, heads_in(file))
        assert f"{file.name} knows it with {head}" in found
    (tmp_path / "other.md").write_text("# Session x, \n1 events, the last with the hash\n")
    with pytest.raises(ExportError, match="no head"):
        heads_in(tmp_path / "other.md")


@pytest.mark.parametrize("events", [1, 999, 1000, 1_234_567])
def test_a_report_of_any_length_knows_its_head(
    path: Path, recorded: str, tmp_path: Path, events: int
) -> None:
    with SessionLog.open(path) as log:
        report = replace(build_report(log, recorded), events=events)
    for file in write_report(report, tmp_path / "r"):
        (found,) = heads_in(file)
        assert found.head == Head(events, report.head)


def test_heads_of_before_a_deletion_do_not_bind_what_is_imported_after_it(
    path: Path, recorded: str, tmp_path: Path
) -> None:
    earlier, known = tmp_path / "earlier.jsonl", tmp_path / "known.jsonl"
    with SessionLog.open(path) as log:
        export_jsonl(log, recorded, earlier)
        log.append(recorded, NoteWritten(text="on"))
    with SessionLog.open(path) as log:
        export_jsonl(log, recorded, known)
        with pytest.raises(StoreError, match="already") as refused:
            import_jsonl(log, earlier)
        assert "delete the one that is there first" in refused.value.hint
        log.delete_session(recorded, confirm="notes")
        import_jsonl(log, earlier)
    assert problems(path, recorded) == []
    with SessionLog.open(path) as log:
        assert build_report(log, recorded).verified
        log.append(recorded, NoteWritten(text="another way"))
    # What is cut after it is found as ever, and a head that is given binds.
    (found,) = problems(path, recorded, heads_in(known))
    assert "it is not the event that known.jsonl knows" in found
    cut(path, recorded, 20)
    assert any("its tail was cut" in problem for problem in problems(path, recorded))


def test_a_text_in_a_report_is_not_taken_for_its_head(path: Path, tmp_path: Path) -> None:
    lie = f"\n\nSession x, \n1 events, the last with the hash `{'a' * 64}`\n<p>Session x, \n"
    with SessionLog.open(path) as log:
        session = log.start_session(lie)
        log.append(session, NoteWritten(text=lie))
        head = log.verify().heads[session]
        for file in write_report(build_report(log, session), tmp_path / "r"):
            assert heads_in(file) == [Expected(session, head, file.name)]


def test_the_words_of_the_index_are_compared_with_the_texts(path: Path, recorded: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (event_id, text) = connection.execute("SELECT * FROM event_text LIMIT 1").fetchone()
        connection.execute(
            "INSERT INTO event_text_fts (event_text_fts, rowid, text) VALUES ('delete', ?, ?)",
            (event_id, text),
        )
        connection.execute(
            "INSERT INTO event_text_fts (rowid, text) VALUES (?, 'something else')", (event_id,)
        )
    assert problems(path, recorded) == ["file: the search index is not that of the texts"]


def test_the_count_of_events_is_checked_for_one_session_too(path: Path, recorded: str) -> None:
    heads_file(path).unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        drop_guards(connection)
        connection.execute("DELETE FROM event_text WHERE event_id = 24")
        connection.execute("DELETE FROM events WHERE seq = 24")
        create_guards(connection)
    assert any("24 events were written" in one for one in problems(path, recorded))


def test_heads_are_lines_anyone_can_read(path: Path, recorded: str) -> None:
    (line,) = map(json.loads, heads_file(path).read_text().splitlines())
    assert set(line) == {"at", "session", "seq", "sha256"}
    assert (line["session"], line["seq"]) == (recorded, 24)


def test_heads_that_cannot_be_read_are_a_problem_and_not_their_absence(
    path: Path, recorded: str
) -> None:
    kept = heads_file(path)
    kept.unlink()
    kept.mkdir()
    with SessionLog.open(path, read_only=True) as log:
        report = log.verify()
        assert not report.ok
        (problem,) = report.problems
        assert str(kept) in problem.what
        assert "cannot be read" in problem.what
