"""Replay by eye of a session of 50,000 events: opening, reading on, seeking, playing.

Aims: the first event shown within a second of the process's start, any other within 100 ms once the
session is read. No model is loaded. First the player alone, then the screen in a real pseudo-terminal:
until the emulated terminal shows the event asked for, all panes drawn.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.workbench.store.samples import reading, text_finished, text_started
from tests.workbench.tui.terminal import Terminal
from workbench.replay.player import Player
from workbench.store.events import EventBody, HypothesisRevised, HypothesisStated, TextGrew
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

EVENTS = 50_000
SEEKS = 200
SCREEN_SEEKS = 20
FROM_THE_START = """
import sys
from workbench.replay.player import Player
from workbench.store.log import SessionLog
with SessionLog.open(sys.argv[1], read_only=True) as log:
    player = Player.open(log, sys.argv[2])
    player.step()
    assert player.current.kind == "session_started"
    assert not {"torch", "textual"} & sys.modules.keys()
"""


def record(log: SessionLog) -> str:
    """Texts that grow, lists of 20 and of 100 tokens, and a hypothesis revised on the way."""
    session = log.start_session("long")
    words = [f"word{index}" for index in range(100)]
    bodies: list[EventBody] = [HypothesisStated(hypothesis_id="H1", text="of cakes")]
    while len(bodies) < EVENTS - 1:
        number = len(bodies)
        bodies.append(text_started(f"t{number}"))
        bodies += [TextGrew(pieces={f"t{number}": "a few words more "}) for _ in range(20)]
        bodies.append(text_finished(f"t{number}", "a few words more " * 20))
        # A sweep keeps 20 tokens of each scale, and 100 of the one chosen.
        bodies.append(reading(" ".join(words[:20]), scale=number / 10))
        bodies.append(reading(" ".join(words), scale=0.5))
        bodies.append(HypothesisRevised(hypothesis_id="H1", text=f"of cakes, {number}"))
    log.append_many(session, [Entry(body) for body in bodies[: EVENTS - 1]])
    return session


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def on_screen(path: Path, session: str, draw: random.Random) -> None:
    """The same through the replay screen, by keys."""
    arguments = ["replay", session, "--from", "0", "--database", str(path)]
    began = time.perf_counter()
    with Terminal(arguments, home=path.parent, module="workbench") as terminal:
        terminal.shows("before the first event")
        print(f"| screen: from the process's start | {ms(began)} | <= 1000 |", flush=True)
        began = time.perf_counter()
        terminal.press("$")
        terminal.shows("at end", within=600)
        print(f"| screen: reading all of it, behind the screen | {ms(began)} | |", flush=True)
        terminal.settle()
        times = []
        for _ in range(SCREEN_SEEKS):
            place = draw.randint(1, EVENTS)
            terminal.press(":")
            terminal.shows("Go to event")
            terminal.settle(0.2)
            # What stands in the field is selected, so that typing replaces it.
            terminal.press(str(place))
            terminal.shows(f"{place}")
            terminal.settle(0.2)
            began = time.perf_counter()
            terminal.press("enter")
            terminal.shows(f"{place:,}/{EVENTS:,}")
            times.append(time.perf_counter() - began)
            terminal.settle(0.2)
        terminal.press("ctrl+q")
        terminal.ends()
    times.sort()
    middle, most = times[len(times) // 2] * 1e3, times[-1] * 1e3
    print(f"| screen: seek and repaint, median of {SCREEN_SEEKS} | {middle:.0f} | |")
    print(f"| screen: seek and repaint, slowest of {SCREEN_SEEKS} | {most:.0f} | <= 100 |")


def ms(began: float) -> str:
    """Milliseconds since ``began``."""
    return f"{(time.perf_counter() - began) * 1e3:.0f}"


def main() -> int:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.db"
        with SessionLog.open(path) as log:
            session = record(log)
            size = path.stat().st_size / 2**20
            print(f"{EVENTS} events, {size:.0f} MiB\n")
            print("| what | ms | aim |\n|---|---|---|")
            command = [sys.executable, "-c", FROM_THE_START, str(path), session]
            start = min(seconds(lambda: subprocess.run(command, check=True)) for _ in range(3))
            print(f"| from the process's start to the first event | {start * 1e3:.0f} | <= 1000 |")
            player = Player.open(log, session)
            reading_on = seconds(lambda: player.prepare(60.0))
            print(f"| reading all of it, in the idle time after that | {reading_on * 1e3:.0f} | |")
            draw = random.Random(0)
            places = [draw.randint(0, player.length) for _ in range(SEEKS)]
            times = sorted(seconds(lambda place=place: player.seek(place)) for place in places)  # type: ignore[misc]
            middle, most = times[len(times) // 2], times[-1]
            print(f"| seek, median of {SEEKS} | {middle * 1e3:.1f} | |")
            print(f"| seek, slowest of {SEEKS} | {most * 1e3:.1f} | <= 100 |")
            player.seek(player.length)
            back = seconds(player.previous_change)
            print(f"| back to the last change of a hypothesis | {back * 1e3:.1f} | <= 100 |")
            player.seek(0)
            steps = seconds(lambda: player.step(1000)) / 1000
            print(f"| a step, with its state | {steps * 1e3:.2f} | |", flush=True)
        on_screen(path, session, draw)
    return 0
