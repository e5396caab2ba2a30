"""How quick the screen is, in a real pseudo-terminal, beside what the same machine does at best.

First screen: from the start of the process until it stands, beside starting Python with Textual and
nothing else. Key to repaint: from a key press until the cursor of the timeline has moved on the
emulated terminal, with no work and while the default pair generates. Large session: 50,000 events,
from the start of the process until its newest one is shown. Run: ``make bench BENCH_ARGS=screen``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from tests.workbench.tui.terminal import Terminal
from workbench.locations import find_locations
from workbench.store.events import HUMAN, NoteWritten
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

KEYS = 100
EVENTS = 50_000
ROUNDS = 3
PLAIN_APP = """
from textual.app import App
from textual.widgets import Label
class Plain(App):
    def compose(self):
        yield Label("stands")
    async def on_key(self):
        self.exit()
Plain().run()
"""


def first_screen(arguments: list[str], wanted: str, home: Path, module: str) -> float:
    """Seconds from the start of the process until ``wanted`` is on its screen."""
    began = time.perf_counter()
    path = {"PYTHONPATH": str(home)}
    with Terminal(arguments, home=home, module=module, environment=path) as terminal:
        terminal.shows(wanted)
        stood = time.perf_counter() - began
        terminal.press("ctrl+q")
        terminal.ends()
    return stood


def key_to_repaint(terminal: Terminal) -> list[float]:
    """Seconds from each of many key presses until the timeline's cursor has moved."""
    terminal.wait(lambda: cursor_row(terminal) is not None, "there is no cursor")
    there = cursor_row(terminal)
    assert there is not None
    taken = []
    for index in range(KEYS):
        # Down and up in turns, so that the list need not scroll.
        key, wanted = ("down", there + 1) if index % 2 == 0 else ("up", there)
        began = time.perf_counter()
        terminal.press(key)
        terminal.wait(lambda row=wanted: cursor_row(terminal) == row, "the cursor never moved")
        taken.append(time.perf_counter() - began)
    return taken


def cursor_row(terminal: Terminal) -> int | None:
    """The line of the screen on which the timeline's cursor stands: the first filled wide line."""
    buffer, columns = terminal.screen.buffer, terminal.screen.columns
    usual = buffer[terminal.screen.lines // 2][columns - 3].bg
    for y in range(2, terminal.screen.lines - 1):
        if buffer[y][columns // 2].bg != usual and buffer[y][2].bg != usual:
            return y
    return None


def show_timeline(terminal: Terminal) -> None:
    """The timeline alone on the screen, its cursor away from both ends."""
    terminal.press("6")
    terminal.shows("v all")
    terminal.press("z")
    terminal.settle(0.2)
    terminal.press("up", "up")
    terminal.settle(0.2)


def percentile_95(values: list[float]) -> float:
    """The 95th percentile, in milliseconds."""
    return statistics.quantiles(values, n=20)[-1] * 1000


def large_session(home: Path) -> None:
    """A database with one session of 50,000 events."""
    with SessionLog.open(home / "sessions.db") as log:
        session_id = log.start_session("large", {}, HUMAN)
        for start in range(1, EVENTS, 5000):
            notes = [NoteWritten(text=f"note {index}") for index in range(start, start + 5000)]
            log.append_many(session_id, [Entry(note, HUMAN) for note in notes])
        log.append(session_id, NoteWritten(text="the newest of all"), actor=HUMAN)


def main() -> int:
    """Print the table as Markdown."""
    print("| what | measured | beside | aim |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        plain_module = home / "plain_app.py"
        plain_module.write_text(PLAIN_APP, encoding="utf-8")
        plain, ours = [], []
        for _ in range(ROUNDS):
            plain.append(first_screen([], "stands", home, "plain_app"))
            ours.append(first_screen([], "demo", home, "workbench"))
        print(
            f"| first screen, ms | {statistics.median(ours) * 1000:.0f} "
            f"| Textual alone {statistics.median(plain) * 1000:.0f} | < 1500 |",
            flush=True,
        )
        large_session(home)
        opened = first_screen(["--session", "last"], "the newest of all", home, "workbench")
        print(f"| {EVENTS:,} events until shown, ms | {opened * 1000:.0f} | | < 2000 |", flush=True)
        with Terminal(["--session", "last"], home=home, module="workbench") as terminal:
            terminal.shows("the newest of all")
            show_timeline(terminal)
            scrolling = percentile_95(key_to_repaint(terminal))
        print(f"| key to repaint in it, p95 ms | {scrolling:.0f} | | < 100 |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # The prepared model of the user: making it again takes a while and is not measured.
        (home / "cache").mkdir()
        (home / "cache" / "models").symlink_to(find_locations().models)
        with Terminal(["--demo", "--no-prepare"], home=home, module="workbench") as terminal:
            terminal.shows("pair loaded", within=300)
            show_timeline(terminal)
            idle = percentile_95(key_to_repaint(terminal))
            terminal.press("z", "4")
            terminal.shows("Follow up")
            terminal.press("enter")
            terminal.shows("Send")
            terminal.press("Tell me all you know about the sea.", "enter")
            terminal.shows("ask ", within=600)
            terminal.press("escape")
            terminal.shows("Follow up")
            show_timeline(terminal)
            busy = percentile_95(key_to_repaint(terminal))
            still = "ask " in terminal.text
        print(
            f"| key to repaint while the pair generates{'' if still else ' (it had ended)'}, p95 ms "
            f"| {busy:.0f} | idle {idle:.0f} | < 100 |"
        )
    return 0
