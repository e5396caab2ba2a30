"""Processes of the command line over the planted pair, started, halted and killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from workbench.locations import HOME_VARIABLE
from workbench.store.events import Event
from workbench.store.log import SessionLog

ROOT = Path(__file__).resolve().parents[3]
PLANTED = [sys.executable, "-m", "tests.planted_cli"]
DEMO = ["--demo", "--texts", "16"]
SMALL = [*DEMO, "--n-prompts", "2", "--tokens", "6"]
Done = subprocess.CompletedProcess[str]
RunCli = Callable[..., Done]


def environment(wanted: dict[str, Any] | None = None, **changed: str | None) -> dict[str, str]:
    """This process's environment, changed; None takes a variable away."""
    # More threads than one only get in each other's way in matrices this small.
    found: dict[str, str | None] = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        # Output is buffered as it is for a person.
        "PYTHONUNBUFFERED": None,
        "OPENAI_API_KEY": None,
        "OPENAI_BASE_URL": None,
        "PLANTED_CLI": json.dumps(wanted or {}),
        **changed,
    }
    return {name: value for name, value in found.items() if value is not None}


def finished(
    arguments: Sequence[str | bytes | Path],
    wanted: dict[str, Any] | None = None,
    env: dict[str, str | None] | None = None,
    **options: Any,
) -> Done:
    """A command of the planted command line, run to its end."""
    whole = environment(wanted, **(env or {}))
    if forks.starts_alike(whole):
        if not options:
            return forks.completed("tests.planted_cli", arguments, whole)
        if set(options) == {"stdin"}:
            begun = forks.Started("tests.planted_cli", arguments, whole, stdin=options["stdin"])
            out, err = begun.communicate()
            return subprocess.CompletedProcess(list(arguments), begun.wait(), out, err)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [*PLANTED, *arguments],
        text=True,
        check=False,
        cwd=ROOT,
        env=whole,
        **(pipes | options),
    )


@pytest.fixture
def cli() -> RunCli:
    """Run a command of the planted command line to its end, in the test's own home."""
    return lambda *arguments, **options: finished(arguments, **options)


@dataclass
class Running:
    """A process of the planted command line that announces what it does."""

    process: subprocess.Popen[str] | forks.Started
    resume: int
    announcements: Any
    lines: list[str] = field(default_factory=list)

    def read(self) -> str:
        """The next announcement; empty once the process has ended."""
        line: str = self.announcements.readline()
        # What is cut off by a kill was not announced.
        if line.endswith("\n"):
            self.lines.append(line.rstrip("\n"))
            return self.lines[-1]
        return ""

    def read_to_end(self) -> list[str]:
        """What it goes on to announce until it ends."""
        before = len(self.lines)
        while self.read():
            pass
        return self.lines[before:]

    def wait_until_halted(self) -> None:
        while (line := self.read()) != "halted":
            assert line, f"it ended before it came there: {self.lines[-3:]}"

    def go_on(self) -> None:
        os.write(self.resume, b".")

    @property
    def committed(self) -> dict[tuple[str, int], str]:
        """Hash by (session, seq) of every event announced so far."""
        events = [line.split() for line in self.lines if line.startswith("event ")]
        return {(session, int(seq)): sha256 for _, session, seq, sha256, _ in events}


@contextmanager
def running(
    arguments: Sequence[str],
    wanted: dict[str, Any] | None = None,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    env: dict[str, str | None] | None = None,
    **options: Any,
) -> Iterator[Running]:
    """A process under way; killed if it is still there at the end."""
    heard, announce = os.pipe()
    waited, resume = os.pipe()
    whole = environment((wanted or {}) | {"announce": announce, "resume": waited}, **(env or {}))
    streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    process: subprocess.Popen[str] | forks.Started
    # Modules look at a terminal when they are loaded, and for a fork they are already.
    drawn = any(stream >= 0 and os.isatty(stream) for stream in streams.values())
    if not options and not drawn and forks.starts_alike(whole):
        process = forks.Started(
            "tests.planted_cli", arguments, whole, pass_fds=(announce, waited), **streams
        )
    else:
        process = subprocess.Popen(
            [*PLANTED, *arguments],
            text=True,
            cwd=ROOT,
            pass_fds=(announce, waited),
            env=whole,
            **streams,
            **options,
        )
    os.close(announce)
    os.close(waited)
    with os.fdopen(heard, encoding="utf-8") as announcements:
        try:
            yield Running(process, resume, announcements)
        finally:
            process.kill()
            process.wait()
            os.close(resume)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def recorded(path: Path, session: str = "last") -> list[Event]:
    """The events of a session, in a file that verifies."""
    with SessionLog.open(path, read_only=True) as log:
        report = log.verify()
        assert report.ok, report.problems
        return list(log.events(log.find_session(session).id))


@pytest.fixture
def database(workbench_home: Path) -> Path:
    return workbench_home / "sessions.db"


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A file with an answered question and a measurement, in this order, and their ids."""
    home = tmp_path_factory.mktemp("recorded")
    ids = []
    for arguments in (
        ["ask", "Hello there", "--tokens", "4", "--name", "first"],
        ["diff", "--texts", "16", "--name", "second"],
    ):
        # By its name: that of the demo would be hidden.
        named = [*arguments, "--organism", "cake_bake", "--json"]
        done = finished(named, env={HOME_VARIABLE: str(home)})
        assert done.returncode == 0, done.stderr
        ids.append(json.loads(done.stdout)["session"])
    return home / "sessions.db", ids[0], ids[1]


@pytest.fixture
def two_sessions(recorded_once: tuple[Path, str, str], database: Path) -> tuple[str, str]:
    """The ids of both, with the file copied to where the test's own sessions are."""
    template, first, second = recorded_once
    shutil.copy(template, database)
    return first, second
