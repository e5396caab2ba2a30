"""The first screen after attaching to a session of 5,000 events, beside the program's own start screen.

Both from the start of the process until the screen stands, in a real pseudo-terminal, over the planted
pair; how much of that is the processor's, which does not hang on what else the machine does; and what
attaching itself takes: to connect, to open the session, and to read and fold its events.
Run: ``make bench BENCH_ARGS=attach``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.screen import first_screen
from tests.workbench.engine.processes import engine_process
from tests.workbench.tui.terminal import Terminal
from workbench.engine.attached import AttachedSession
from workbench.locations import HOME_VARIABLE, find_locations
from workbench.store.events import HUMAN, NoteWritten
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

EVENTS = 5_000
ROUNDS = 3


def processor_time(arguments: list[str], wanted: str, home: Path, module: str) -> float:
    """Seconds of the processor until ``wanted`` is on the screen: as long as it takes on a free core."""
    path = {"PYTHONPATH": str(home)}
    with Terminal(arguments, home=home, module=module, environment=path) as terminal:
        terminal.shows(wanted)
        times = psutil.Process(terminal.process.pid).cpu_times()
        terminal.press("ctrl+q")
        terminal.ends()
    return times.user + times.system


def attaching(socket: Path, database: Path) -> float:
    """Seconds until an attached session has its state."""
    with SessionLog.open(database) as log:
        began = time.perf_counter()
        attached = AttachedSession.attach(socket, None, find_locations(), lambda _path: log)
        assert attached.state.seq >= EVENTS
        taken = time.perf_counter() - began
        attached.close({})
    return taken


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, engine_process(home := Path(folder)) as engine:
        os.environ[HOME_VARIABLE] = folder
        database = home / "sessions.db"
        with SessionLog.open(database) as log:
            notes = [NoteWritten(text=f"note {number} of many words") for number in range(EVENTS)]
            log.append_many(engine.session, [Entry(note, HUMAN) for note in notes])
        module = "tests.planted_cli"
        rows = {
            "start screen": lambda: first_screen([], "Open the demo pair", home, module),
            "first screen attached": lambda: first_screen(["attach"], "6 Time", home, module),
            "  the processor's": lambda: processor_time(["attach"], "6 Time", home, module),
            "attaching alone": lambda: attaching(engine.socket, database),
        }
        for name, measure in rows.items():
            taken = [measure() for _ in range(ROUNDS)]
            print(f"{name:<24} {statistics.median(taken):6.2f} s  (fastest {min(taken):.2f} s)")


if __name__ == "__main__":
    main()
