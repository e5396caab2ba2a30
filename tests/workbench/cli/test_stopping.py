"""Ctrl-C and its kin: the batch under way ends, the log says so, the exit code is 130."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.workbench.cli.conftest import SMALL, RunCli, environment, recorded, running
from workbench.store.log import SessionLog

AUDIT = ["audit", *SMALL, "--batch-size", "6"]
ASK = ["ask", "--demo", "Hi", "--samples", "2", "--tokens", "4"]

# The use of the model that is under way when the signal comes, and the operation it is of. A batch
# of patched vectors is six uses: three prompts on two sides.
STAGES = [
    (AUDIT, ["residual_sums", 1], "measure_difference"),
    (AUDIT, ["residual_sums", 2], "measure_difference"),
    (AUDIT, ["steering_shift", 1], "read_tokens"),
    (AUDIT, ["steering_shift", 9], "read_tokens"),
    (AUDIT, ["output_shift", 2], "read_tokens"),
    (AUDIT, ["patched_log_probs", 1], "read_tokens"),
    (AUDIT, ["patched_log_probs", 12], "read_tokens"),
    (AUDIT, ["generate", 1], "steer"),
    (ASK, ["generate", 1], "ask"),
    (ASK, ["generate", 2], "ask"),
    (ASK, ["continuation_kl", 1], "ask"),
]


def assert_stopped(database: Path, operation: str, reason: str = "") -> None:
    events = recorded(database)
    begun = [event.body.operation for event in events if event.body.kind == "operation_started"]
    assert begun[-1] == operation
    stopped, closed = events[-2:]
    assert stopped.body.kind == "operation_stopped"
    assert reason in stopped.body.reason
    assert (closed.body.kind, closed.body.outcome) == ("session_closed", "stopped")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "use", "operation"),
    STAGES,
    ids=[f"{operation} at {use[0]} {use[1]}" for _, use, operation in STAGES],
)
def test_ctrl_c_ends_the_batch_under_way_and_no_other_is_begun(
    database: Path, arguments, use, operation
):
    with running([*arguments, "--json"], {"halt": use}) as work:
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        work.go_on()
        uses = [line for line in work.read_to_end() if line.startswith("use ")]
        output, errors = work.process.communicate()
    assert work.process.returncode == 130
    assert output == ""
    assert "Stopping ... press Ctrl-C again to quit now" in errors
    assert "Traceback" not in errors
    assert len(uses) <= {"patched_log_probs": 5}.get(use[0], 0)
    assert_stopped(database, operation)


def test_ctrl_c_while_the_pair_is_loaded_leaves_no_session(database: Path):
    with running(AUDIT, {"halt": ["load", 1]}) as work:
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        work.go_on()
        work.read_to_end()
        assert work.process.wait() == 130
    with SessionLog.open(database, read_only=True) as log:
        assert log.sessions() == []


@pytest.mark.slow
def test_ctrl_c_in_the_last_of_a_reading_stops_before_the_next_operation(
    database: Path, tmp_path: Path
):
    with running([*AUDIT, "--database", str(tmp_path / "other.db")]) as work:
        uses = [line.split()[1] for line in work.read_to_end() if line.startswith("use ")]
    read = uses[: uses.index("generate")]
    with running(AUDIT, {"halt": [read[-1], read.count(read[-1])]}) as work:
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        work.go_on()
        work.read_to_end()
        work.process.communicate()
    assert work.process.returncode == 130
    assert_stopped(database, "steer")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_being_told_to_end_is_a_stop_too(database: Path, number):
    with running(AUDIT, {"halt": ["residual_sums", 1]}) as work:
        work.wait_until_halted()
        work.process.send_signal(number)
        work.go_on()
        work.read_to_end()
        _, errors = work.process.communicate()
    assert work.process.returncode == 130
    assert f"Stopping ... send {number.name} again to quit now" in errors
    assert_stopped(database, "measure_difference")


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_batch(database: Path):
    with running(AUDIT, {"halt": ["generate", 1]}) as work:
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        assert work.process.stderr is not None
        for line in work.process.stderr:
            if "Stopping ... press Ctrl-C again to quit now" in line:
                break
        work.process.send_signal(signal.SIGINT)
        # It is never told to go on.
        work.read_to_end()
        errors = work.process.stderr.read()
        assert work.process.wait() == 130
    assert "Traceback" not in errors
    assert_stopped(database, "steer", "KeyboardInterrupt")


@pytest.mark.slow
def test_a_terminal_that_hangs_up_is_a_stop_and_not_a_failure(database: Path):
    main, terminal = pty.openpty()

    def with_the_terminal() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    with running(
        AUDIT,
        {"halt": ["steering_shift", 3]},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=with_the_terminal,
    ) as work:
        os.close(terminal)
        work.wait_until_halted()
        drawn = os.read(main, 65536)
        os.close(main)
        work.go_on()
        work.read_to_end()
        assert work.process.wait() == 130
    assert b"difference" in drawn  # bars were being drawn
    assert_stopped(database, "read_tokens")


@pytest.mark.slow
def test_progress_and_signals_are_shown_on_a_terminal(database: Path):
    """Bars are redrawn by a thread while the signal's handler talks: neither may trip the other."""
    main, terminal = pty.openpty()
    with running(AUDIT, {"halt": ["steering_shift", 3]}, stderr=terminal) as work:
        os.close(terminal)
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        work.go_on()
        work.read_to_end()
        assert work.process.wait() == 130
        said = b""
        while b"stopped: " not in said:
            said += os.read(main, 65536)
    os.close(main)
    assert b"shift lens, base" in said
    assert b"Stopping ... press Ctrl-C again to quit now" in said
    assert_stopped(database, "read_tokens")


