"""kill -9 at any moment of an audit: every event that was announced is there, and it goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from tests.few_passages import write_few_passages
from tests.planted import PlantedPair
from tests.workbench.cli.conftest import ROOT, RunCli, Running, environment, running
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN, SessionContinued
from workbench.store.log import SessionLog

KILLS = 30
SMALLEST = ["--texts", "16", "--positions", "2", "--n-prompts", "1", "--tokens", "4"]
AUDIT = ["audit", "--demo", *SMALLEST]
BEGIN = {"halt": ["load", 1]}


def assert_holds(
    database: Path, announced: dict[tuple[str, int], str], session: str | None = None
) -> None:
    """The file opens, verifies, and has every event that was ever announced, as announced."""
    with SessionLog.open(database) as log:
        report = log.verify(session)
        assert report.ok, report.problems
        committed = {
            (session, event.seq): event.sha256
            for session in {session for session, _ in announced}
            for event in log.events(session)
        }
    missing = announced.items() - committed.items()
    assert not missing


def assert_can_be_gone_on_with(database: Path, arrays: Path, session_id: str) -> None:
    """A question is put to the models in the very session that was cut off."""
    with SessionLog.open(database) as log:
        log.append(session_id, SessionContinued(), actor=HUMAN)
        session = Session(log, session_id, ArrayCache(arrays), PlantedPair())
        running_still = [one for one in session.state.operations.values() if one.ended_at is None]
        assert {one.status for one in running_still} <= {"abandoned"}
        assert {text.status for text in session.state.texts.values()} <= {"finished", "cut_off"}
        outcome = run(session, ASK, AskArguments(prompt="Hi", max_new_tokens=2), actor=HUMAN)
        assert session.state.operations[outcome.operation_id].status == "finished"


@dataclass
class Killing:
    """An audit that is killed again and again, and all that it announced before."""

    database: Path
    arrays: Path
    corpus: Path
    announced: dict[tuple[str, int], str] = field(default_factory=dict)
    # Those that no process is at work on, the one that was killed last at the end.
    sessions: list[str] = field(default_factory=list)
    cut_off: int = 0

    def audit(self, seed: int, wanted: dict[str, Any] | None = None) -> Any:
        """A process; every third one goes on with a session that was killed before."""
        goes_on = ["--session", self.sessions[-1]] if seed % 3 == 2 and self.sessions else []
        options = ["--database", str(self.database), "--corpus", str(self.corpus)]
        return running(
            [*AUDIT, *options, "--seed", str(seed), *goes_on],
            wanted,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, audit: Running, moment: int) -> None:
        """Kill it once it has announced so many things, and look at what is left."""
        while len(audit.lines) < moment and audit.read():
            pass
        audit.process.send_signal(signal.SIGKILL)
        # What it announced before the signal reached it counts too.
        audit.read_to_end()
        self.cut_off += audit.process.wait() == -signal.SIGKILL
        if not audit.committed:  # killed before there was anything to announce
            return
        self.announced |= audit.committed
        ((session, _), *_) = audit.committed
        if session in self.sessions:
            self.sessions.remove(session)
        self.sessions.append(session)
        assert_holds(self.database, audit.committed, session)


@pytest.fixture
def killing(workbench_home: Path, database: Path) -> Killing:
    # Few and short contexts: what is killed are transactions, not sums.
    corpus = write_few_passages(workbench_home)
    return Killing(database, workbench_home / "cache" / "arrays", corpus)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_audit_killed_at_any_moment_keeps_what_it_announced(cli: RunCli, killing: Killing):
    chance = random.Random(20261121)
    with killing.audit(0) as audit:
        total = len(audit.read_to_end())
        assert audit.process.wait() == 0
        assert audit.lines[-1].endswith("session_closed")
    # One moment in each of as many stretches of the run, in no order: the start as well as the end.
    moments = [
        chance.randrange(total * index // KILLS, total * (index + 1) // KILLS)
        for index in range(KILLS)
    ]
    chance.shuffle(moments)
    for moment in (0, 1, 2):
        with killing.audit(moment) as audit:
            killing.kill(audit, moment)
    with ExitStack() as processes:
        waiting = processes.enter_context(killing.audit(3, BEGIN))
        for seed, moment in enumerate(moments, start=4):
            audit = waiting
            # The next one starts, and begins its session in the same file, while this one works.
            waiting = processes.enter_context(killing.audit(seed, BEGIN))
            audit.wait_until_halted()
            audit.go_on()
            killing.kill(audit, moment)
            if seed % 5 == 0:
                assert_can_be_gone_on_with(killing.database, killing.arrays, killing.sessions[-1])
        # All but those that were at their very end when the signal came.
        assert killing.cut_off >= KILLS
    assert_holds(killing.database, killing.announced)
    assert len(killing.announced) > KILLS * total // 4

    session = killing.sessions[-1]
    done = cli("ask", "--demo", "Hi", "--tokens", "2", "--session", session, "--json")
    assert done.returncode == 0, done.stderr
    assert cli("sessions", "verify").returncode == 0
    by_id = {one["session"]: one for one in json.loads(cli("sessions", "list", "--json").stdout)}
    assert set(killing.sessions) <= set(by_id)
    assert by_id[session]["outcome"] == "completed"


# Says every committed event on a file descriptor, as the planted command line does.
ANNOUNCING = """
import sys
from tests.planted_cli import announce_events
announce_events(int(sys.argv.pop(1)))
from workbench.cli import main
main()
"""
REAL_KILLS = 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_audit_of_the_real_pair_killed_at_any_moment_keeps_what_it_announced(
    default_base: Path, killing: Killing, database: Path
):
    chance = random.Random(20261121)
    arguments = [*AUDIT, "--corpus", str(killing.corpus)]
    announced: dict[tuple[str, int], str] = {}
    # Events and the stages that stderr names, in one order: the first fifteen are spread over
    # loading, measuring and the predictions, up to the sweep that takes the most time.
    moments = sorted(chance.sample(range(1, 16), REAL_KILLS))
    for moment in moments:
        heard, announce = os.pipe()
        with (
            subprocess.Popen(
                [sys.executable, "-c", ANNOUNCING, str(announce), *arguments],
                stdout=subprocess.DEVNULL,
                stderr=announce,
                cwd=ROOT,
                env=environment(),
                pass_fds=(announce,),
            ) as process,
            os.fdopen(heard, encoding="utf-8") as announcements,
        ):
            os.close(announce)
            try:
                lines = [announcements.readline() for _ in range(moment)]
            finally:
                process.kill()
            lines += announcements.readlines()
            assert process.wait() == -signal.SIGKILL
        assert len(lines) >= moment
        events = [line.split() for line in lines if line.startswith("event ")]
        announced |= {(event[1], int(event[2])): event[3] for event in events if len(event) == 5}
        assert_holds(database, announced)
    session = max(announced, key=lambda event: event[1])[0]
    done = subprocess.run(
        [sys.executable, "-m", "tests.planted_cli", "ask", "--demo", "Hi", "--session", session],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert_holds(database, announced)
