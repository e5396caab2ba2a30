"""kill -9 at any moment of an export, branch, import, vacuum, or of going on: nothing is lost.

No file is half there, and what a killed process leaves beside it the next one takes away.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.workbench.store.samples import reading
from workbench.report.jsonl import export_jsonl
from workbench.store.events import HypothesisStated, NoteWritten
from workbench.store.heads import Head
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

EVENTS = 1_500
SEED = 11

# One process has everything imported, and forks one for each of the commands it is given.
FORKING = """
import os, sys
from pathlib import Path
from workbench.replay.branch import branch
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.store.events import NoteWritten
from workbench.store.log import SessionLog

folder = Path(sys.argv[1])
database, session = folder / "sessions.db", sys.argv[2]

def say(*words):
    # In one write: a kill must not part a line.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def go_on(log):
    for number in range(60):
        event = log.append(session, NoteWritten(text=f"on {number}"))
        say("event", event.seq, event.sha256)

DO = {
    "export": lambda log: export_jsonl(log, session, folder / "out" / "a.jsonl.gz"),
    "export a database": lambda log: log.export_session(session, folder / "out" / "a.db"),
    "branch": lambda log: branch(log, session, log.find_session(session).events),
    "import": lambda log: import_jsonl(log, folder / "other.jsonl"),
    "import a database": lambda log: log.import_session(folder / "third.db"),
    "vacuum": lambda log: log.vacuum(),
    "go on": go_on,
}
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with SessionLog.open(database) as log:
            say("begun", os.getpid())
            DO[line.strip()](log)
        os._exit(0)
    say("ended", os.waitpid(child, 0)[1])
"""
KINDS = (
    "export",
    "export a database",
    "branch",
    "import",
    "import a database",
    "vacuum",
    "go on",
)


@dataclass
class Killing:
    """The process that forks, the files it works on, and what it announced."""

    folder: Path
    session: str
    process: subprocess.Popen[str]
    draw: random.Random
    lasts: dict[str, float] = field(default_factory=dict)
    announced: dict[int, str] = field(default_factory=dict)
    killed: int = 0

    def read(self) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, "the process ended"
        if words[0] == "event":
            self.announced[int(words[1])] = words[2]
        return words

    def run(self, kind: str, kill: bool) -> None:
        """Do one thing, and kill the process that does it at a moment drawn by chance."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        _, pid = self.read()
        began = time.perf_counter()
        if kill:
            until = began + self.draw.uniform(0, self.lasts[kind])
            # No event tells when it is at its middle: that is what is drawn.
            while time.perf_counter() < until:
                pass
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        while (words := self.read())[0] != "ended":
            pass
        self.lasts.setdefault(kind, time.perf_counter() - began)
        self.killed += int(words[1]) == signal.SIGKILL

    def check(self, kind: str) -> None:
        """All is as it was, or all of what was begun is there."""
        with SessionLog.open(self.folder / "sessions.db") as log:
            report = log.verify()
            assert report.ok, (kind, report.problems)
            head = report.heads[self.session]
            for seq, sha256 in self.announced.items():
                assert log.event(self.session, seq).sha256 == sha256
            for one in log.sessions():
                if one.id == self.session:
                    continue
                whole = one.events in {EVENTS, head.seq + 1}
                assert whole, f"{kind}: {one.name} has {one.events} events"
                log.delete_session(one.id, confirm=one.name)
        for file in (self.folder / "out").glob("[!.]*"):
            with SessionLog.open(self.folder / "check.db") as log:
                if file.suffix == ".db":
                    log.import_session(file)
                else:
                    from workbench.report.jsonl import import_jsonl

                    import_jsonl(log, file)
                assert log.verify().heads[self.session] == head
                log.delete_session(self.session, confirm="long")
            file.unlink()


@contextmanager
def killing(folder: Path) -> Iterator[Killing]:
    session = record(folder / "sessions.db", "long")
    with SessionLog.open(folder / "other.db") as log:
        other = log.start_session("other", then=entries())
        export_jsonl(log, other, folder / "other.jsonl")
    record(folder / "third.db", "third")
    (folder / "out").mkdir()
    pipes: dict[str, IO[Any] | int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", FORKING, str(folder), session]
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield Killing(folder, session, process, random.Random(SEED))


def entries() -> list[Entry]:
    notes = [NoteWritten(text=f"note {number}") for number in range(EVENTS - 102)]
    lists = [reading("oven batter " * 10, scale=number / 10) for number in range(100)]
    return [
        Entry(body) for body in (HypothesisStated(hypothesis_id="H1", text="x"), *notes, *lists)
    ]


def record(path: Path, name: str) -> str:
    with SessionLog.open(path) as log:
        return log.start_session(name, then=entries())


def kill_and_check(folder: Path, kills: int) -> None:
    with killing(folder) as work:
        for kind in KINDS:
            work.run(kind, kill=False)
            work.check(kind)
        for number in range(kills):
            kind = KINDS[number % len(KINDS)]
            work.run(kind, kill=True)
            work.check(kind)
        # Nothing would be shown by kills that all came too late.
        assert work.killed >= kills / 2
        work.run("export", kill=False)
        assert [one.name for one in (folder / "out").iterdir()] == ["a.jsonl.gz"]
        with SessionLog.open(folder / "sessions.db") as log:
            event = log.append(work.session, NoteWritten(text="on"))
            assert log.verify().heads[work.session] == Head(event.seq, event.sha256)


@pytest.mark.slow
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    kill_and_check(tmp_path, len(KINDS))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    kill_and_check(tmp_path, 105)
