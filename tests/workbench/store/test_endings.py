"""Nothing that belongs to a session's work is recorded behind its end, whoever records that end."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.processes import HANGS
from tests.workbench.cli.conftest import ROOT, environment
from workbench.operations.running import Session
from workbench.store.agent_events import AgentInterrupted, AgentStarted
from workbench.store.errors import SessionOver
from workbench.store.events import (
    HUMAN,
    EventBody,
    NoteWritten,
    OperationFinished,
    OperationStarted,
    SessionClosed,
    SessionContinued,
    ViewSaved,
)
from workbench.store.log import SessionLog

CLOSED = SessionClosed(outcome="stopped", reason="the engine ended")
#: What screens, commands, agents and jobs that work on a session elsewhere record.
WORK: tuple[EventBody, ...] = (
    ViewSaved(view={"current": 3}),
    NoteWritten(text="a fault"),
    OperationStarted(operation="ask", arguments={}),
    OperationFinished(seconds=1.0),
    AgentStarted(
        run_id="r", mode="adl", model="m", endpoint="e", budgets={}, approval="never", settings={}
    ),
    AgentInterrupted(run_id="r", error="Stopped", message="stopped"),
    CLOSED,
)


def joined(log: SessionLog, session_id: str) -> Session:
    session = Session(log, session_id, ArrayCache(log.path.parent))
    session.stop_at_end()
    return session


def kinds(log: SessionLog, session_id: str) -> list[str]:
    return [event.body.kind for event in log.events(session_id)]


@pytest.fixture
def log(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        yield log


@pytest.mark.parametrize("body", WORK, ids=lambda body: body.kind)
@pytest.mark.parametrize("knows", [False, True])
def test_what_comes_behind_the_end_is_refused(log: SessionLog, body: EventBody, knows: bool):
    session_id = log.start_session("ended")
    with SessionLog.open(log.path) as elsewhere:
        guest = joined(elsewhere, session_id)
        guest.record(NoteWritten(text="in time"))
        log.append(session_id, CLOSED)
        if knows:
            guest.catch_up()
        with pytest.raises(SessionOver, match="was closed meanwhile"):
            guest.record_many([NoteWritten(text="late"), body], actor=HUMAN)
    assert kinds(log, session_id) == ["session_started", "note_written", "session_closed"]


def test_an_end_between_joining_and_looking_counts(log: SessionLog):
    session_id = log.start_session("ended")
    guest = Session(log, session_id, ArrayCache(log.path.parent))
    log.append(session_id, CLOSED)
    guest.stop_at_end(joined=1)
    with pytest.raises(SessionOver):
        guest.record(WORK[0])


def test_who_comes_and_goes_beside_it_does_not_end_it(log: SessionLog):
    """A command that goes on with an open session closes it for itself alone."""
    session_id = log.start_session("shared")
    guest = joined(log, session_id)
    for knows in (False, True):
        log.append_many(session_id, [])
        log.append(session_id, SessionContinued())
        guest.record(NoteWritten(text="amid"))
        log.append(session_id, CLOSED)
        if knows:
            guest.catch_up()
        guest.record(WORK[0])
    log.append(session_id, CLOSED)
    with pytest.raises(SessionOver):
        guest.record(WORK[0])


def test_a_session_that_another_took_up_is_not_closed_by_who_was_there_before(log: SessionLog):
    session_id = log.start_session("killed")
    guest = joined(log, session_id)
    log.append(session_id, SessionContinued())
    with pytest.raises(SessionOver, match="gone on with elsewhere"):
        guest.record(CLOSED)
    guest.record(NoteWritten(text="this, yes"))


def test_grades_and_names_come_after_the_end(log: SessionLog):
    session_id = log.start_session("graded")
    log.append(session_id, CLOSED)
    later = Session(log, session_id, ArrayCache(log.path.parent))
    later.record(NoteWritten(text="read again"))
    assert kinds(log, session_id)[-1] == "note_written"


def work_until_over(path: Path, session_id: str, seed: int, begun: Callable[[], None]) -> int:
    """Record what chance chooses until it is refused; return how much was recorded.

    ``begun`` is called after the first: whoever joins behind the end is never told of it.
    """
    chance = random.Random(seed)
    count = 0
    with SessionLog.open(path) as log:
        session = joined(log, session_id)
        try:
            while True:
                session.record(chance.choice(WORK[:-1]))
                count += 1
                if count == 1:
                    begun()
        except SessionOver:
            return count


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_end_is_the_last_while_many_record(log: SessionLog, seed: int):
    """Threads with connections of their own, and a process, amid whose work the session ends."""
    chance = random.Random(seed)
    session_id = log.start_session("raced")
    began = [threading.Event() for _ in range(2)]
    threads = [
        threading.Thread(
            target=work_until_over, args=(log.path, session_id, 10 * seed + number, begun.set)
        )
        for number, begun in enumerate(began)
    ]
    process = None
    if seed == 0:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(log.path), session_id],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for thread in threads:
        thread.start()
    for begun in began:
        assert begun.wait(HANGS)
    host = Session(log, session_id, ArrayCache(log.path.parent))
    # Few: whoever records in turn with others waits for them.
    for _ in range(chance.randrange(4)):
        host.record(NoteWritten(text="of the host"))
    guests = [joined(log, session_id) for _ in range(2)]
    closers = [threading.Thread(target=close_unless_over, args=(guest,)) for guest in guests]
    for closer in closers:
        closer.start()
    for thread in (*closers, *threads):
        thread.join(HANGS)
    if process is not None:
        assert process.wait(HANGS) == 0
        assert process.stdout is not None
        assert int(process.stdout.read()) >= 0
        process.stdout.close()
    recorded = kinds(log, session_id)
    assert recorded.count("session_closed") == 1
    assert recorded[-1] == "session_closed"
    assert log.verify().ok


def close_unless_over(guest: Session) -> None:
    with suppress(SessionOver):
        guest.record(CLOSED)


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(work_until_over(Path(sys.argv[1]), sys.argv[2], 99, lambda: say("ready")))
