"""One bar for a whole audit with the time left; lines where stderr is no terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading

import pytest

from tests.processes import HANGS
from tests.workbench.cli.conftest import PLANTED, ROOT, SMALL, environment, running
from workbench.cli import progress
from workbench.cli.progress import Lines
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.time_left import PlanProgress

AUDIT = ["audit", *SMALL]


def read_all(descriptor: int) -> bytes:
    """What comes until the other end is closed."""
    found = b""
    try:
        while chunk := os.read(descriptor, 65536):
            found += chunk
    except OSError:  # Linux ends a terminal so
        pass
    return found


@pytest.mark.slow
def test_an_audit_on_a_terminal_is_one_bar():
    main, terminal = pty.openpty()
    command = [*PLANTED, *AUDIT]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=terminal, cwd=ROOT, env=environment()
    ) as process:
        os.close(terminal)
        drawn = read_all(main).decode()
        assert process.wait() == 0
    os.close(main)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    frames = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    # The last frame stays: the audit, and the stage that came last.
    *_, last = [place for place, line in enumerate(frames) if line.startswith("audit ")]
    assert "100%" in frames[last]
    assert frames[last + 1].startswith("  steer")
    assert sum(line.startswith(("difference", "patchscope", "load")) for line in frames) == 0


def test_lines_are_written_again_and_again_though_nothing_is_reported(monkeypatch):
    written: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        written.append(line)
        if len(written) == 2:
            twice.set()

    monkeypatch.setattr(progress, "say", say)
    lines = Lines(PlanProgress([(MEASURE, MeasureArguments())]), "audit", str)
    with lines.beating(0.001):
        assert twice.wait(HANGS)
    assert set(written) == {"audit: 0%"}


def test_a_line_tells_how_far_the_work_is_and_the_time_left(capsys: pytest.CaptureFixture[str]):
    now = [0.0]
    plan = PlanProgress([(MEASURE, MeasureArguments())], lambda: now[0])
    lines = Lines(plan, "audit", lambda text: text.replace("diff", "xxxx"))
    lines.report(MEASURE.name, "difference", 0, 1000)
    now[0] = 40
    lines.report(MEASURE.name, "difference", 250, 1000)
    assert lines.line == "audit: 25%, about 2 min left (xxxxerence 250 of 1000)"
    assert capsys.readouterr().err == "xxxxerence ...\n"


@pytest.mark.slow
def test_the_command_writes_such_lines():
    """In the process itself, with a short time between lines and a pair that is halted meanwhile."""
    assert progress.SECONDS_BETWEEN_LINES == 30
    with running(AUDIT, {"halt": ["generate", 1], "seconds_between_lines": 0.01}) as work:
        work.wait_until_halted()
        assert work.process.stderr is not None
        for line in work.process.stderr:
            if (found := re.match(r"audit: (\d+)%", line)) and int(found[1]) > 80:
                break
        else:
            pytest.fail("there was no line")
        work.go_on()
        work.read_to_end()
        work.process.communicate()
        assert work.process.returncode == 0
