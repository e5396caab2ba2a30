"""README's audit by keys in a real terminal: by single keys and by bursts, among pastes, then a monkey.

What is in the log is what the keys asked for, and nothing else.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.tui.terminal import ROOT, Terminal
from tests.workbench.tui.test_key_order import as_bytes, key_of
from tests.workbench.tui.test_monkey import END, SIZES, START, burst, escape, recorded
from workbench.store.events import (
    Event,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
)
from workbench.store.log import SessionLog

#: By single keys where the lines are shortest and longest, by bursts in between.
RUNS = tuple(zip(SIZES, ("single keys", "bursts", "single keys"), strict=True))
#: Shared out to the runs.
N_PASTES, N_RANDOM_KEYS = 30, 2000
#: Events that begin or end an operation.
_OPERATIONS = (OperationStarted, OperationFinished, OperationFailed, OperationStopped)
NOTE, MEASURES, REPORT = key_of("note"), key_of("measures"), key_of("report")
NAMES = {
    name: as_bytes(name) for name in ("enter", "down", "right", "tab", "ctrl+u", "ctrl+j", "escape")
}


@dataclass(frozen=True)
class Step:
    """Keys that may come in one read, and what they lead to.

    A word with a space in it is text; ``gone`` is what is not on the screen afterwards.
    """

    keys: tuple[str, ...]
    shows: str = ""
    gone: str = ""
    asks: tuple[str, ...] = ()


#: Escape is alone in its step, as a key behind it in one read is another key.
AUDIT = (
    Step(("a",), asks=("measure_difference", "read_tokens")),
    Step(("2", "0", "r", "v", "V", "r", "R"), shows="r Reading"),
    Step(("P",), shows="standard error"),
    Step(("escape",), gone="standard error"),
    Step(("down", "down", "m"), shows="E1", asks=("mark_evidence",)),
    Step(("@",), shows="texts of this session"),
    Step(("escape",), gone="texts of this session"),
    Step(("3", "X", "ctrl+u", "12", "enter"), shows="X tokens 12"),
    Step(("=", "ctrl+u", "0.3", "enter"), shows="\u03b1 0.30"),
    Step(("s",), asks=("steer",)),
    Step(("m",), asks=("mark_evidence",)),
    Step(("S",), asks=("steer",)),
    Step((MEASURES,), shows="Complete prefixes"),
    Step(("down", "down", "down", "enter"), shows="Prefixes"),
    Step(("The oven is set to", "enter"), asks=("complete",)),
    Step((MEASURES,), gone="Complete prefixes"),
    Step(("4", "X", "ctrl+u", "12", "enter"), shows="12 tokens"),
    Step(("enter", "What do you like best?"), shows="What do you like best?"),
    Step(("enter",), asks=("ask",)),
    Step(("escape",), shows="F Follow up"),
    Step(("F", "And why is that?"), shows="And why is that?"),
    Step(("enter",), asks=("ask",)),
    Step(("escape",), shows="F Follow up"),
    Step(("5", "o", "It was finetuned on cakes.", "tab", "60", "ctrl+j"), asks=("add_hypothesis",)),
    Step(("right", "+"), asks=("link_evidence",)),
    Step(("y", "Its texts are about it."), shows="Its texts are about it."),
    Step(("enter",), asks=("judge_hypothesis",)),
    Step(("i",), shows="History of H1"),
    Step(("escape",), gone="History of H1"),
    Step(("u",), shows="Undone", asks=("judge_hypothesis",)),
    Step((REPORT,), shows="Conclusions"),
    Step(("escape",), gone="Conclusions"),
    Step(("6", "/", "cakes", "enter", "n", "N"), shows="/ cakes 1/"),
    Step((NOTE, "An hour is over.", "enter"), asks=("note",)),
)
#: Fields that pastes go into, and the keys to them; what is on the screen while one has the focus.
FIELDS = {
    "note": (NOTE, "Enter accepts"),
    "alpha": ("3=", "alpha, in residual norms"),
    "question": ("4\r", "\u23ce Send"),
}


def pasted(chance: random.Random) -> str:
    """A text as it is pasted: coloured lines of logs, controls, keys, long ones, several lines."""
    pieces = [
        "\x1b[31mERROR\x1b[0m something failed",
        "\x1b[1;32mok\x1b[0m",
        "".join(map(chr, range(1, 32))),
        "\x1b",
        "\x1b[A\x1bOP\x1b[20~",
        "amusdy5o%x",
        "\x11\x03\x12",
        "two\nlines\r\nand more\n",
        "x" * 3000,
        "caf\u00e9 \u2603 \U0001f600",
        "\x7f\x08",
    ]
    return "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 5)))


def sent(key: str) -> str:
    """Return what a terminal sends for a key of a step."""
    return NAMES.get(key, key)


class Hour:
    """A session under way, with the operations that its keys have asked for."""

    def __init__(self, terminal: Terminal, home: Path, manner: str, chance: random.Random) -> None:
        self.terminal, self.home, self.chance = terminal, home, chance
        self.by_bursts = manner == "bursts"
        self.asked = ["load_pair"]

    def begun_and_over(self) -> tuple[list[str], int]:
        """The operations begun, and how many are over."""
        events = list(operation_events(self.home))
        begun = [e.body.operation for e in events if isinstance(e.body, OperationStarted)]
        return begun, len(events) - len(begun)

    def rest(self) -> None:
        """Wait until what was asked for is over, and check that nothing else was."""
        until = time.monotonic() + HANGS
        while True:
            begun, n_over = self.begun_and_over()
            assert begun == self.asked[: len(begun)], self.terminal.text
            if n_over == len(self.asked):
                return
            assert time.monotonic() < until, f"{self.asked} but {begun}:\n{self.terminal.text}"
            self.terminal.settle(0.1, most=0.3)

    def take(self, step: Step) -> None:
        """Press the keys of a step, and wait for what they lead to."""
        terminal = self.terminal
        if self.by_bursts:
            terminal.press("".join(map(sent, step.keys)))
        else:
            for key in step.keys:
                for each in [NAMES[key]] if key in NAMES else [key] if key[0] == "\x1b" else key:
                    terminal.press(each)
                    terminal.settle(0.03, most=0.3)
        self.asked += step.asks
        if step.shows:
            terminal.shows(step.shows)
        if step.gone:
            self.without(step.gone)
        if step.asks:
            self.rest()

    def without(self, shown: str) -> None:
        """Wait until the screen does not show the text."""
        self.terminal.wait(lambda: shown not in self.terminal.text, f"{shown!r} never went")

    def paste(self) -> None:
        """Paste where the focus is."""
        self.terminal.press(f"{START}{pasted(self.chance)}{END}")

    def paste_into(self, field: str) -> None:
        """Open a field, paste, and leave it."""
        keys, shown = FIELDS[field]
        # The field of an earlier step may be going yet, and would be taken for the one of these keys.
        self.without(shown)
        self.terminal.press(keys)
        self.terminal.shows(shown)
        self.paste()
        self.terminal.settle(0.1, most=1.0)
        self.terminal.press("escape")
        self.without(shown)


def operation_events(home: Path) -> Iterator[Event]:
    """The events that begin or end an operation of the one session."""
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        sessions = log.sessions()
        if sessions:
            kinds = [kind.model_fields["kind"].default for kind in _OPERATIONS]
            yield from log.events(sessions[0].id, kinds=kinds)


def audit(hour: Hour) -> None:
    """Go through the audit, with pastes into panes on the way and into fields at its end."""
    n_pastes = N_PASTES // len(RUNS) - len(FIELDS)
    # Where a pane has the focus: before a step that is no Escape and no text of a field.
    calm = [i for i, step in enumerate(AUDIT) if step.keys[0] in {"a", "2", "3", "s", "5", "6"}]
    before = Counter(hour.chance.choices(calm, k=n_pastes))
    for index, (step, following) in enumerate(zip(AUDIT, (*AUDIT[1:], Step(())), strict=True)):
        for _ in range(before[index]):
            hour.paste()
        if step.shows and following.gone == step.shows:
            # Escape alone must come after what it leaves: with other keys in one read it is alt.
            hour.without(step.shows)
        hour.take(step)
    for field in FIELDS:
        hour.paste_into(field)
    hour.rest()


def monkey(terminal: Terminal, chance: random.Random) -> None:
    """Press random keys, then leave whatever they opened."""
    left = N_RANDOM_KEYS // len(RUNS) + 1
    while left > 0:
        length = min(left, chance.randrange(1, 25))
        left -= length
        terminal.press(burst(chance, length))
        terminal.settle(0.02, most=0.3)
    escape(terminal)


def check_ending(terminal: Terminal) -> None:
    terminal.press("ctrl+q")
    assert terminal.ends() == 0
    assert terminal.is_clean
    assert b"Traceback" not in terminal.written
    assert b"A bug in adl-workbench" not in terminal.written


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("size", "manner"), RUNS)
def test_an_hour(tmp_path: Path, size: tuple[int, int], manner: str):
    chance = random.Random(f"{manner} {size}")
    # The monkey may write files, by whatever name it has typed.
    folder = tmp_path / "work"
    folder.mkdir()
    around = {"folder": folder, "environment": {"PYTHONPATH": str(ROOT)}}
    home = tmp_path / "home"
    with Terminal(["--demo", "--no-prepare"], home=home, size=size, **around) as terminal:
        terminal.shows("f1 Help")
        hour = Hour(terminal, home, manner, chance)
        hour.rest()
        audit(hour)
        asked = hour.begun_and_over()[0]
        assert asked == hour.asked
        monkey(terminal, chance)
        check_ending(terminal)
    assert not list((home / "cache" / "crashes").glob("*"))
    state = recorded(home)
    assert state.outcome == "completed"
    assert [each.name for each in state.operations.values()][: len(asked)] == asked
    # The list stands at the newest, which may be the monkey's.
    *_, newest = state.hypotheses
    with Terminal(["replay", "last"], home=home, size=size, forked=True, **around) as terminal:
        terminal.shows(" replay ")
        terminal.press(key_of("end"))
        terminal.shows("at end")
        terminal.press("5")
        terminal.shows(f" {newest} ")
        check_ending(terminal)
