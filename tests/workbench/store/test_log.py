import re
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.workbench.store.samples import (
    AGENT,
    ARRAYS,
    audit,
    difference,
    pair,
    reading,
    record_audit,
    text_finished,
)
from workbench.store import connection as connection_module
from workbench.store import following
from workbench.store.arrays import ArrayRef
from workbench.store.encoding import body_json, event_hash, utc_text
from workbench.store.errors import SessionMoved, StoreError
from workbench.store.events import (
    HUMAN,
    SYSTEM,
    Event,
    NoteWritten,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    SessionStarted,
)
from workbench.store.log import SessionLog
from workbench.store.rows import Entry


def texts(log: SessionLog, session: str) -> list[str]:
    bodies = (event.body for event in log.events(session))
    return [body.text for body in bodies if isinstance(body, NoteWritten)]


# --- opening --------------------------------------------------------------------------------


def test_opening_makes_the_folders_and_uses_wal(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b c?#%" / "sessions.db"
    with SessionLog.open(path) as log:
        assert log.path == path
        assert log.journal_warning is None
        log.start_session("x")
        assert path.with_name("sessions.db-wal").exists()
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {"sessions.db", "sessions.db.heads.jsonl"}


@pytest.mark.parametrize("code", [sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR])
def test_a_folder_that_refuses_wal_gets_another_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Refusing(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if sql == "PRAGMA journal_mode = WAL":
                error = sqlite3.OperationalError("locking protocol")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, *parameters)

    plain = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **more: plain(*given, **more, factory=Refusing)
    )
    with SessionLog.open(path) as log:
        assert "ADL_WORKBENCH_HOME" in str(log.journal_warning)
        record_audit(log)
        assert log.verify().ok


def test_a_folder_that_cannot_do_wal_is_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This VFS has no shared memory, as a network drive has none.
    plain = connection_module._connect_uri
    monkeypatch.setattr(
        connection_module,
        "_connect_uri",
        lambda path, parameters, timeout: plain(path, f"{parameters}&vfs=unix-dotfile", timeout),
    )
    with SessionLog.open(path) as log:
        assert log.journal_warning is not None
        assert "'delete'" in log.journal_warning
        session = record_audit(log)
        assert len(list(log.events(session))) == 24
        assert log.verify().ok