@pytest.mark.slow
def test_what_was_stopped_can_be_gone_on_with(cli: RunCli, database: Path):
    with running(AUDIT, {"halt": ["generate", 1]}) as work:
        work.wait_until_halted()
        work.process.send_signal(signal.SIGINT)
        work.go_on()
        work.read_to_end()
        work.process.communicate()
    before = recorded(database)
    done = cli("steer", *SMALL, "--session", "last", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["texts"]) == 4
    after = recorded(database, found["session"])
    assert after[: len(before)] == before
    measured = [event.body for event in after if event.body.kind == "difference_measured"]
    assert [body.from_cache for body in measured] == [False, True]
    assert after[-1].body.outcome == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_that_was_ignored_stays_so(database: Path, number):
    """As under `nohup`, or in the background of a script."""
    with running(
        ASK,
        {"halt": ["generate", 1]},
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    ) as work:
        work.wait_until_halted()
        work.process.send_signal(number)
        work.go_on()
        work.read_to_end()
        work.process.communicate()
    assert work.process.returncode == 0
    assert recorded(database)[-1].body.outcome == "completed"


def narrow_pipe() -> tuple[int, int]:
    """Ends to read from and to write to, with room for 4096 bytes between them."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    return read, write


def wait_until_full(read: int) -> None:
    """Return once whoever writes into the narrow pipe waits for its reader."""
    held = array.array("i", [0])
    while held[0] < 4096:
        select.select([read], [], [])
        fcntl.ioctl(read, termios.FIONREAD, held)
        assert held[0], "it ended, and had nothing to write"


def test_ctrl_c_while_a_session_is_shown_ends_with_130(two_sessions, database: Path):
    """A reader that waits, and a writer that therefore does: until someone presses Ctrl-C."""
    read, write = narrow_pipe()
    with running(["sessions", "show", "--json"], stdout=write) as work:
        os.close(write)
        wait_until_full(read)
        work.process.send_signal(signal.SIGINT)
        assert work.process.wait() == 130
    os.close(read)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "presses"),
    [("raise KeyboardInterrupt", 0), ("pass", 1), ("raise SystemExit", 1)],
    ids=["with output left", "in the last of the output", "while it leaves"],
)
def test_ctrl_c_does_not_wait_for_a_reader_that_waits(last, presses):
    """Whatever of the output is still in the program when the signal comes."""
    read, write = narrow_pipe()
    code = f"""
import sys
from workbench.cli.guard import ending_well
with ending_well():
    sys.stdout.write("x" * 8000)  # more than the pipe takes, less than Python gives on by itself
    {last}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, env=environment()
    )
    os.close(write)
    with process:
        for _ in range(presses):
            wait_until_full(read)
            process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(read)
