"""`sessions`: list, show, search, verify, path, export, import; data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.workbench.cli.conftest import SMALL, RunCli, recorded
from workbench.cli.sessions import KINDS
from workbench.locations import find_locations
from workbench.store.connection import connect
from workbench.store.events import NoteWritten, SessionClosed, SessionStarted
from workbench.store.lease import Lease
from workbench.store.log import SessionLog
from workbench.store.schema import MIGRATIONS, migrate


@pytest.mark.slow
def test_what_an_audit_says_it_recorded_is_there_and_verifies(cli: RunCli, database: Path):
    done = cli("audit", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["database"] == str(database)

    listed = json.loads(cli("sessions", "list", "--json").stdout)
    assert [session["session"] for session in listed] == [found["session"]]
    assert listed[0]["outcome"] == "completed"
    shown = json.loads(cli("sessions", "show", found["session"], "--json").stdout)
    events = shown["event_list"]
    assert [event["seq"] for event in events] == list(range(1, shown["events"] + 1))
    finished = {
        event["body"]["text_id"]: event["body"]["text"]
        for event in events
        if event["body"]["kind"] == "text_finished"
    }
    assert {text["text_id"]: text["text"] for text in found["texts"]} == finished
    readings = {event["body"]["reading"] for event in events if "reading" in event["body"]}
    assert {reading["reading"] for reading in found["readings"]} == readings

    verified = cli("sessions", "verify", found["session"], "--json")
    assert verified.returncode == 0
    report = json.loads(verified.stdout)
    assert report["ok"] is True
    assert report["events"] == shown["events"]
    assert report["heads"] == {found["session"]: [shown["events"], events[-1]["sha256"]]}


def test_a_session_that_another_process_has_open_stays_open(
    cli: RunCli, two_sessions, database: Path
):
    open_one = two_sessions[1]
    lease = Lease.take(find_locations().leases, open_one)
    # A second process, as beside an open screen.
    done = cli("ask", "Hi", "--tokens", "2", "--session", open_one)
    assert done.returncode == 0, done.stderr
    assert "open in another process" in " ".join(done.stderr.split())
    kinds = [event.body.kind for event in recorded(database)]
    assert kinds[-1] == "operation_finished"

    def shown() -> list[str]:
        (listed,) = (
            one
            for one in json.loads(cli("sessions", "list", "--json").stdout)
            if one["session"] == open_one
        )
        head = cli("sessions", "show", open_one).stdout.splitlines()[0]
        return [listed["outcome"], head.rpartition(", ")[2].strip(")")]

    assert shown() == [None, "open"]
    # Also if that was recorded, as by older versions.
    with SessionLog.open(database) as log:
        log.append(open_one, SessionClosed(outcome="completed"))
    assert shown() == [None, "open"]
    lease.release()
    assert shown() == ["completed", "completed"]


def test_before_the_first_session_there_is_an_empty_list(cli: RunCli, database: Path):
    human = cli("sessions", "list")
    assert (human.returncode, human.stdout) == (0, "")
    assert f"no sessions yet in {database}" in human.stderr
    data = cli("sessions", "list", "--json")
    assert (data.returncode, json.loads(data.stdout), data.stderr) == (0, [], "")
    assert not database.exists()


def test_sessions_are_listed_the_last_one_first_with_ids_that_can_be_copied(
    cli: RunCli, two_sessions
):
    first, second = two_sessions
    data = json.loads(cli("sessions", "list", "--json").stdout)
    assert [(one["session"], one["name"]) for one in data] == [(second, "second"), (first, "first")]
    assert {one["finetuned"] for one in data} == {"planted-finetuned"}
    human = cli("sessions", "list")
    assert human.stdout.index(second) < human.stdout.index(first)  # each whole, on one line
    assert human.stderr == ""


@pytest.mark.parametrize("named", ["id", "start", "name", "last"])
def test_a_session_is_found_by_what_a_person_types(cli: RunCli, two_sessions, named):
    first, second = two_sessions
    wanted, asked = {
        "id": (first, first),
        "start": (second, second[:-1]),
        "name": (first, "first"),
        "last": (second, "last"),
    }[named]
    assert json.loads(cli("sessions", "show", asked, "--json").stdout)["session"] == wanted


def test_the_events_are_shown_one_by_one(cli: RunCli, two_sessions, database: Path):
    first, _ = two_sessions
    human = cli("sessions", "show", first)
    assert human.stderr == ""
    for event in recorded(database, first):
        assert f"\n{event.seq}\t" in human.stdout
        assert event.body.kind in human.stdout
    only = cli("sessions", "show", first, "--kind", "text_finished", "--json")
    kinds = [event["body"]["kind"] for event in json.loads(only.stdout)["event_list"]]
    assert kinds == ["text_finished", "text_finished"]


def test_an_unknown_kind_is_named_with_those_there_are(cli: RunCli, two_sessions):
    done = cli("sessions", "show", "--kind", "text_finnished")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'text_finnished'" in done.stderr
    assert "text_finished" in done.stderr


def test_the_kinds_are_those_of_the_events():
    assert {SessionStarted.model_fields["kind"].default, "note_written"} < set(KINDS)
    assert len(KINDS) == len(set(KINDS))


def test_words_are_found_in_the_session_they_stand_in(cli: RunCli, two_sessions):
    first, second = two_sessions
    data = json.loads(cli("sessions", "search", "hello", "there", "--json").stdout)
    assert {hit["session"] for hit in data} == {first}
    assert {"operation_started", "text_started"} == {hit["kind"] for hit in data}
    elsewhere = cli("sessions", "search", "hello", "--session", second)
    assert (elsewhere.returncode, elsewhere.stdout) == (0, "")
    assert "nothing found" in elsewhere.stderr
    human = cli("sessions", "search", "hello", "--limit", "1")
    assert human.stdout.count(first) == 1
    assert "the best 1; --limit shows more" in human.stderr
    cut = cli("sessions", "search", "hello", "--limit", "1", "--json")
    assert len(json.loads(cut.stdout)) == 1
    assert "--limit shows more" in cut.stderr
    all_of_them = cli("sessions", "search", "hello", "there", "--limit", str(len(data)), "--json")
    assert (json.loads(all_of_them.stdout), all_of_them.stderr) == (data, "")


@pytest.mark.parametrize("words", ['"', "*", "NEAR(", "a OR", "';--", "-x", "\x1b[2J"])
def test_nothing_that_is_searched_for_is_syntax(cli: RunCli, two_sessions, words):
    done = cli("sessions", "search", "--json", "--", words)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


def test_a_changed_event_is_found_and_ends_with_1(cli: RunCli, two_sessions, database: Path):
    first, _ = two_sessions
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute(
            "UPDATE events SET body = replace(body, 'Hello', 'Hullo') WHERE session_id = ?", [first]
        )
    connection.close()
    human = cli("sessions", "verify")
    assert human.returncode == 1
    assert first in human.stdout
    data = cli("sessions", "verify", first, "--json")
    assert data.returncode == 1
    report = json.loads(data.stdout)
    assert report["ok"] is False
    assert first in {problem["session"] for problem in report["problems"]}
    refused = cli("sessions", "export", first, database.with_name("mailed.db"))
    imported = cli(
        "sessions",
        "import",
        database.with_name("mailed.db"),
        "--database",
        database.with_name("b.db"),
    )
    assert imported.returncode == 2, (refused.stderr, imported.stdout)
    assert "does not verify" in imported.stderr


def test_a_file_as_recorded_verifies(cli: RunCli, two_sessions):
    human = cli("sessions", "verify")
    assert (human.returncode, human.stdout) == (0, "")
    assert human.stderr.startswith("verified: ")


def test_the_path_is_data(cli: RunCli, database: Path, tmp_path: Path):
    assert cli("sessions", "path").stdout == f"{database}\n"
    other = tmp_path / "other.db"
    data = json.loads(cli("sessions", "path", "--database", other, "--json").stdout)
    assert data == {"database": str(other), "exists": False}
    unset = cli("sessions", "path", env={"ADL_WORKBENCH_HOME": str(tmp_path / "home")})
    assert unset.stdout == f"{tmp_path / 'home' / 'sessions.db'}\n"


def test_a_session_goes_from_file_to_file_as_it_is(
    cli: RunCli, two_sessions, database: Path, tmp_path: Path
):
    _, second = two_sessions
    mailed, theirs = tmp_path / "mailed.db", tmp_path / "theirs.db"
    exported = cli("sessions", "export", "second", mailed, "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout) == {"session": second, "file": str(mailed)}
    human = cli("sessions", "import", mailed, "--database", theirs)
    assert (human.returncode, human.stdout) == (0, "")
    assert human.stderr == f"imported: {second}\n"
    assert recorded(theirs, second) == recorded(database, second)
    again = cli("sessions", "import", mailed, "--database", theirs, "--json")
    assert (again.returncode, again.stdout) == (2, "")
    assert "already" in again.stderr
    # What was measured there can be gone on with here: the arrays came along.
    gone_on = cli(
        "steer", *SMALL, "--session", second, "--database", theirs, "--alpha", "0.3", "--json"
    )
    assert gone_on.returncode == 0, gone_on.stderr
    assert json.loads(gone_on.stdout)["session"] == second


def test_which_of_several_sessions_is_imported_must_be_said(
    cli: RunCli, two_sessions, database: Path, tmp_path: Path
):
    first, _ = two_sessions
    theirs = ["--database", tmp_path / "theirs.db"]
    unsaid = cli("sessions", "import", database, *theirs)
    assert unsaid.returncode == 2
    assert "2 sessions" in unsaid.stderr
    said = cli("sessions", "import", database, "--session", "first", *theirs, "--json")
    assert json.loads(said.stdout)["session"] == first


def test_nothing_is_exported_over_a_file(cli: RunCli, two_sessions, tmp_path: Path):
    (tmp_path / "mine.db").write_text("dear to me")
    done = cli("sessions", "export", "last", tmp_path / "mine.db")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "mine.db").read_text() == "dear to me"


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nonesuch"],
        ["verify", "nonesuch"],
        ["search", "x", "--session", "nonesuch"],
        ["export", "nonesuch", "/nowhere/x.db"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_session_is_named(cli: RunCli, two_sessions, arguments):
    done = cli("sessions", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nonesuch'" in done.stderr
    assert "sessions list" in done.stderr


def test_going_on_with_a_session_adds_to_it(cli: RunCli, two_sessions, database: Path):
    first, second = two_sessions
    before = recorded(database, first)
    done = cli("ask", "--demo", "And now?", "--tokens", "3", "--session", first, "--json")
    found = json.loads(done.stdout)
    assert found["session"] == first
    assert len(found["comparisons"]) == 1  # of this question, not of the one before
    after = recorded(database, first)
    assert after[: len(before)] == before
    assert after[len(before)].body.kind == "session_continued"
    listed = json.loads(cli("sessions", "list", "--json").stdout)
    assert [one["session"] for one in listed] == [first, second]


def test_a_session_that_is_gone_on_with_keeps_its_name(cli: RunCli, two_sessions):
    done = cli("ask", "--demo", "Hi", "--session", "last", "--name", "other")
    assert done.returncode == 2
    assert "--name" in done.stderr


def test_reading_a_session_changes_nothing(cli: RunCli, two_sessions, database: Path):
    database.chmod(0o444)
    before = database.read_bytes()
    for arguments in (["list"], ["show"], ["search", "hello"], ["verify"]):
        assert cli("sessions", *arguments, "--json").returncode == 0
    assert database.read_bytes() == before


def test_notes_are_shown_and_found(cli: RunCli, two_sessions, database: Path):
    with SessionLog.open(database) as log:
        log.append(two_sessions[0], NoteWritten(text="looks like baking"))
    assert "looks like baking" in cli("sessions", "show", two_sessions[0]).stdout
    (hit,) = json.loads(cli("sessions", "search", "baking", "--json").stdout)
    assert (hit["kind"], hit["session"]) == ("note_written", two_sessions[0])


def test_a_database_of_an_older_schema_is_brought_up_to_date_to_be_read(
    cli: RunCli, tmp_path: Path
):
    path = tmp_path / "old.db"
    connection = connect(path, "create")
    migrate(connection, path, MIGRATIONS[:3])
    connection.close()
    listed = cli("sessions", "list", "--database", str(path), "--json")
    assert listed.returncode == 0, listed.stderr
    with SessionLog.open(path, read_only=True) as log:
        assert log.sessions() == []
