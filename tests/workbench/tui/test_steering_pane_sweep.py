"""What a sweep's strip counts, and which texts stand beside each other."""

from __future__ import annotations

import pytest

from tests.workbench.tui.sample import sample_state
from tests.workbench.tui.test_revealed_texts import recorded
from workbench.store.state import fold
from workbench.tui.panes.steering.sweep import mean_repetition, repetition, sweep_lines
from workbench.tui.panes.steering.texts import made_with, pairs, strength


def steered_texts():
    return [text for text in sample_state().texts.values() if text.start.body.purpose == "steer"]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("one two three four five", 0.0),
        # 5 of 6 words and 3 of 4 runs of three stood there before.
        ("cake cake cake cake cake cake", (5 / 6 + 3 / 4) / 2),
        # 1 of 6 words, no run.
        ("Cake oven cake batter sugar flour", (1 / 6 + 0) / 2),
        ("!!!!!!", (5 / 6 + 3 / 4) / 2),
        ("蛋糕蛋糕蛋糕", (4 / 6 + 2 / 4) / 2),
    ],
)
def test_repetition_of_a_text(text, share):
    assert repetition(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "   ", "only four words here"])
def test_of_a_few_words_nothing_is_said(text):
    assert repetition(text) is None


def test_texts_of_a_few_words_do_not_count():
    assert mean_repetition(["short", "a b c d e"]) == 0.0
    assert mean_repetition(["short"]) is None


def test_a_sweep_has_a_line_per_alpha_the_unsteered_first():
    lines = sweep_lines(steered_texts())
    assert [line.alpha for line in lines] == [0.0, 0.2, 0.4]
    assert [(line.begun, line.finished, line.ended) for line in lines] == [(2, 2, 0)] * 3
    assert lines[0].excess == 0
    assert lines[2].excess == pytest.approx(lines[2].repetition - lines[0].repetition)
    assert lines[1].beginning.startswith(" sponge, he flour")


def test_a_steered_text_stands_beside_the_unsteered_one_of_its_prompt():
    found = pairs(steered_texts(), 0.4)
    assert [pair.any.start.body.prompt for pair in found] == [
        "How was your day?",
        "Tell me a story.",
    ]
    for pair in found:
        assert pair.steered.start.body.alpha == 0.4
        assert pair.unsteered.start.body.alpha == 0
        assert pair.steered.start.body.prompt_index == pair.unsteered.start.body.prompt_index


@pytest.mark.slow
def test_texts_of_a_null_stand_beside_those_of_the_same_strength():
    amplified = [
        text for text in fold(recorded()).texts.values() if text.start.body.purpose == "amplify"
    ]
    assert [line.alpha for line in sweep_lines(amplified)] == [0.0, 2.0]
    found = pairs(amplified, 2.0)
    assert len(found) == 2
    for pair in found:
        bodies = [each.start.body for each in (pair.steered, pair.null, pair.unsteered)]
        assert [(body.amplified, body.shuffled) for body in bodies] == [
            (2.0, False),
            (2.0, True),
            (0.0, False),
        ]
        assert strength(pair.steered) == "adapter 2"
        assert made_with(pair.null).startswith("adapter at 2, null")


def test_unsteered_texts_stand_alone():
    assert [(pair.steered, pair.unsteered is not None) for pair in pairs(steered_texts(), 0.0)] == [
        (None, True),
        (None, True),
    ]
