"""A terminal that cannot show a screen gets a sentence instead of colour codes."""

from __future__ import annotations

import os
import pty

import pytest

from tests import forks


@pytest.mark.parametrize("term", ["dumb", "", None])
@pytest.mark.parametrize(
    "arguments", [["--demo"], ["replay", "--example"]], ids=["audit", "replay"]
)
def test_a_dumb_terminal_gets_a_sentence(tmp_path, term, arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TERM"}
    environment |= {"ADL_WORKBENCH_HOME": str(tmp_path)} | ({} if term is None else {"TERM": term})
    master, slave = pty.openpty()
    with forks.Started(
        "workbench.cli", arguments, environment, stdin=slave, stdout=slave
    ) as process:
        _, errors = process.communicate()
    os.close(slave)
    os.set_blocking(master, False)
    try:
        written = os.read(master, 1000)
    except OSError:  # nothing was written
        written = b""
    os.close(master)
    assert process.returncode == 2, errors
    assert "\x1b" not in errors
    assert written == b""
    assert "TERM" in errors
    assert "xterm-256color" in errors
