"""What the screens read of a real database, and do to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from workbench.operations.pair import PairArguments
from workbench.store.errors import StoreError
from workbench.store.events import (
    HypothesisJudged,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    PairLoaded,
    SessionClosed,
)
from workbench.store.lease import Lease, OpenElsewhere
from workbench.store.log import SessionLog
from workbench.tui.library import Library, matches, pair_title, session_pair

PAIR = PairArguments(base="acme/base", adapter="/srv/kitchen", dtype="bfloat16")
OTHER = PairArguments(organism="taboo_gold")


def library(path: Path, log: SessionLog | None = None) -> Library:
    def open_log() -> SessionLog:
        return log or SessionLog.open(path)

    return Library(path, path.parent / "open", opened=lambda: log, open_log=open_log)


def load(log: SessionLog, session_id: str, pair: PairArguments, *, fails: bool = False) -> None:
    asked = OperationStarted(operation="load_pair", arguments=pair.model_dump(mode="json"))
    log.append(session_id, asked, operation_id=f"{session_id}-{fails}")
    if fails:
        ended = OperationFailed(error="PairError", message="no", seconds=1)
    else:
        sides = {"base": {"checkpoint": pair.base or "x"}, "finetuned": {"adapter": pair.adapter}}
        log.append(session_id, PairLoaded(pair=sides))
        ended = OperationFinished(seconds=1)
    log.append(session_id, ended, operation_id=f"{session_id}-{fails}")


def test_a_missing_database_is_empty_and_is_not_made(tmp_path):
    listing = library(tmp_path / "none.db").listing()
    assert listing.sessions == ()
    assert listing.trouble is None
    assert listing.organisms[0].id == "cake_bake"
    assert library(tmp_path / "none.db").search("gold") == []
    assert list(tmp_path.iterdir()) == []


def test_sessions_and_the_pairs_that_were_loaded_in_them(tmp_path):
    path = tmp_path / "sessions.db"
    with SessionLog.open(path) as log:
        for name, pair in (("a", PAIR), ("b", OTHER), ("c", PAIR)):
            session_id = log.start_session(name)
            load(log, session_id, PairArguments(base="mistyped"), fails=True)
            load(log, session_id, pair)
        log.append(session_id, SessionClosed(outcome="completed"))
    listing = library(path).listing()
    assert [one.name for one in listing.sessions] == ["c", "b", "a"]
    assert listing.recent == (PAIR, OTHER)
    assert listing.trouble is None


def test_what_is_open_elsewhere_is_said_and_not_deleted(tmp_path):
    path = tmp_path / "sessions.db"
    with SessionLog.open(path) as log:
        session_id = log.start_session("a")
        lease = Lease.take(tmp_path / "open", session_id)
        books = library(path, log)
        assert books.listing().open_elsewhere == {session_id}
        with pytest.raises(OpenElsewhere):
            books.delete(log.find_session(session_id))
        # Another that had it open, too, may have closed it for itself.
        log.append(session_id, SessionClosed(outcome="completed"))
        assert books.listing().open_elsewhere == {session_id}
        lease.release()
        assert books.listing().open_elsewhere == frozenset()
        books.delete(log.find_session(session_id))
        assert log.sessions() == []


def test_hypotheses_as_they_stand_and_the_last_note(tmp_path):
    path = tmp_path / "sessions.db"
    with SessionLog.open(path) as log:
        session_id = log.start_session("a")
        log.append(session_id, HypothesisStated(hypothesis_id="H1", text="cakes", confidence=0.7))
        log.append(session_id, HypothesisJudged(hypothesis_id="H1", verdict="confirmed"))
        log.append(session_id, NoteWritten(text="first"))
        log.append(session_id, NoteWritten(text="last"))
    findings = library(path).findings(session_id)
    (hypothesis,) = findings.hypotheses
    assert (hypothesis.text, hypothesis.verdict, hypothesis.confidence) == (
        "cakes",
        "confirmed",
        0.7,
    )
    assert findings.last_note == "last"


def test_renaming_and_exporting(tmp_path):
    path = tmp_path / "sessions.db"
    with SessionLog.open(path) as log:
        books = library(path, log)
        session_id = log.start_session("a")
        books.rename(session_id, "b")
        assert log.find_session(session_id).name == "b"
        written = books.export(session_id, str(tmp_path / "mail" / "out.db"))
        with pytest.raises(StoreError, match="exists already"):
            books.export(session_id, str(written))
    with SessionLog.open(written, read_only=True) as copy:
        assert copy.find_session("b").id == session_id


def test_a_database_of_a_newer_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "sessions.db"
    SessionLog.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    listing = library(path).listing()
    assert "schema version 99" in str(listing.trouble)
    assert path.read_bytes() == before
    assert listing.organisms


def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path):
    database, text = tmp_path / "other.db", tmp_path / "notes.txt"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    text.write_text("no database at all, but quite some text" * 100)
    for path, said in ((database, "another program"), (text, "not an SQLite database")):
        before = path.read_bytes()
        assert said in str(library(path).listing().trouble)
        assert path.read_bytes() == before


def test_where_no_database_can_be_made_it_is_said_before_anything_is_tried(tmp_path):
    (tmp_path / "file").write_text("")
    trouble = library(tmp_path / "file" / "deep" / "sessions.db").listing().trouble
    assert "is a file, not a folder" in str(trouble)
    assert "ADL_WORKBENCH_HOME" in str(trouble)


def test_words_are_looked_for_in_name_id_and_pair(tmp_path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("Second look")
        load(log, session_id, PAIR)
        (session,) = log.sessions()
    for words in ("", "SECOND", "kitchen look", session_id[:10], "base / kit"):
        assert matches(session, words), words
    assert not matches(session, "second thoughts")
    assert session_pair(session) == "base / kitchen"


def test_a_snapshot_of_the_hub_is_called_by_its_id():
    folder = "/home/x/.cache/huggingface/hub/models--acme--small/snapshots/0123abc"
    assert pair_title(PairArguments(base=folder, adapter="/srv/kitchen/")) == "small / kitchen"