@pytest.mark.parametrize("read_only", [False, True])
def test_other_files_are_refused_and_left_alone(path: Path, read_only: bool) -> None:
    path.write_text("no database, but long enough to look at. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not an SQLite database"):
        SessionLog.open(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_databases_of_others_are_refused_and_left_alone(path: Path, read_only: bool) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE events (mine)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SessionLog.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_reading_only_makes_no_file(path: Path) -> None:
    with pytest.raises(StoreError, match="no session file"):
        SessionLog.open(path, read_only=True)
    assert not path.parent.joinpath(path.name).exists()
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        SessionLog.open(path, read_only=True)


def test_reading_only_refuses_to_write(log: SessionLog, session: str) -> None:
    with SessionLog.open(log.path, read_only=True) as reader:
        assert reader.find_session("last").id == session
        with pytest.raises(StoreError, match="only to read"):
            reader.append(session, NoteWritten(text="no"))
        assert reader.verify().ok


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        SessionLog.open(tmp_path)


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made") as caught:
        SessionLog.open(tmp_path / "file" / "sessions.db")
    assert "ADL_WORKBENCH_HOME" in caught.value.hint


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a /proc, which none can write")
def test_a_read_only_folder_is_refused_with_a_way_out() -> None:
    with pytest.raises(StoreError, match="cannot be opened or created") as caught:
        SessionLog.open("/proc/self/sessions.db")
    assert "ADL_WORKBENCH_HOME" in caught.value.hint
    with pytest.raises(StoreError, match="cannot be made"):
        SessionLog.open("/proc/self/new/sessions.db")


def test_a_file_that_may_not_be_written_is_refused_with_a_way_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SessionLog.open(path).close()
    plain = connection_module._connect_uri
    # Root may write what it likes, so SQLite itself is told that it may not.
    monkeypatch.setattr(
        connection_module,
        "_connect_uri",
        lambda path, parameters, timeout: plain(
            path, re.sub("mode=rwc?$", "mode=ro", parameters), timeout
        ),
    )
    with SessionLog.open(path) as log, pytest.raises(StoreError, match="read-only") as caught:
        log.start_session("x")
    assert "ADL_WORKBENCH_HOME" in caught.value.hint


def test_a_file_in_a_read_only_folder_can_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SessionLog.open(path) as log:
        session = record_audit(log)
    plain = connection_module._connect_uri

    def as_in_a_read_only_folder(path: Path, parameters: str, timeout: float) -> sqlite3.Connection:
        if "immutable" in parameters:
            return plain(path, parameters, timeout)
        # No shared memory can be made beside the file: that is what SQLite says then.
        return plain(path.with_name("missing.db"), parameters, timeout)

    monkeypatch.setattr(connection_module, "_connect_uri", as_in_a_read_only_folder)
    with SessionLog.open(path, read_only=True) as log:
        assert log.find_session("last").id == session
        assert log.verify().ok
        assert len(list(log.follow(session, timeout=0))) == 24


# --- appending ------------------------------------------------------------------------------


def test_a_session_id_can_be_sorted_and_typed(log: SessionLog) -> None:
    ids = {log.start_session("x") for _ in range(20)}
    assert len(ids) == 20
    day = datetime.now(UTC).strftime("%Y%m%d")
    for session_id in ids:
        assert re.fullmatch(r"\d{8}-[0-9a-hjkmnp-tv-z]{6}", session_id)
        assert abs(int(session_id[:8]) - int(day)) <= 1 or day.endswith("01")


def test_the_last_session_is_the_one_written_to_last_whatever_the_clock_says(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.start_session("first")
    monkeypatch.setattr("workbench.store.append.utc_text", lambda *_: "2001-01-01T00:00:00.000000Z")
    begun = log.start_session("after the clock was set back")
    assert log.find_session("last").id == begun
    assert log.sessions()[0].id == begun


def test_the_first_event_starts_the_session(log: SessionLog) -> None:
    session = log.start_session("x", {"python": "3.12"}, HUMAN, parent=("other", 7))
    (event,) = log.events(session)
    assert event.body == SessionStarted(
        name="x", environment={"python": "3.12"}, parent_session="other", parent_seq=7
    )
    assert (event.seq, event.previous, event.actor) == (1, "", HUMAN)


def test_events_come_back_as_they_were_announced(log: SessionLog, session: str) -> None:
    announced: list[Event] = []
    log.subscribe(announced.append)
    returned = log.append_many(session, audit())
    read = list(log.events(session, after_seq=1))
    assert returned == announced == read
    assert [event.body for event in read] == [entry.body for entry in audit()]
    assert [event.actor for event in read] == [entry.actor for entry in audit()]
    assert [event.operation_id for event in read] == [entry.operation_id for entry in audit()]
    assert [event.seq for event in read] == list(range(2, 25))
    assert Event.model_validate(read[3].model_dump()) == read[3]


def test_events_form_a_chain_of_hashes(log: SessionLog) -> None:
    previous = ""
    for event in log.events(record_audit(log)):
        assert event.previous == previous
        previous = event_hash(
            session_id=event.session_id,
            seq=event.seq,
            at=utc_text(event.at),
            actor=event.actor,
            operation_id=event.operation_id,
            body_text=body_json(event.body),
            previous=event.previous,
        )
        assert event.sha256 == previous


def test_events_can_be_read_in_part(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "CHUNK", 2)
    session = record_audit(log)
    assert [event.seq for event in log.events(session)] == list(range(1, 25))
    assert [event.seq for event in log.events(session, after_seq=22)] == [23, 24]
    kinds = ("note_written", "reading_taken")
    assert [event.body.kind for event in log.events(session, kinds=kinds)] == [
        "reading_taken",
        "reading_taken",
        "note_written",
    ]
    assert list(log.events(session, kinds=())) == []


def test_an_event_is_read_by_its_number(log: SessionLog) -> None:
    session = record_audit(log)
    events = list(log.events(session))
    assert [log.event(session, event.seq) for event in events] == events
    for seq in (0, len(events) + 1):
        with pytest.raises(StoreError, match=f"has no event {seq}"):
            log.event(session, seq)


def test_unknown_sessions_are_refused(log: SessionLog) -> None:
    for call in (
        lambda: log.events("nope"),
        lambda: log.follow("nope"),
        lambda: log.append("nope", NoteWritten(text="x")),
        lambda: log.verify("nope"),
        lambda: log.delete_session("nope", confirm=""),
        lambda: log.export_session("nope", log.path.with_name("new.db")),
    ):
        with pytest.raises(StoreError, match="no session nope"):
            call()


def test_a_session_starts_only_once(log: SessionLog, session: str) -> None:
    with pytest.raises(StoreError, match="has started already"):
        log.append(session, SessionStarted(name="again"))


def test_what_rests_on_the_last_event_is_not_recorded_behind_another(
    log: SessionLog, session: str
) -> None:
    last = log.append(session, NoteWritten(text="x")).seq
    assert log.append_many(session, [Entry(NoteWritten(text="y"))], after=last)
    with pytest.raises(SessionMoved, match=f"from event {last} to {last + 1}"):
        log.append_many(session, [Entry(NoteWritten(text="z"))], after=last)
    assert [event.seq for event in log.events(session, after_seq=last)] == [last + 1]


def test_append_many_is_all_or_nothing(log: SessionLog, session: str) -> None:
    announced: list[Event] = []
    log.subscribe(announced.append)
    with pytest.raises(StoreError, match="neither given"):
        log.append_many(session, [Entry(NoteWritten(text="x")), Entry(difference(ARRAYS))])
    assert log.append_many(session, []) == []
    assert [event.seq for event in log.events(session)] == [1]
    assert announced == []
    assert log.append(session, NoteWritten(text="y")).seq == 2
    assert log.verify().ok


def test_broken_text_is_the_same_live_and_in_replay(log: SessionLog, session: str) -> None:
    live = log.append(
        session, NoteWritten(text="\ud800 \x00 \x1b]52;c;x\x07"), operation_id="\udc80"
    )
    assert isinstance(live.body, NoteWritten)
    assert live.body.text == "\ufffd \x00 \x1b]52;c;x\x07"
    assert list(log.events(session, after_seq=1)) == [live]
    assert log.verify().ok


def test_a_body_that_could_not_be_read_back_is_refused(log: SessionLog, session: str) -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    body = SessionContinued.model_construct(environment={"deep": deep})
    with pytest.raises(StoreError, match="so that it can be read"):
        log.append(session, body)
    assert log.verify().ok


# --- arrays ---------------------------------------------------------------------------------


def test_arrays_are_kept_once_and_come_back(log: SessionLog, session: str) -> None:
    body = difference(ARRAYS)
    log.append(session, body, arrays=[array.astype(">f4") for array in ARRAYS.values()])
    log.append(session, body)
    for name, ref in body.arrays.items():
        array = log.array(ref)
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == np.dtype("<f4")
        assert not array.flags.writeable
    connection = sqlite3.connect(log.path)
    assert connection.execute("SELECT count(*) FROM arrays").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM event_arrays").fetchone() == (4,)
    connection.close()


@pytest.mark.parametrize(
    "array",
    [np.ones(()), np.zeros((0, 3)), np.array([True]), np.ones((2, 2), np.complex64)],
)
def test_odd_arrays_come_back(log: SessionLog, session: str, array: np.ndarray) -> None:
    body = difference({"odd": array})
    log.append(session, body, arrays=[array])
    read = log.array(body.arrays["odd"])
    assert (read.shape, read.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(read, array)
    assert log.verify().ok


def test_an_array_of_another_form_than_the_body_says_is_refused(
    log: SessionLog, session: str
) -> None:
    body = difference(ARRAYS)
    wrong = body.arrays["cosine"].model_copy(update={"shape": (4,)})
    body = body.model_copy(update={"arrays": {**body.arrays, "cosine": wrong}})
    with pytest.raises(StoreError, match="neither given"):
        log.append(session, body, arrays=tuple(ARRAYS.values()))
    assert log.verify().arrays == 0


def test_an_array_that_is_not_there_is_an_error(log: SessionLog) -> None:
    with pytest.raises(StoreError, match="is not in"):
        log.array(ArrayRef.of(np.ones(3)))


# --- subscribers and followers --------------------------------------------------------------


def test_a_failing_subscriber_harms_nobody(
    log: SessionLog, session: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def fail(event: Event) -> None:
        raise RuntimeError("listener")

    log.subscribe(fail)
    unsubscribe = log.subscribe(lambda event: seen.append(event.seq))
    assert log.append(session, NoteWritten(text="x")).seq == 2
    assert log.append(session, NoteWritten(text="y")).seq == 3
    unsubscribe()
    unsubscribe()
    log.append(session, NoteWritten(text="z"))
    assert seen == [2, 3]
    assert texts(log, session) == ["x", "y", "z"]
    assert "a subscriber failed at event 2" in caplog.text


def test_an_event_is_committed_before_it_is_announced(log: SessionLog, session: str) -> None:
    found: list[bool] = []

    def look(event: Event) -> None:
        connection = sqlite3.connect(log.path)
        row = connection.execute("SELECT 1 FROM events WHERE sha256 = ?", (event.sha256,))
        found.append(row.fetchone() is not None)
        connection.close()

    log.subscribe(look)
    log.append(session, NoteWritten(text="x"))
    assert found == [True]


def test_a_subscriber_may_append(log: SessionLog, session: str) -> None:
    seen: list[int] = []

    def answer(event: Event) -> None:
        if event.seq < 5:
            log.append(session, NoteWritten(text=f"after {event.seq}"))

    log.subscribe(answer)
    log.subscribe(lambda event: seen.append(event.seq))
    log.append(session, NoteWritten(text="x"))
    assert seen == [2, 3, 4, 5]


def test_threads_append_and_read_at_once(log: SessionLog, session: str) -> None:
    seen: list[int] = []
    log.subscribe(lambda event: seen.append(event.seq))
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for index in range(15):
                log.append(session, NoteWritten(text=f"{name}-{index}"))
                assert [event.seq for event in log.events(session)][:2] == [1, 2]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen == list(range(2, 62))
    assert log.verify().ok


def test_follow_sees_what_other_connections_append(log: SessionLog, session: str) -> None:
    with SessionLog.open(log.path) as other:
        followed = log.follow(session)
        assert next(followed).seq == 1
        other.append(session, NoteWritten(text="from the other"))
        assert next(followed).seq == 2
        log.append(session, NoteWritten(text="from this"))
        assert next(followed).seq == 3
        followed.close()


def test_follow_waits_in_a_thread_until_stopped(log: SessionLog, session: str) -> None:
    stop, seen = threading.Event(), []

    def follow() -> None:
        for event in log.follow(session, after_seq=1, stop=stop.is_set):
            seen.append(event.seq)
            if event.seq == 10:
                stop.set()

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(10):
        log.append(session, NoteWritten(text="x"))
    thread.join()
    assert seen == list(range(2, 11))


def test_follow_ends_by_timeout_or_close(
    log: SessionLog, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHUNK", 1)
    log.append(session, NoteWritten(text="x"))
    assert [event.seq for event in log.follow(session, timeout=0)] == [1, 2]
    followed = log.follow(session)
    next(followed)
    log.close()
    assert [event.seq for event in followed] == []


def test_a_closed_log_says_so(log: SessionLog, session: str) -> None:
    log.close()
    log.close()
    with pytest.raises(StoreError, match="is closed"):
        log.append(session, NoteWritten(text="x"))
    with pytest.raises(StoreError, match="is closed"):
        log.events(session)


# --- when the disk or another process is in the way -----------------------------------------


def test_a_full_disk_loses_nothing_that_was_recorded(log: SessionLog, session: str) -> None:
    log.append(session, NoteWritten(text="before"))
    with log._file.writing() as writer:
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
    big = np.zeros(1_000_000, np.float32)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        log.append(session, difference({"big": big}), arrays=[big])
    assert "Make room" in caught.value.hint
    assert texts(log, session) == ["before"]
    with log._file.writing() as writer:
        writer.execute("PRAGMA max_page_count = 1000000")
    assert log.append(session, difference({"big": big}), arrays=[big]).seq == 3
    assert log.verify().ok


def test_a_file_locked_for_too_long_is_an_error_with_a_way_out(path: Path) -> None:
    with SessionLog.open(path, busy_timeout=0.01) as log:
        session = log.start_session("x")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked for too long") as caught:
            log.append(session, NoteWritten(text="x"))
        assert str(path) in caught.value.hint
        # Readers do not wait for the writer.
        assert [event.seq for event in log.events(session)] == [1]
        other.execute("ROLLBACK")
        other.close()
        assert log.append(session, NoteWritten(text="x")).seq == 2


# --- finding --------------------------------------------------------------------------------


def test_sessions_are_listed_the_latest_first(log: SessionLog) -> None:
    first = record_audit(log)
    second = log.start_session("second")
    assert [overview.id for overview in log.sessions()] == [second, first]
    log.append(first, NoteWritten(text="again"))
    latest, other = log.sessions()
    assert latest.id == first
    assert latest.name == "cakes"
    assert (latest.events, latest.outcome) == (25, "completed")
    assert (latest.base, latest.finetuned) == ("org/small-base", "org/cakes")
    assert latest.created_at < latest.last_event_at
    assert (other.events, other.base, other.outcome) == (1, None, None)
    log.append(first, SessionContinued())
    assert log.sessions()[0].outcome is None
    log.append(first, SessionClosed(outcome="failed"))
    assert log.sessions()[0].outcome == "failed"


def test_sessions_are_found_by_what_a_person_types(log: SessionLog) -> None:
    first, second = log.start_session("one"), log.start_session("two")
    for wanted in (first, f" {first} ", first.upper(), "one"):
        assert log.find_session(wanted).id == first
    shared = first[: next(place for place in range(16) if first[place] != second[place])]
    assert log.find_session(first[: len(shared) + 1]).id == first
    assert log.find_session("last").id == second
    with pytest.raises(StoreError, match="could be") as caught:
        log.find_session(shared)
    assert first in caught.value.message
    assert second in caught.value.message
    for wanted in ("three", "", "%"):
        with pytest.raises(StoreError, match="no session"):
            log.find_session(wanted)
    log.append(first, SessionRenamed(name="two"))
    with pytest.raises(StoreError, match="could be"):
        log.find_session("two")


def test_an_empty_file_has_no_last_session(log: SessionLog) -> None:
    assert log.sessions() == []
    with pytest.raises(StoreError, match="there is no session in"):
        log.find_session("last")


# --- deleting -------------------------------------------------------------------------------


def test_a_session_is_deleted_only_with_its_name(log: SessionLog, session: str) -> None:
    doomed = record_audit(log)
    for confirm in ("", "an audit", doomed):
        with pytest.raises(StoreError, match="nothing was deleted"):
            log.delete_session(doomed, confirm=confirm)
    assert len(log.sessions()) == 2
    log.delete_session(doomed, confirm="cakes")
    assert [overview.id for overview in log.sessions()] == [session]
    assert log.search("baking") == []
    assert log.verify().ok
    connection = sqlite3.connect(log.path)
    for table in ("arrays", "event_arrays", "event_text"):
        rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        assert rows == (1 if table == "event_text" else 0)
    assert connection.execute("SELECT session_id, events FROM deleted_sessions").fetchall() == [
        (doomed, 24)
    ]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM events")
    connection.close()


def test_deleted_text_is_gone_from_the_file(path: Path) -> None:
    with SessionLog.open(path) as log:
        kept, doomed = log.start_session("kept"), log.start_session("doomed")
        log.append(doomed, text_finished("t", "marzipanissimo " * 300))
        log.append(kept, text_finished("t", "praline"))
        log.delete_session(doomed, confirm="doomed")
    content = path.read_bytes()
    assert b"marzipanissimo" not in content
    assert b"praline" in content


def test_arrays_that_another_session_names_stay(log: SessionLog) -> None:
    first, second = record_audit(log, "first"), record_audit(log, "second")
    log.delete_session(first, confirm="cakes")
    np.testing.assert_array_equal(
        log.array(ArrayRef.of(ARRAYS["difference"])), ARRAYS["difference"]
    )
    assert log.verify(second).ok
    assert log.verify().ok


def test_a_deletion_that_fails_leaves_the_guards(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.store import delete

    doomed = record_audit(log)

    def fail() -> str:
        raise RuntimeError("power cut")

    monkeypatch.setattr(delete, "utc_text", fail)
    with pytest.raises(RuntimeError):
        log.delete_session(doomed, confirm="cakes")
    assert log.verify().ok
    assert len(list(log.events(doomed))) == 24


# --- searching ------------------------------------------------------------------------------


def test_search_finds_every_kind_of_text(log: SessionLog, session: str) -> None:
    log.append_many(session, audit())
    found = {
        words: [(hit.kind) for hit in log.search(words)]
        for words in ("baking", "batter", "how day", "baked", "no room", "org", "an audit", "cakes")
    }
    assert found["baking"] == ["note_written"]
    assert found["batter"] == ["reading_taken", "reading_taken"]
    assert set(found["how day"]) == {"text_started"}
    assert found["baked"] == ["text_finished"]
    assert found["no room"] == ["operation_failed"]
    assert found["org"] == ["pair_loaded"]
    assert set(found["cakes"]) == {"session_renamed", "pair_loaded"}


def test_search_hits_say_where_the_match_is(log: SessionLog, session: str) -> None:
    other = log.start_session("other")
    log.append(session, NoteWritten(text="\x02a\x03 \x1b[31mCake\x1b[0m and ca\u200bkes, ünïcode"))
    (hit,) = log.search("CAKE")
    assert hit.session_id == session
    assert hit.seq == 2
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["Cake", "cakes"]
    assert len(log.search("unicode")) == 1
    assert log.search("cake", session_id=other) == []
    assert len(log.search("cake", session_id=session)) == 1
    assert log.search('"cake cakes"') == []
    assert len(log.search('"cake and cakes"')) == 1
    assert len(log.search('"cake and')) == 1


def test_a_search_looks_within_text_without_spaces(log: SessionLog, session: str) -> None:
    other = log.start_session("other")
    for text in ("你好,世界。", "天地", "cake 好"):
        log.append(session, NoteWritten(text=text))
    log.append(other, NoteWritten(text="好"))
    assert [(hit.session_id, hit.seq) for hit in log.search("好")] == [
        (session, 2),
        (session, 4),
        (other, 2),
    ]
    assert [hit.seq for hit in log.search("好", 1, session_id=session)] == [2]
    (hit,) = log.search("好 cak")
    assert (hit.seq, hit.snippet, hit.marks) == (4, "cake 好", ((5, 6),))
    assert log.matching("好", session) == [2, 4]
    assert log.matching("好", session, after=2) == [4]


def test_search_has_a_limit(log: SessionLog, session: str) -> None:
    log.append_many(session, [Entry(reading("oven")) for _ in range(9)])
    assert len(log.search("oven", 4)) == 4


def test_defaults_are_those_of_the_system(log: SessionLog, session: str) -> None:
    assert log.append(session, pair()).actor == SYSTEM
    assert log.append(session, pair(), actor=AGENT).actor == AGENT
