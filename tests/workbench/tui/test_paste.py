"""A bracketed paste is one paste, whatever it holds and in whatever pieces it is read."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from textual import events
from textual.message import Message

from tests.workbench.tui.terminal import Terminal
from workbench.tui.paste import PasteParser

START, END = "\x1b[200~", "\x1b[201~"
PASTES = [
    "plain",
    "",
    "two\nlines\r\n",
    "\x1b[31mRED\x1b[0m and more",
    "\x1b",
    "ends with \x1b",
    "\x1b[200~ within",
    "\x1b[A\x1b[B\x1bOP\x1b[5~",
    "\x1b[<0;1;1M\x1b[<0;1;1m",
    "\x1b[48;24;80;480;800t",
    "\x1b[20",
    "\x03\x11\x1b\x1b\x1b[",
    "x" * 50_000,
    "caf\u00e9 \u2603 \U0001f600",
]


def fed(pieces: list[str]) -> list[tuple[str, str]]:
    parser, found = PasteParser(), []
    for piece in pieces:
        found += map(plain, parser.feed(piece))
    return found


def plain(event: Message) -> tuple[str, str]:
    if isinstance(event, events.Paste):
        return "paste", event.text
    if isinstance(event, events.Key):
        return "key", event.key
    return type(event).__name__, ""


@pytest.mark.parametrize("text", PASTES, ids=lambda text: repr(text[:20]))
def test_a_paste_is_one_event_between_the_keys_around_it(text: str):
    wanted = [("key", "a"), ("paste", text), ("key", "b"), ("key", "up")]
    whole = f"a{START}{text}{END}b\x1b[A"
    assert fed([whole]) == wanted
    assert fed([*whole[:2000]] + ([whole[2000:]] if len(whole) > 2000 else [])) == wanted


def test_pastes_in_any_pieces_are_the_same():
    chance = random.Random(1)
    for _ in range(300):
        texts = [chance.choice(PASTES[:12]) for _ in range(3)]
        whole = "".join(f"{START}{text}{END}k" for text in texts)
        cuts = sorted(chance.randrange(len(whole) + 1) for _ in range(8))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        wanted = [each for text in texts for each in (("paste", text), ("key", "k"))]
        assert fed([piece for piece in pieces if piece]) == wanted


def test_keys_outside_of_pastes_are_as_textual_reads_them():
    assert fed(["a\x1b[A\x1bOPq", "\x1b[", "B"]) == [
        ("key", "a"),
        ("key", "up"),
        ("key", "f1"),
        ("key", "q"),
        ("key", "down"),
    ]


def test_escape_alone_is_a_key_once_nothing_follows(monkeypatch: pytest.MonkeyPatch):
    parser = PasteParser()
    assert list(parser.feed("\x1b")) == []
    monkeypatch.setattr("textual._parser.get_time", lambda: float("inf"))
    assert [plain(event) for event in parser.tick()] == [("key", "escape")]


def test_waiting_within_a_mark_or_a_paste_makes_no_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("textual._parser.get_time", lambda: 0.0)
    parser, found = PasteParser(), []
    for piece in ("\x1b[20", "0~\x1b", "[31m\x1b[20", "1~"):
        found += map(plain, parser.feed(piece))
        monkeypatch.setattr("textual._parser.get_time", lambda: float("inf"))
        found += map(plain, parser.tick())
        monkeypatch.setattr("textual._parser.get_time", lambda: 0.0)
    assert found == [("paste", "\x1b[31m")]


@pytest.mark.slow
def test_nothing_pasted_is_a_key_in_a_real_terminal(tmp_path: Path):
    """In a pane a paste does nothing, though its letters are keys there."""
    with Terminal(["--demo", "--no-prepare"], home=tmp_path, forked=True) as terminal:
        terminal.shows("6 Time")
        # Its letters are keys here, and its last character leaves the program.
        terminal.press(f"{START}\x1b[31m6?\x1bOP\x11{END}")
        terminal.settle(1.0)
        assert terminal.process.poll() is None
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
