"""From a scan to the report by keys alone, in a real pseudo-terminal: a lead, its hypothesis, its test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.tui.terminal import Terminal
from tests.workbench.tui.test_terminal_audit import recorded
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.scanning import SCAN, ScanArguments
from workbench.store.slices.experiments import ExperimentState
from workbench.tui.dialogs.hypothesis_tests import waiting_answers
from workbench.tui.offered import offered

FIELDS = list(ExperimentArguments.model_fields)
SCANNED = list(ScanArguments.model_fields)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lead_is_stated_tested_judged_and_reported_by_keys(tmp_path: Path):
    with Terminal(
        ["--demo", "--no-prepare"], home=tmp_path, folder=tmp_path, size=(80, 24), forked=True
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
        # A scan, from the screen of measures.
        go("f6", "nothing yet")
        terminal.press(*["down"] * offered().index(SCAN))
        go("enter", SCAN.title)
        terminal.press(*["down"] * SCANNED.index("n_prompts"))
        go("15", "15")
        go("enter", "o hypothesis")
        # One of its clusters is a hypothesis, once it is worded.
        go("o", "Leads: scan")
        go("enter", "Confidence")
        go(", always", "always")
        terminal.press("ctrl+j")
        # Its place in the list: "+1" alone may also be a job that waits, in the top bar.
        terminal.shows("+1  −0")
        # Its test: a person judges, with a stop between, and the others in one read.
        go("%", "Test a hypothesis")
        terminal.press(*["down"] * FIELDS.index("person"))
        terminal.shows("A person judges")
        terminal.press("right", "down", "backspace", "1", "enter")
        found = until_stage("judging")
        waiting = waiting_answers(found, recorded(tmp_path))
        verdicts = ["y" if answer.answer.count("cake") > 1 else "n" for answer in waiting]
        verdicts[2] = "s"
        answers = 2 * len(found.sealed.body.prompts)
        assert len(waiting) == answers
        go("%", f"0 of {answers} answers judged")
        go("enter", "Does the answer show it?")
        terminal.press(*verdicts[:3], "escape")
        # An escape with a key right behind it would be one key.
        gone("Does the answer show it?")
        go("%", f"3 of {answers} answers judged")
        go("enter", f"1 of {answers - 3}")
        terminal.press("".join(verdicts[3:]))
        found = until_stage("done")
        go("%", "X1 of H1")
        terminal.press("escape")
        gone("X1 of H1")
        # The report has the hypothesis with its test.
        go("f9", "Conclusions")
        go("w", "Write the report to")
        go("enter", "Wrote")
        terminal.press("escape")
        gone("w write to files")
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean
    (report,) = tmp_path.glob("*.md")
    words = report.read_text(encoding="utf-8")
    assert "**Test X1**" in words
    assert "**confirmed**, judge: a person" in words
    state = recorded(tmp_path)
    (hypothesis,) = state.hypotheses.values()
    assert hypothesis.text.endswith(", always")
    (mark,) = state.evidence.values()
    assert mark.body.of_seq == state.measures[0].seq
    assert dict(hypothesis.evidence) == {"E1": "for"}
    assert [found.verdicts[answer.text_id].body.shows for answer in waiting] == [
        {"y": True, "n": False, "s": None}[key] for key in verdicts
    ]
    assert {verdict.body.by for verdict in found.verdicts.values()} == {"person"}
    assert found.result is not None
    assert found.result.body.unscored == 1
    assert found.result.body.verdict == "confirmed"
    assert hypothesis.status == "confirmed (by test X1)"
