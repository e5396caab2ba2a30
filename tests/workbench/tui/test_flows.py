"""From the start screen into sessions and back, on the planted pair, by keys alone."""

from __future__ import annotations

import sqlite3
import sys
import threading

import pytest

from adl.errors import AdlError, PairError, Stopped
from tests.planted import PlantedPair
from tests.processes import HANGS
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_start_screen import keys
from tests.workbench.tui.waiting import screen_text, until, until_asked
from workbench.operations.pair import PairArguments
from workbench.store.lease import Lease, is_open
from workbench.store.log import SessionLog
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.screens.new_pair import NewPairScreen, empty_pair
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.menu import Menu


def on(app, screen) -> bool:
    return type(app.screen) is screen and app.screen.is_mounted and app.focused is not None


async def type_pair(pilot, base: str, adapter: str, name: str = "") -> None:
    await until(pilot, lambda: on(pilot.app, StartScreen), "the start screen")
    await pilot.press("o", *base, "down", *adapter)
    for _ in empty_pair():
        await until(pilot, lambda: pilot.app._settling is None, "what the key does")
        if pilot.app.focused.id == "name":
            break
        await pilot.press("down")
    await pilot.press(*name, "down")
    await until(pilot, lambda: pilot.app.focused.id == "prepare", "the field after the name")
    await pilot.press("right", "enter")


async def to_sessions(pilot) -> None:
    await pilot.press("ctrl+r")
    await until(pilot, lambda: on(pilot.app, SessionsScreen), "the sessions")


async def quit_it(pilot) -> None:
    await pilot.press("ctrl+q")
    await until(pilot, lambda: pilot.app._exit, "the end")


@pytest.mark.slow
async def test_type_a_pair_leave_it_and_come_back(workbench, database):
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await type_pair(pilot, "acme/base", "acme/adapter", "my audit")
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        assert app.opened.state.name == "my audit"
        first = app.opened.session.id
        await to_sessions(pilot)
        assert app.opened is None
        await until(pilot, lambda: keys(app) == [first], "the session")
        await pilot.press("enter")
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair again")
        assert app.opened.session.id == first
        assert len(app.screen_stack) == 2
        await to_sessions(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "pair 0" in keys(app), "the recent pair")
        assert app.screen._listing.recent == (
            PairArguments(base="acme/base", adapter="acme/adapter"),
        )
        await quit_it(pilot)
    assert app.return_value == 0
    with SessionLog.open(database, read_only=True) as log:
        (session,) = log.sessions()
        assert (session.name, session.outcome) == ("my audit", "completed")
        kinds = [event.body.kind for event in log.events(session.id)]
        assert kinds.count("session_continued") == 1
        assert kinds.count("session_closed") == 2
        assert log.verify().ok


@pytest.mark.slow
async def test_sessions_follow_one_another_and_leave_nothing_behind(workbench, planted_models):
    app = workbench(pair=None)
    # Of tests that this process ran before.
    others = set(threading.enumerate())
    async with app.run_test(size=(120, 40)) as pilot:
        before = None
        sessions = []
        for number in range(4):
            await type_pair(pilot, "acme/base", "acme/adapter", f"audit {number}")
            await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
            await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
            sessions.append(app.opened.session)
            session_id = app.opened.session.id
            await to_sessions(pilot)
            assert not is_open(app.locations.leases, session_id)
            await until(pilot, lambda: app.screen._read_once, "the list")
            await pilot.press("escape")
            await until(pilot, lambda: on(app, StartScreen), "the start screen")
            assert len(app.screen_stack) == 2
            assert len(app.screen.query_one(Menu).entries) > 0
            await app.workers.wait_for_complete()
            left = set(threading.enumerate()) - others
            assert [thread for thread in left if thread.name in {"models", "notes"}] == []
            before = before or threading.active_count()
        # The pool of the loop grows to what is needed at once, and no further.
        assert threading.active_count() <= before + 6
        assert [session.pair for session in sessions] == [None] * 4
        await quit_it(pilot)


def sessions_in(database) -> list[str]:
    if not database.exists():
        return []
    with SessionLog.open(database, read_only=True) as log:
        return [session.name for session in log.sessions()]


def refuse_to_load(error: AdlError) -> None:
    def refuse(*_args: object, **_settings: object) -> None:
        raise error

    sys.modules["adl.pair.nnsight.pair"].NnsightPair.load = staticmethod(refuse)


