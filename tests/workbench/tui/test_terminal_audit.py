"""An audit from start to end by keys alone, in a real pseudo-terminal; then again where it was left."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import forks
from tests.few_passages import write_few_passages
from tests.processes import HANGS
from tests.workbench.tui.terminal import Terminal
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold


def recorded(home: Path) -> SessionState:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        (overview,) = log.sessions()
        assert log.verify().ok
        return fold(log.events(overview.id))


def finished(home: Path) -> Counter[str]:
    """How often each operation was finished."""
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        operations = [
            one for each in log.sessions() for one in fold(log.events(each.id)).operations.values()
        ]
    return Counter(one.name for one in operations if one.status == "finished")


def audit(
    terminal: Terminal,
    home: Path,
    before: Mapping[str, int] | None = None,
    *,
    within: float = HANGS,
) -> None:
    """Read, steer at two alphas, ask, and form a hypothesis with evidence.

    ``before`` counts what was finished in the session before; lists that are there are not read again.
    """

    had = Counter(before)

    def until_finished(operation: str, times: int = 1) -> None:
        until = time.monotonic() + within
        while finished(home)[operation] < had[operation] + times:
            assert time.monotonic() < until, f"{operation} was never done:\n{terminal.text}"
            terminal.settle()

    def go(key: str, until_it_shows: str) -> None:
        terminal.press(key)
        terminal.shows(until_it_shows)

    terminal.shows("6 Time", within=within)
    until_finished("load_pair")
    if not had["read_tokens"]:
        terminal.press("a")
        until_finished("read_tokens")
    go("2", "r Reading")
    terminal.press("m")
    until_finished("mark_evidence")
    go("3", "S Sweep")
    # Few tokens: this is about the keys.
    go("X", "longest text, in tokens")
    terminal.press("12", "enter")
    terminal.shows("X tokens 12")
    for times, alpha in enumerate(("0.2", "0.4"), start=1):
        go("=", "alpha, in residual norms")
        terminal.press(alpha, "enter")
        terminal.shows(f"α {float(alpha):.2f}")
        terminal.shows("S Sweep")
        terminal.press("s")
        until_finished("steer", times)
    go("4", "F Follow up")
    go("enter", "Send")
    go("What do you like best?", "What do you like best?")
    terminal.press("enter")
    until_finished("ask")
    go("escape", "F Follow up")
    go("5", "o Add")
    go("o", "Confidence")
    go("It was finetuned on cakes.", "It was finetuned on cakes.")
    terminal.press("ctrl+j")
    until_finished("add_hypothesis")
    go("right", "+ For")
    terminal.press("+")
    until_finished("link_evidence")
    terminal.press("ctrl+q")
    assert terminal.ends() == 0
    assert terminal.is_clean


def check(state: SessionState) -> None:
    alphas = {text.start.body.alpha for text in state.texts.values()}
    assert {0.0, 0.2, 0.4} <= alphas
    assert {text.start.body.purpose for text in state.texts.values()} == {"steer", "ask"}
    assert all(text.status == "finished" for text in state.texts.values())
    assert state.comparisons
    (hypothesis,) = state.hypotheses.values()
    assert hypothesis.text == "It was finetuned on cakes."
    assert dict(hypothesis.evidence) == {"E1": "for"}
    assert state.outcome == "completed"


def check_reopened(home: Path, arguments: list[str], module: str, within: float) -> None:
    """Everything is on the screen again, as it was left."""
    before = recorded(home)
    with Terminal(["--session", "last", *arguments], home=home, module=module) as terminal:
        terminal.shows("It was finetuned on cakes.", within=within)
        terminal.press("4")
        terminal.shows("f3 Settings")
        terminal.press("escape")
        terminal.shows("F Follow up")
        terminal.press("home")
        terminal.shows("What do you like best?")
        terminal.press("5")
        terminal.shows("y Confirm")
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
    after = recorded(home)
    for part in ("readings", "texts", "hypotheses", "evidence", "comparisons", "differences"):
        assert getattr(after, part) == getattr(before, part)
    assert after.view["current"] == before.view["current"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_an_audit_by_keys(tmp_path, size):
    with Terminal(["--demo", "--no-prepare"], home=tmp_path, size=size, forked=True) as terminal:
        audit(terminal, tmp_path)
    check(recorded(tmp_path))
    check_reopened(tmp_path, [], "tests.planted_cli", HANGS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_audit_of_the_real_pair_that_a_command_began(workbench_home, default_base, tmp_path):
    corpus = str(write_few_passages(tmp_path))
    read = ["read", "output_difference", "--demo", "--corpus", corpus, "--json"]
    done = forks.completed("workbench.cli", read, dict(os.environ), torch=True)
    assert done.returncode == 0, done.stderr
    words = {
        one["source"]: {token["text"].strip().lower() for token in one["tokens"][:20]}
        for one in json.loads(done.stdout)["readings"]
    }
    assert set(words) == {"difference", "negative", "random", "split_half"}
    assert "cake" in words["difference"]
    assert "cake" not in words["random"] | words["split_half"]

    home, before = workbench_home, finished(workbench_home)
    with Terminal(["--session", "last"], home=home, module="workbench") as terminal:
        audit(terminal, home, before, within=900)
    check(recorded(home))
    check_reopened(workbench_home, [], "workbench", 300)
