"""Keys that come while the program or a screen is being left."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.tui.terminal import ROOT, Terminal
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_bursts import acted, dialogs, read
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.test_key_order import as_bytes, key_of
from tests.workbench.tui.test_monkey import recorded
from tests.workbench.tui.waiting import until
from workbench.engine.live_session import LiveSession
from workbench.store.log import SessionLog
from workbench.tui import key_table
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.sessions import SessionsScreen

NOTE, AUDIT, SESSIONS = key_of("note"), key_of("audit"), key_of("sessions")


def every_key(chance: random.Random) -> str:
    """The keys of the table in some order, as of one read; Escape would change the one behind it."""
    names = [name for key in key_table.TABLE for name in key.names if name != "escape"]
    chance.shuffle(names)
    return "".join(map(as_bytes, names))


@pytest.mark.slow
async def test_keys_behind_ctrl_q_do_nothing(workbench, monkeypatch):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:

        def loaded() -> bool:
            is_there = isinstance(app.screen, AuditScreen) and app.screen.is_mounted
            return is_there and app.opened.pair is not None and not app.opened.jobs()

        await until(pilot, loaded, "the pair")
        committed, asked = threading.Event(), []
        monkeypatch.setattr(app.leaving, "_commit", lambda *_ending: committed.wait(HANGS))
        monkeypatch.setattr(app.leaving, "_leave", lambda _code: None)
        monkeypatch.setattr(
            app.opened, "submit", lambda operation, *_given, **_named: asked.append(operation.name)
        )
        try:
            read(app, f"{as_bytes('ctrl+q')}{AUDIT}{NOTE}behind it\r{NOTE}")
            await acted(app, pilot)
            assert app.leaving.is_under_way
            assert (asked, dialogs(app)) == ([], 0)
        finally:
            committed.set()


async def test_a_screen_that_comes_up_while_the_program_ends_is_no_fault(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the audit")
        app.exit()
        app._show_sessions()
        await app.screen._mounted_event.wait()
        # The end of the block raises what the app failed with.
        assert isinstance(app.screen, SessionsScreen)


@pytest.mark.slow
async def test_what_was_left_stays_where_a_session_is_left_before_its_panes_are_there(
    workbench, database
):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit")
        await until(pilot, lambda: app.opened.pair is not None, "the pair")
        await pilot.press("4", "enter", *"Why")
        await quit_it(pilot)
    with SessionLog.open(database) as log:
        for is_shown in (False, True):
            opened = LiveSession.resume(log, "last", app.locations)
            left = opened.state.view
            assert left["chat"]["written"] == "Why"
            # No screen yet, then one whose panes are not composed.
            screen = AuditScreen(opened, load=None, prepare=False) if is_shown else None
            opened.close({} if screen is None else screen.view(), "stopped")
            assert opened.state.view == left


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("before", ["", f"{NOTE}a note", "5o", "3="])
@pytest.mark.parametrize(("leave", "code"), [("ctrl+q", 0), ("ctrl+c", 130)])
def test_every_key_while_the_program_is_left(tmp_path: Path, before: str, leave: str, code: int):
    chance = random.Random(f"{before} {leave}")
    with Terminal(["--demo", "--no-prepare"], home=tmp_path) as terminal:
        terminal.shows("pair loaded")
        terminal.press(f"{before}{as_bytes(leave)}{every_key(chance)}")
        assert terminal.ends() == code
        assert terminal.is_clean
        assert b"Traceback" not in terminal.written
        assert b"A bug in adl-workbench" not in terminal.written
    assert not list((tmp_path / "cache" / "crashes").glob("*"))
    state = recorded(tmp_path)
    assert [each.name for each in state.operations.values()] == ["load_pair"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_every_key_while_a_session_is_left_for_the_list(tmp_path: Path, seed: int):
    """They are keys of the list, which may rename the session, open it and begin another."""
    folder = tmp_path / "work"
    folder.mkdir()
    home = tmp_path / "home"
    with Terminal(
        ["--demo", "--no-prepare"],
        home=home,
        folder=folder,
        environment={"PYTHONPATH": str(ROOT)},
    ) as terminal:
        terminal.shows("pair loaded")
        terminal.press(f"{SESSIONS}{every_key(random.Random(seed))}")
        terminal.settle(0.3, most=2.0)
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean
        assert b"Traceback" not in terminal.written
        assert b"A bug in adl-workbench" not in terminal.written
    assert not list((home / "cache" / "crashes").glob("*"))
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        assert {session.outcome for session in log.sessions()} == {"completed"}
        assert log.verify().ok
