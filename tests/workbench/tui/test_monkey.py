"""A monkey at the keys: thousands of keys and pastes, and the session is still one that verifies."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.tui.terminal import KEYS, ROOT, Terminal
from tests.workbench.tui.test_key_order import key_of
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold

SIZES = [(80, 24), (120, 36), (160, 48)]
START, END = "\x1b[200~", "\x1b[201~"
#: Every printable key, and those of `KEYS`; a few more often, as they open and close things.
LETTERS = [chr(code) for code in range(32, 127)]
#: Escape is sent alone: with a letter behind it in one read it is that letter with alt.
NAMED = [value for name, value in KEYS.items() if name != "escape"]
CONTROLS = ["\x0f", "\x15", "\x17", "\x0e", "\x01", "\x05", "\x0a"]
PASTED = [
    "a note",
    "\x1b[31mRED\x1b[0m",
    "yes\nno",
    "\x11",
    "amudy5",
    "\x1b",
    "=0.4",
    "caf\u00e9",
    "",
]
#: On any help, and nowhere else.
HELP = "Escape closes"
QUEUE, AT_REST = key_of("queue"), "Nothing runs and nothing waits."
#: What a paste must never begin: each needs a key of its own.
OF_KEYS = {"judge_hypothesis", "steer", "ask", "measure_difference", "read_tokens", "mark_evidence"}


def recorded(home: Path) -> SessionState:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        (overview,) = log.sessions()
        assert log.verify().ok
        return fold(log.events(overview.id))


def burst(chance: random.Random, length: int) -> str:
    """Keys of one read."""
    return "".join(
        chance.choice(chance.choices([LETTERS, NAMED, CONTROLS], [5, 4, 1])[0])
        for _ in range(length)
    )


def escape(terminal: Terminal) -> None:
    """Leave whatever is open; all keys before have acted then, as keys act in order."""
    until, patience = time.monotonic() + HANGS, 1.0
    while time.monotonic() < until:
        for key in ("escape", "escape", "escape", "f1"):
            terminal.press(key)
            terminal.settle(0.15, most=1.0)
        # Keys before these may take a while to act: the next ones must not come faster than that.
        asked = time.monotonic()
        while HELP not in terminal.text and time.monotonic() - asked < patience:
            terminal.take_in(0.1)
        if HELP in terminal.text:
            terminal.press("escape")
            terminal.wait(lambda: HELP not in terminal.text, "the help stays")
            return
        patience *= 2
    raise AssertionError(f"Escape and f1 lead to no help:\n{terminal.text}")


def rest(terminal: Terminal) -> None:
    """Let what the keys began come to its end: what waits begins when that before it has ended."""
    terminal.press(QUEUE)
    terminal.shows(AT_REST)
    terminal.press("escape")
    terminal.wait(lambda: AT_REST not in terminal.text, "the queue stays")


def check_pastes(terminal: Terminal, home: Path, chance: random.Random) -> None:
    """Nothing but keys begins an operation."""
    escape(terminal)
    rest(terminal)
    before = len(recorded(home).operations)
    for _ in range(10):
        terminal.press(f"{START}{chance.choice(PASTED)}{END}")
    terminal.settle(0.15, most=1.0)
    begun = list(recorded(home).operations.values())[before:]
    assert not OF_KEYS & {operation.name for operation in begun if operation.actor.kind == "human"}


def play(
    home: Path,
    seed: int,
    n_keys: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    *,
    forked: bool = False,
) -> None:
    """Press so many keys, shared out to the sizes, with pastes after each."""
    chance = random.Random(seed)
    folder = home / "work"
    folder.mkdir()
    for size in sizes:
        arguments = ["--session", "last"] if size != sizes[0] else ["--demo", "--no-prepare"]
        # It may write files, by whatever name it has typed.
        with Terminal(
            arguments,
            home=home,
            size=size,
            folder=folder,
            environment={"PYTHONPATH": str(ROOT)},
            forked=forked,
        ) as terminal:
            terminal.shows("1 Pair")
            left = n_keys // len(sizes)
            while left > 0 and terminal.process.poll() is None:
                length = min(left, chance.randrange(1, 25))
                left -= length
                terminal.press(burst(chance, length))
                terminal.settle(0.02, most=0.5)
                if chance.random() < 0.3:
                    terminal.press("escape")
                    terminal.settle(0.15, most=0.5)
            if terminal.process.poll() is None:
                check_pastes(terminal, home, chance)
                terminal.press("ctrl+q")
            assert terminal.ends(within=120) == 0
            assert b"Traceback" not in terminal.written
            assert b"A bug in adl-workbench" not in terminal.written
    assert not list((home / "cache" / "crashes").glob("*"))
    state = recorded(home)
    assert state.outcome == "completed"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_monkey(tmp_path: Path):
    seed = int(os.environ.get("MONKEY_SEED", "0"))
    play(tmp_path, seed, n_keys=150, sizes=SIZES[:1])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20))
def test_a_monkey(tmp_path: Path, seed: int):
    """The first seed plays long and at every size, the others briefly and at one of them.

    The first alone starts a process with nothing loaded: how it starts does not depend on the keys.
    """
    if seed == 0:
        play(tmp_path, seed, n_keys=2000)
    else:
        play(tmp_path, seed, n_keys=150, sizes=[SIZES[seed % len(SIZES)]], forked=True)
