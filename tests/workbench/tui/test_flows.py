"""From the start screen into sessions and back, on the planted pair, by keys alone."""

from __future__ import annotations

import sqlite3
import sys
import threading

from adl.errors import AdlError
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_start_screen import keys, shown
from tests.workbench.tui.waiting import until
from workbench.operations.pair import PairArguments
from workbench.store.lease import Lease, is_open
from workbench.store.log import SessionLog
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.screens.new_pair import empty_pair
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.menu import Menu


def on(app, screen) -> bool:
    return type(app.screen) is screen and app.screen.is_mounted and app.focused is not None


async def type_pair(pilot, base: str, adapter: str, name: str = "") -> None:
    await until(pilot, lambda: on(pilot.app, StartScreen), "the start screen")
    await pilot.press("o", *base, "down", *adapter)
    for _ in empty_pair():
        if pilot.app.focused.id == "name":
            break
        await pilot.press("down")
    await pilot.press(*name, "down")
    assert pilot.app.focused.id == "prepare"
    await pilot.press("right", "enter")


async def to_sessions(pilot) -> None:
    await pilot.press("ctrl+r")
    await until(pilot, lambda: on(pilot.app, SessionsScreen), "the sessions")


async def quit_it(pilot) -> None:
    await pilot.press("ctrl+q")
    await until(pilot, lambda: pilot.app._exit, "the end")


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


async def test_sessions_follow_one_another_and_leave_nothing_behind(workbench, planted_models):
    app = workbench(pair=None)
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
            names = sorted(
                thread.name
                for thread in threading.enumerate()
                if thread.name in {"models", "notes"}
            )
            assert names == []
            before = before or threading.active_count()
        # The pool of the loop grows to what is needed at once, and no further.
        assert threading.active_count() <= before + 6
        assert [session.pair for session in sessions] == [None] * 4
        await quit_it(pilot)


async def test_a_load_that_fails_is_said_and_the_app_lives_on(workbench, planted_models):
    import sys

    from adl.errors import PairError

    def refuse(*_args, **_settings):
        raise PairError("'acme/typo' is not on the hub", "Check the id.")

    sys.modules["adl.pair.nnsight.pair"].NnsightPair.load = staticmethod(refuse)
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await type_pair(pilot, "acme/typo", "acme/adapter")
        await until(pilot, lambda: on_audit(app) and app.opened.state.operations, "the loading")
        await until(
            pilot,
            lambda: next(iter(app.opened.state.operations.values())).status == "failed",
            "its failure",
        )
        await until(pilot, lambda: "'acme/typo'" in shown(app), "the message")
        await to_sessions(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        # What was typed is there to be corrected.
        await pilot.press("o")
        await until(pilot, lambda: "acme/typo" in shown(app), "the form as it was")
        await quit_it(pilot)


async def test_a_folder_that_is_not_there_never_leaves_the_form(workbench):
    app = workbench(pair=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await type_pair(pilot, "/nowhere/base", "acme/adapter")
        await until(pilot, lambda: "there is no such folder" in shown(app), "what is wrong")
        assert app.opened is None
        assert app.focused.id == "base"
        await quit_it(pilot)


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
        await until(pilot, lambda: "open elsewhere" in shown(app), "how it stands")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("n")
        await until(pilot, lambda: on(app, SessionsScreen) and keys(app), "the sessions")
        assert app.opened is None
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)
    lease.release()


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
        await until(pilot, lambda: "renamed to new name" in shown(app), "the word")
        await pilot.press("escape")
        await until(pilot, lambda: keys(app) == [session_id, other], "the list")
        await pilot.press("home", "delete", *"new name", "enter")
        await until(pilot, lambda: keys(app) == [other], "the shorter list")
        await quit_it(pilot)
    with SessionLog.open(database, read_only=True) as log:
        assert [one.name for one in log.sessions()] == ["other"]
        assert log.verify().ok


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
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        assert not app.opened.jobs()
        assert app.opened.pair is None
        await quit_it(pilot)


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
        await until(pilot, lambda: "schema version 99" in shown(app), "what is wrong")
        await pilot.press("b", "ctrl+u", *str(other), "enter")
        await until(pilot, lambda: "schema version 99" not in shown(app), "its end")
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
        await until(pilot, lambda: "there is no session" in shown(app), "what is wrong")
        await quit_it(pilot)
    assert app.return_value == 2


async def test_keys_while_a_session_is_being_closed_do_no_harm(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await pilot.press("ctrl+r", "a", "x", "ctrl+r", "ctrl+n")
        await until(pilot, lambda: on(app, SessionsScreen), "the sessions")
        await quit_it(pilot)
    assert app.return_value == 0


async def test_what_needs_the_pair_does_not_start_when_it_cannot_be_loaded(workbench, monkeypatch):
    def load(*_given: object, **_settings: object) -> None:
        raise AdlError("the adapter is of another model", "Name its base.")

    monkeypatch.setattr(sys.modules["adl.pair.nnsight.pair"].NnsightPair, "load", load)
    app = workbench(prepare=True)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await until(
            pilot,
            lambda: [each.status for each in app.opened.state.operations.values()] == ["failed"],
            "the failure",
        )
        await until(pilot, lambda: not app.opened.jobs(), "the end")
        await pilot.pause(0.2)
        assert [each.name for each in app.opened.state.operations.values()] == ["load_pair"]
        (toast,) = app._notifications
        assert "of another model" in toast.message
        await quit_it(pilot)
