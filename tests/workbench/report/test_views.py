"""The database as Datasette reads it: opened only to read, by another library, view by view."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from tests.workbench.replay.audits import Audit
from tests.workbench.report.hostile import record_hostile
from workbench.store.log import SessionLog


@pytest.fixture
def opened(log: SessionLog, recorded: Audit) -> Database:
    record_hostile(log)
    connection = sqlite3.connect(f"{log.path.absolute().as_uri()}?mode=ro", uri=True)
    with closing(connection):
        yield Database(connection)


def test_every_view_and_table_reads(opened: Database, recorded: Audit) -> None:
    counts = {name: len(list(opened.view(name).rows)) for name in opened.view_names()}
    of_people = ("session_overview", "operations", "readings", "texts", "notes", "hypotheses")
    assert all(counts[name] for name in (*of_people, "evidence"))
    assert counts == {name: opened.view(name).count for name in counts}
    for name in opened.table_names():
        list(opened.table(name).rows)


def test_what_the_views_say(opened: Database, recorded: Audit) -> None:
    where = ("session_id = ?", [recorded.session_id])
    texts = list(opened.view("texts").rows_where(*where))
    assert len(texts) == 6
    assert {text["purpose"] for text in texts} == {"steer", "ask"}
    assert all(text["prompt"] for text in texts)
    hypotheses = {one["hypothesis_id"]: one for one in opened.view("hypotheses").rows_where(*where)}
    assert (hypotheses["H1"]["confidence"], hypotheses["H2"]["verdict"]) == (0.9, "rejected")
    assert {one["status"] for one in opened.view("operations").rows_where(*where)} == {"finished"}
    (overview,) = opened.view("session_overview").rows_where("id = ?", [recorded.session_id])
    assert overview["finetuned"] == "planted-finetuned"


def test_the_full_text_search_is_found_and_works(opened: Database) -> None:
    table = opened.table("event_text")
    assert table.detect_fts() == "event_text_fts"
    assert any("Sponge" in row["text"] for row in table.search("sponge"))


def test_nothing_can_be_written(opened: Database, log: SessionLog, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        opened.execute("DELETE FROM events")
    with SessionLog.open(log.path) as other:
        assert other.verify().ok
