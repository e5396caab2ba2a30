"""A fault of a handler is shown and recorded, and ends neither the program nor the widget."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.tui.terminal import Terminal
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import until
from workbench.operations.notes import NOTE, NoteArguments
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold
from workbench.tui.screens.audit import AuditScreen

BROKEN = {
    "an action": ("workbench.tui.panes.steering.pane:SteeringPane.action_compare", "3", "C"),
    "a handler": (
        "workbench.tui.panes.steering.console:SteeringConsole.on_input_submitted",
        "3=",
        "\r",
    ),
    "a worker": ("workbench.tui.screens.audit:AuditScreen.action_note", "3", "\x0e"),
    "a dialog": ("workbench.tui.dialogs.ask_line:AskLine.on_input_submitted", "\x0e", "\r"),
}


def recorded(home: Path) -> SessionState:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        (overview,) = log.sessions()
        assert log.verify().ok
        return fold(log.events(overview.id))


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_a_fault_is_shown_and_recorded_and_the_program_goes_on(tmp_path: Path, what: str):
    method, before, key = BROKEN[what]
    with Terminal(
        ["--demo", "--no-prepare"], home=tmp_path, planted={"broken": [method]}, forked=True
    ) as terminal:
        terminal.shows("pair loaded")
        terminal.press(before)
        terminal.settle()
        terminal.press(key)
        terminal.shows("A bug in adl-workbench")
        terminal.press(key)
        terminal.press("\x1b")
        terminal.settle()
        terminal.press("3=")
        terminal.shows("alpha, in residual norms")
        assert b"Traceback" not in terminal.written
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
    notes = [note.body.text for note in recorded(tmp_path).notes]
    assert notes
    assert all("ZeroDivisionError" in note for note in notes)
    traces = list((tmp_path / "cache" / "crashes").iterdir())
    assert traces
    assert all("Traceback" in trace.read_text() for trace in traces)


@pytest.mark.slow
async def test_faults_that_go_on_end_the_program_with_what_was_set(workbench):
    app = workbench()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the app raises at its end
        async with app.run_test(size=(120, 40)) as pilot:
            await until(
                pilot,
                lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted,
                "the audit",
            )
            await pilot.press("3", *"=0.77", "enter")
            ended = asyncio.Event()
            leave = app.exit
            app.exit = lambda *given, **named: (ended.set(), leave(*given, **named))
            # As drawing does, which comes back at each frame.
            for _ in range(10):
                app._handle_exception(ZeroDivisionError("cannot be drawn"))
            await asyncio.wait_for(ended.wait(), HANGS)
    assert "cannot be drawn" in app.crash
    state = recorded(app.startup.database.parent)
    assert state.outcome == "failed"
    assert state.view["steering"]["settings"]["alpha"] == "0.77"


@pytest.mark.slow
async def test_a_fault_on_a_thread_is_told(workbench):
    def broken():
        raise ZeroDivisionError("on a thread")

    app = workbench()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the app raises at its end
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: on_audit(app), "the audit")
            app.opener._in_thread(broken)
            await until(pilot, lambda: len(app._notifications) > 0, "the toast")
            (toast,) = app._notifications
            assert toast.title == "A bug in adl-workbench"
            assert "on a thread" in toast.message
            assert "trace" in toast.message


@pytest.mark.slow
async def test_a_job_that_fails_by_a_bug_tells_where_its_trace_is(workbench):
    def broken(_context, _arguments):
        raise KeyError("layers")

    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit")
        app.screen.order(replace(NOTE, work=broken), NoteArguments(text="a note"))
        await until(pilot, lambda: len(app._notifications) > 0, "the toast")
        (toast,) = app._notifications
    assert toast.title.endswith("failed")
    assert "KeyError" in toast.message
    (trace,) = (app.startup.database.parent / "cache" / "crashes").iterdir()
    assert str(trace) in toast.message
    assert "broken" in trace.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x" * 300, "/"])
async def test_a_report_that_cannot_be_written_says_so(workbench, name):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit")
        app._write_report(app.opened.session.id, name)
        await until(pilot, lambda: len(app._notifications) > 0, "the toast")
        (toast,) = app._notifications
    assert toast.title == "Not written"
    assert toast.severity == "error"