@pytest.mark.slow
@pytest.mark.parametrize("concerns", ["base", "adapter", "device_map", "quantisation", ""])
async def test_a_pair_that_cannot_be_loaded_is_an_error_at_its_field(workbench, database, concerns):
    refuse_to_load(PairError("'acme/typo' is refused", "Check it.", concerns=concerns))
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await type_pair(pilot, "acme/typo", "acme/adapter", "my audit")
        place = f"#{concerns or 'whole'}-problem"
        there = lambda: on(app, NewPairScreen) and app.screen.query_one(place).has_class("-any")  # noqa: E731
        await until(pilot, there, "the message at its field")
        assert "'acme/typo' is refused. Check it." in str(app.screen.query_one(place).render())
        assert len(app.screen.query("ProblemLine.-any")) == 1
        assert app.screen.fields()["base"] == "acme/typo"
        assert app.screen.fields()["name"] == "my audit"
        assert app.focused.id == (concerns or "base")
        assert app.opened is None
        # What is typed into the field takes the message away, and a pair that loads is opened.
        sys.modules["adl.pair.nnsight.pair"].NnsightPair.load = lambda *_: PlantedPair()
        await pilot.press("enter")
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        assert app.opened.state.name == "my audit"
        await quit_it(pilot)
    assert app.return_value == 0
    assert sessions_in(database) == ["my audit"]


async def test_a_pair_of_the_command_line_that_cannot_be_loaded_is_in_the_form(workbench, database):
    refuse_to_load(PairError("'planted' is not on the hub", "Check it.", concerns="base"))
    app = workbench(prepare=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, NewPairScreen), "the form")
        await until(pilot, lambda: "not on the hub" in screen_text(app), "what is wrong")
        assert app.screen.fields()["adapter"] == "planted-adapter"
        await pilot.press("escape")
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await quit_it(pilot)
    assert app.return_value == 2
    assert sessions_in(database) == []


async def test_an_organism_that_cannot_be_loaded_is_said_on_the_start_screen(workbench, database):
    refuse_to_load(PairError("the weights are damaged", "Install them again.", concerns="base"))
    app = workbench(pair=PairArguments(base="b", adapter="a"), blind=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await until(pilot, lambda: "the weights are damaged" in screen_text(app), "what is wrong")
        assert not on(app, NewPairScreen)
        await quit_it(pilot)
    assert sessions_in(database) == []


@pytest.mark.parametrize("key", ["escape", "x", "ctrl+q"])
async def test_loading_shows_how_far_it_is_and_can_be_left(workbench, database, monkeypatch, key):
    began = threading.Event()

    def load(_arguments, progress, should_stop):
        progress("hash the files", 3, 4)
        began.set()
        assert should_stop.__self__._stopping.wait(HANGS)
        raise Stopped

    monkeypatch.setattr("workbench.operations.beginning.load_models", load)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, began.is_set, "the loading")
        await until(pilot, lambda: "hash the files" in screen_text(app), "the stage")
        await until(pilot, lambda: "75%" in screen_text(app), "how far it is")
        await pilot.press(key)
        if key != "ctrl+q":
            await until(pilot, lambda: on(app, StartScreen), "the start screen")
            await quit_it(pilot)
        await until(pilot, lambda: app._exit, "the end")
    assert app.return_value == 0
    assert sessions_in(database) == []


