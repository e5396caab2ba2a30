"""A terminal that cannot show a screen gets a sentence instead of colour codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest


@pytest.mark.parametrize("term", ["dumb", "", None])
@pytest.mark.parametrize(
    "arguments", [["--demo"], ["replay", "--example"]], ids=["audit", "replay"]
)
def test_a_dumb_terminal_gets_a_sentence(tmp_path, term, arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TERM"}
    environment |= {"ADL_WORKBENCH_HOME": str(tmp_path)} | ({} if term is None else {"TERM": term})
    master, slave = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-m", "workbench", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        timeout=300,
        check=False,
    )
    os.close(slave)
    os.set_blocking(master, False)
    try:
        written = os.read(master, 1000)
    except OSError:  # nothing was written
        written = b""
    os.close(master)
    assert ended.returncode == 2, ended.stderr
    assert "\x1b" not in ended.stderr
    assert written == b""
    assert "TERM" in ended.stderr
    assert "xterm-256color" in ended.stderr
