"""Terminals on the session of an engine: killed, hung up, left, two at once, and without the engine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench.engine.processes import EngineProcess, engine_process
from tests.workbench.tui.terminal import Terminal
from workbench.store.state import SessionState

HALTS = {"halt": ["residual_sums", 1]}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    with engine_process(tmp_path) as engine:
        yield engine


def attached(engine: EngineProcess) -> Terminal:
    return Terminal(["attach"], home=engine.home)


def status(state: SessionState, name: str) -> list[str]:
    return [made.status for made in state.operations.values() if made.name == name]


def leave(terminal: Terminal, engine: EngineProcess) -> None:
    terminal.press("ctrl+q")
    assert terminal.ends() == 0
    assert terminal.is_clean
    assert engine.process.poll() is None
    assert engine.state().outcome is None


@pytest.mark.slow
def test_a_job_goes_on_when_its_terminal_is_killed_and_the_next_one_shows_it(tmp_path):
    with engine_process(tmp_path, planted=HALTS) as engine:
        with attached(engine) as terminal:
            terminal.shows("6 Time")
            terminal.press("a")
            engine.wait("the job", lambda state: "running" in status(state, "measure_difference"))
            terminal.signal(signal.SIGKILL)
            terminal.ends()
        engine.go_on()
        engine.wait("its end", lambda state: status(state, "measure_difference") == ["finished"])
        with attached(engine) as again:
            again.shows("measured  layer 2")
            # Nobody else has the keys.
            again.press("x")
            engine.wait("the stop", lambda state: "running" not in status(state, "read_tokens"))
            leave(again, engine)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["SIGHUP", "SIGTERM", "lost terminal"])
def test_a_lost_link_detaches(engine, ending):
    with attached(engine) as terminal:
        terminal.shows("6 Time")
        terminal.press("6")
        terminal.shows("/ Search")
        if ending == "lost terminal":
            terminal.hang_up()
        else:
            terminal.signal(signal.Signals[ending])
        terminal.ends()
    assert engine.process.poll() is None
    state = engine.state()
    assert state.outcome is None
    assert state.view["current"] == 5
    with attached(engine) as again:
        again.shows("/ Search")
        leave(again, engine)


@pytest.mark.slow
def test_two_screens_show_one_session_and_one_has_the_keys(engine):
    with attached(engine) as first:
        first.shows("6 Time")
        with attached(engine) as second:
            second.shows(" watching ")
            first.press("ctrl+n")
            first.shows("Note")
            first.press("seen by both", "enter")
            # In its turn: what a program writes is taken in by who waits for it.
            first.shows("4 lines, 8 events")
            second.shows("4 lines, 8 events")
            second.press("ctrl+g")
            # Its answers come once it takes them: nobody pressed a key for it.
            first.shows("Give the keys")
            first.press("y")
            first.shows(" watching ")
            second.shows("You have the keys.")
            second.signal(signal.SIGKILL)
            second.ends()
        first.shows("The screen that had the keys")
        first.press("ctrl+g")
        first.wait(lambda: " watching " not in first.text, "it still watches")
        leave(first, engine)


@pytest.mark.slow
def test_a_killed_engine_leaves_a_screen_that_looks_and_attaches_to_the_next(tmp_path):
    with engine_process(tmp_path) as engine, attached(engine) as terminal:
        terminal.shows("6 Time")
        terminal.press("a")
        engine.wait("the job", lambda state: "running" in status(state, "read_tokens"))
        engine.kill()
        terminal.shows("Only look")
        terminal.press("n")
        terminal.shows(" engine gone ")
        terminal.press("2")
        terminal.shows("r Reading")
        with engine_process(tmp_path, "--session", engine.session) as next_one:
            terminal.press("ctrl+g")
            terminal.shows("Attach again")
            terminal.press("a")
            terminal.wait(lambda: " engine gone " not in terminal.text, "it did not attach")
            terminal.shows("6 Time")
            leave(terminal, next_one)


@pytest.mark.slow
def test_without_an_engine_the_session_goes_on_here(tmp_path):
    with engine_process(tmp_path) as engine, attached(engine) as terminal:
        terminal.shows("6 Time")
        engine.kill()
        terminal.shows("Only look")
        terminal.press("e")
        terminal.wait(lambda: terminal.text.count("pair loaded") == 2, "it was not loaded here")
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert engine.state().outcome == "completed"


@pytest.mark.slow
def test_nothing_to_attach_to_is_said(tmp_path):
    with Terminal(["attach"], home=tmp_path) as terminal:
        assert terminal.ends() == 1
        assert "no engine runs" in terminal.text
