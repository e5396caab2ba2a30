"""However the program is ended, the session is whole and the terminal is as it was found."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.workbench.tui.terminal import Terminal
from workbench.store.log import SessionLog

pytestmark = pytest.mark.slow


def check_session(home: Path, outcome: str | None) -> None:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        (overview,) = log.sessions()
        assert log.verify().ok
        assert overview.outcome == outcome


@pytest.fixture
def opened(tmp_path: Path):
    with Terminal(["--demo", "--no-prepare"], home=tmp_path) as terminal:
        terminal.shows("pair loaded")
        yield terminal


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_closes_the_session_and_restores_the_terminal(opened, tmp_path, name):
    number = signal.Signals[name]
    opened.signal(number)
    assert opened.ends() == 128 + number
    assert opened.is_clean
    check_session(tmp_path, "stopped")


def test_ctrl_c_closes_the_session_and_restores_the_terminal(opened, tmp_path):
    opened.press("ctrl+c")
    assert opened.ends() == 130
    assert opened.is_clean
    check_session(tmp_path, "stopped")


def test_ctrl_q_ends_with_nothing_wrong(opened, tmp_path):
    opened.press("ctrl+q")
    assert opened.ends() == 0
    assert opened.is_clean
    check_session(tmp_path, "completed")


def test_a_lost_terminal_ends_the_program_with_the_session_closed(opened, tmp_path):
    opened.hang_up()
    opened.ends()
    check_session(tmp_path, "stopped")


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGHUP", "lost terminal"])
def test_a_model_that_hangs_keeps_nobody_from_leaving(tmp_path, ending):
    planted = {"halt": ["residual_sums", 1], "announce": 2, "resume": 0}
    with Terminal(["--demo"], home=tmp_path, planted=planted) as terminal:
        terminal.wait(lambda: b"halted" in terminal.written, "it never used the model")
        if ending == "lost terminal":
            terminal.hang_up()
        else:
            terminal.signal(signal.Signals[ending])
        terminal.ends()
    check_session(tmp_path, "stopped")


@pytest.mark.parametrize("ending", ["SIGTERM", "lost terminal"])
def test_a_loading_that_hangs_keeps_nobody_from_leaving_and_leaves_no_session(tmp_path, ending):
    planted = {"halt": ["load", 1], "announce": 2, "resume": 0}
    with Terminal(["--demo"], home=tmp_path, planted=planted) as terminal:
        terminal.wait(lambda: b"halted" in terminal.written, "it never used the model")
        if ending == "lost terminal":
            terminal.hang_up()
        else:
            terminal.signal(signal.Signals[ending])
        terminal.ends()
    with SessionLog.open(tmp_path / "sessions.db", read_only=True) as log:
        assert log.sessions() == []


def test_kill_9_leaves_a_session_that_opens_where_it_was(opened, tmp_path):
    opened.signal(signal.SIGKILL)
    opened.ends()
    check_session(tmp_path, None)
    with Terminal(["--session", "last"], home=tmp_path) as again:
        again.shows("session continued")
        again.wait(lambda: again.text.count("pair loaded") == 2, "the pair was not loaded again")
        again.press("ctrl+q")
        assert again.ends() == 0
    check_session(tmp_path, "completed")
