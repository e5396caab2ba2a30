"""From a hypothesis to its tested verdict by keys alone, in a real pseudo-terminal."""

from __future__ import annotations

import time
from pathlib import Path

from tests.processes import HANGS
from tests.workbench.tui.terminal import Terminal
from tests.workbench.tui.test_terminal_audit import recorded
from workbench.operations.testing import ExperimentArguments
from workbench.store.slices.experiments import ExperimentState

FIELDS = list(ExperimentArguments.model_fields)


def experiment(home: Path) -> ExperimentState | None:
    return recorded(home).experiments.get("X1")


def test_a_hypothesis_is_tested_and_judged_by_keys(tmp_path):
    with Terminal(
        ["--demo", "--no-prepare"], home=tmp_path, size=(80, 24), forked=True
    ) as terminal:

        def go(key: str, until_it_shows: str) -> None:
            terminal.press(key)
            terminal.shows(until_it_shows)

        def gone(words: str) -> None:
            terminal.wait(lambda: words not in terminal.text, f"{words!r} never went away", HANGS)

        def until_stage(stage: str) -> ExperimentState:
            until = time.monotonic() + HANGS
            while True:
                state = recorded(tmp_path)
                found = state.experiments.get("X1")
                if found is not None and found.stage(state.texts) == stage:
                    return found
                assert time.monotonic() < until, terminal.text
                terminal.settle()

        terminal.shows("6 Time")
        go("5", "o Add")
        go("o", "Confidence")
        go("It was finetuned on cakes", "It was finetuned on cakes")
        terminal.press("ctrl+j")
        terminal.shows("H1")
        go("%", "Test a hypothesis")
        terminal.press(*["down"] * FIELDS.index("person"))
        terminal.shows("A person judges")
        terminal.press("right", "down", "backspace", "1", "enter")
        found = until_stage("judging")
        answers = 2 * len(found.sealed.body.prompts)
        go("%", f"0 of {answers} answers judged")
        go("enter", "Does the answer show it?")
        # Some, a stop, and the others in one read.
        terminal.press("y", "n", "s", "escape")
        # An escape with a key right behind it would be one key.
        gone("Does the answer show it?")
        terminal.press("%")
        terminal.shows("of " + str(answers) + " answers judged")
        go("enter", f"1 of {answers - 3}")
        terminal.press("n" * (answers - 3))
        found = until_stage("done")
        go("%", "X1 of H1")
        terminal.press("escape")
        gone("X1 of H1")
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean
    assert found.result is not None
    verdicts = [verdict.body.shows for verdict in found.verdicts.values()]
    assert (verdicts.count(True), verdicts.count(None)) == (1, 1)
    assert found.result.body.verdict in {"not supported", "undecided"}
    assert found.result.body.unscored == 1