@pytest.mark.slow
async def test_a_folder_that_is_not_there_never_leaves_the_form(workbench):
    app = workbench(pair=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await type_pair(pilot, "/nowhere/base", "acme/adapter")
        await until(pilot, lambda: "there is no such folder" in screen_text(app), "what is wrong")
        assert app.opened is None
        assert app.focused.id == "base"
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_session_that_was_killed_is_offered_first(workbench, database):
    with SessionLog.open(database) as log:
        session_id = log.start_session("killed")
    app = workbench(pair=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: f"continue {session_id}" in keys(app), "the session")
        await pilot.press("home", "enter")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        assert app.opened.session.id == session_id
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_session_that_is_open_elsewhere_is_opened_only_when_asked_twice(
    workbench, database
):
    app = workbench(pair=None)
    with SessionLog.open(database) as log:
        session_id = log.start_session("busy")
    lease = Lease.take(app.locations.leases, session_id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+r")
        await until(pilot, lambda: on(app, SessionsScreen) and keys(app), "the sessions")
        await until(pilot, lambda: "open elsewhere" in screen_text(app), "how it stands")
        await pilot.press("enter")
        await until_asked(pilot, Confirm, "the question")
        assert app.screen.is_unasked
        await pilot.press("n")
        await until(pilot, lambda: on(app, SessionsScreen) and keys(app), "the sessions")
        assert app.opened is None
        await pilot.press("enter")
        await until_asked(pilot, Confirm, "the question")
        await pilot.press("y")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)
    # It goes on where it was open first.
    with SessionLog.open(database, read_only=True) as log:
        (session,) = log.sessions()
        assert session.outcome is None
        assert [event.body.kind for event in log.events(session_id)][-1] == "view_saved"
    lease.release()


@pytest.mark.slow
async def test_rename_search_and_delete_in_the_real_database(workbench, database):
    with SessionLog.open(database) as log:
        from workbench.store.events import NoteWritten

        session_id = log.start_session("old name")
        log.append(session_id, NoteWritten(text="platinum in every list"))
        other = log.start_session("other")
    app = workbench(pair=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await pilot.press("slash")
        await until(pilot, lambda: on(app, SessionsScreen), "the sessions")
        await pilot.press(*"platinum")
        await until(pilot, lambda: keys(app) == [f"{session_id} 2"], "the hit")
        await pilot.press("enter", "f2", "ctrl+u", *"new name", "enter")
        await until(pilot, lambda: "renamed to new name" in screen_text(app), "the word")
        await pilot.press("escape")
        await until(pilot, lambda: keys(app) == [session_id, other], "the list")
        await pilot.press("home", "delete", *"new name", "enter")
        await until(pilot, lambda: keys(app) == [other], "the shorter list")
        await quit_it(pilot)
    with SessionLog.open(database, read_only=True) as log:
        assert [one.name for one in log.sessions()] == ["other"]
        assert log.verify().ok


@pytest.mark.slow
async def test_a_hit_opens_its_session_at_the_event(workbench, database):
    from workbench.store.events import NoteWritten

    with SessionLog.open(database) as log:
        session_id = log.start_session("noted")
        for number in range(30):
            log.append(session_id, NoteWritten(text=f"platinum{number}"))
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await pilot.press("slash")
        await until(pilot, lambda: on(app, SessionsScreen), "the sessions")
        await pilot.press(*"platinum7")
        await until(pilot, lambda: keys(app) == [f"{session_id} 9"], "the hit")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        timeline = app.screen.query_one(TimelinePane)
        await until(pilot, lambda: app.screen._current == 5, "the timeline")
        assert timeline.query("Rows").first().cursor == 8
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_list_that_goes_may_be_asked_for_its_keys(workbench, database):
    with SessionLog.open(database) as log:
        session_id = log.start_session("listed")
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        start = app.screen
        await pilot.press("ctrl+r")
        await until(pilot, lambda: on(app, SessionsScreen) and keys(app) == [session_id], "it")
        assert not start.query(Menu)
        assert not start.check_action("edit", ())
        screen = app.screen
        assert screen.check_action("replay", ())
        await screen.query_one(Menu).remove()
        assert not screen.check_action("replay", ())
        await quit_it(pilot)


@pytest.mark.slow
async def test_code_of_a_checkpoint_is_not_run_because_a_session_says_so(workbench, database):
    from workbench.store.events import OperationFinished, OperationStarted

    pair = PairArguments(base="acme/base", adapter="acme/adapter", trust_remote_code=True)
    with SessionLog.open(database) as log:
        session_id = log.start_session("from a stranger")
        asked = OperationStarted(operation="load_pair", arguments=pair.model_dump(mode="json"))
        log.append(session_id, asked, operation_id="1")
        log.append(session_id, OperationFinished(seconds=1), operation_id="1")
    app = workbench(session="last")
    async with app.run_test(size=(120, 40)) as pilot:
        await until_asked(pilot, Confirm, "the question")
        # A thread found it: what was typed till then is no answer.
        assert app.screen.is_unasked
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        assert not app.opened.jobs()
        assert app.opened.pair is None
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_database_that_cannot_be_used_is_said_and_another_is_taken(
    workbench, database, tmp_path
):
    SessionLog.open(database).close()
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    app = workbench()
    other = tmp_path / "other.db"
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await until(pilot, lambda: "schema version 99" in screen_text(app), "what is wrong")
        await pilot.press("b", "ctrl+u", *str(other), "enter")
        await until(pilot, lambda: "schema version 99" not in screen_text(app), "its end")
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await type_pair(pilot, "acme/base", "acme/adapter")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)
    assert app.return_value == 0
    assert other.exists()


async def test_what_could_not_be_opened_gives_the_exit_code(workbench, database):
    app = workbench(session="nowhere")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        await until(pilot, lambda: "there is no session" in screen_text(app), "what is wrong")
        await quit_it(pilot)
    assert app.return_value == 2


@pytest.mark.slow
async def test_keys_while_a_session_is_being_closed_do_no_harm(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await pilot.press("ctrl+r", "a", "x", "ctrl+r", "ctrl+n")
        await until(pilot, lambda: on(app, SessionsScreen), "the sessions")
        await quit_it(pilot)
    assert app.return_value == 0
