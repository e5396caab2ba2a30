"""A database as version 0.1.0 wrote it: read, brought on, and verified with the hashes it had.

``schema-6.db.gz`` was made with that version: `samples.record_audit`, and a session that was deleted.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.workbench.store.samples import audit
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.store.errors import OlderSchema
from workbench.store.events import NoteWritten, ReadingTaken
from workbench.store.log import SessionLog
from workbench.store.state import fold

OLD = Path(__file__).with_name("schema-6.db.gz")
SESSION = "20261128-c46jd6"
HEAD = (24, "1b0baaa4e55edee8b8afac7eeaf91fc5b1e6d58090f5267b178ee1e592e11ffc")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    return path


def test_an_older_database_is_brought_on_with_its_hashes(old: Path, tmp_path: Path) -> None:
    with pytest.raises(OlderSchema):
        SessionLog.open(old, read_only=True)
    with SessionLog.open(old) as log:
        report = log.verify()
        assert report.ok, report.problems
        assert report.heads == {SESSION: HEAD}
        # Fields that came later have their defaults.
        kinds = [event.body.kind for event in log.events(SESSION)]
        assert kinds == ["session_started", *(entry.body.kind for entry in audit())]
        lists = [event.body for event in log.events(SESSION, kinds=["reading_taken"])]
        assert [one for one in lists if isinstance(one, ReadingTaken)] == [
            entry.body for entry in audit() if isinstance(entry.body, ReadingTaken)
        ]
        assert log.search("baking")
        exported = log.export_session(SESSION, tmp_path / "new.db")
        lines = export_jsonl(log, SESSION, tmp_path / "new.jsonl")
        digest = fold(log.events(SESSION)).digest()
        log.vacuum()
        assert log.verify().heads == {SESSION: HEAD}
        assert log.append(SESSION, NoteWritten(text="on")).seq == 25
    for take in (lambda log: log.import_session(exported), lambda log: import_jsonl(log, lines)):
        with SessionLog.open(tmp_path / f"{id(take)}.db") as log:
            take(log)
            assert log.verify().heads == {SESSION: HEAD}
            assert fold(log.events(SESSION)).digest() == digest
