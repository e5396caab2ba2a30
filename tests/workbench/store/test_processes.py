import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.store.log import SessionLog

APPEND = """
import sys
from workbench.store.events import NoteWritten
from workbench.store.log import SessionLog

path, session, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = SessionLog.open(path)
session = session or log.start_session("own")
print("ready", flush=True)
sys.stdin.readline()
for index in range(count):
    event = log.append(session, NoteWritten(text=f"note {index}"))
    print(session, event.seq, event.sha256, flush=True)
log.close()
"""


def start(path: Path, session: str, count: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND, str(path), session, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["one session", "own sessions"])
def test_processes_append_to_one_file_at_once(path: Path, shared: bool) -> None:
    with SessionLog.open(path) as log:
        session = log.start_session("shared") if shared else ""
    processes = [start(path, session, 50) for _ in range(4)]
    announced: list[str] = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        announced += output.splitlines()[1:]
    with SessionLog.open(path) as log:
        assert log.verify().ok
        committed = [
            f"{event.session_id} {event.seq} {event.sha256}"
            for overview in log.sessions()
            for event in log.events(overview.id, kinds=["note_written"])
        ]
        assert sorted(committed) == sorted(announced)
        assert len(announced) == len(set(announced)) == 200
        assert {overview.events for overview in log.sessions()} == ({201} if shared else {51})


@pytest.mark.slow
def test_kill_at_any_moment_loses_no_announced_event(path: Path) -> None:
    chance = random.Random(20261121)
    with SessionLog.open(path) as log:
        session = log.start_session("killed")
    announced: dict[int, str] = {}
    waiting = start(path, session, 10_000)
    for _ in range(15):
        process = waiting
        # The next one starts, and appends, while this one is killed.
        waiting = start(path, session, 10_000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        lines = [process.stdout.readline() for _ in range(chance.randrange(6))]
        os.kill(process.pid, signal.SIGKILL)
        # What it announced before the signal reached it counts too; a last line may be torn.
        lines += [line for line in process.stdout if line.endswith("\n")]
        process.communicate()
        for line in lines:
            _, seq, sha256 = line.split()
            announced[int(seq)] = sha256
        with SessionLog.open(path) as log:
            report = log.verify()
            assert report.ok, report.problems
            committed = {event.seq: event.sha256 for event in log.events(session)}
            assert announced.items() <= committed.items()
    waiting.kill()
    waiting.communicate()
    assert len(announced) > 15
