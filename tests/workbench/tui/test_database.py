"""The database of the program is opened once, moved, and warns without holding others up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from workbench.store.errors import StoreError
from workbench.store.log import SessionLog
from workbench.tui.database import Database


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "sessions.db", pytest.fail)
    yield made
    made.close()


def test_it_is_opened_once_however_many_threads_need_it(database):
    assert database.log is None
    assert not database.path.exists()
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda _: database.open(), range(8)))
    assert {id(log) for log in logs} == {id(database.log)}


def test_another_takes_its_place(database, tmp_path):
    first = database.open()
    assert database.open_at(database.path) is first
    second = database.open_at(tmp_path / "others.db")
    assert second is database.log
    assert database.path == tmp_path / "others.db"
    assert list(second.sessions()) == []
    with pytest.raises(StoreError, match="closed"):
        list(first.sessions())


def test_whoever_is_warned_may_open_it(tmp_path, monkeypatch):
    monkeypatch.setattr(SessionLog, "journal_warning", "slow disk")
    warned: list[tuple[str, SessionLog]] = []
    database = Database(
        tmp_path / "sessions.db", lambda warning: warned.append((warning, database.open()))
    )
    log = database.open()
    database.open()
    assert warned == [("slow disk", log)]
    database.close()
