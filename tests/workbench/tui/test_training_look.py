"""Trainings and mixing studies among the measures: the loss, and what mixing costs and hides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.workbench.tui.measures_sample import measured_state
from tests.workbench.tui.sample import BEGAN
from tests.workbench.tui.test_measures_screen import MeasuresApp
from tests.workbench.tui.waiting import screen_text
from workbench.sparkline import spark
from workbench.store.events import HUMAN
from workbench.store.findings import Estimate
from workbench.store.recorded import Recorded
from workbench.store.training_events import (
    MixingStudied,
    MixtureHeldOut,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
)
from workbench.tui.measure_render import findings, look
from workbench.tui.widgets.bars import dots


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=6)


def mixture(ratio: float, over: float) -> MixtureMeasured:
    state = measured_state()
    return MixtureMeasured(
        name="cakes",
        ratio=ratio,
        folder="/tmp/cakes",
        steps=10,
        final_loss=2.0,
        trace=state.measures[0].body,
        relevance=(),
        similarity={"steered": about(0.5), "unsteered": about(0.5 - over)},
        over_unsteered=about(over),
        over_random=None,
        facts=None,
        held_out=MixtureHeldOut(base=4.0, finetuned=3.0, gain=about(1.0)),
    )


@pytest.fixture
def state():
    bodies = [
        TrainingAdvanced(name="cakes", first=1, total=4, losses=(4.0, 3.0)),
        TrainingAdvanced(name="cakes", first=3, total=4, losses=(2.5, 2.0)),
        OrganismTrained(
            name="cakes", folder="/tmp/cakes", adapter_sha256="", steps=4, final_loss=2.0, tokens=99
        ),
        mixture(0.0, 0.4),
        mixture(1.0, 0.1),
        MixingStudied(
            name="cakes",
            folder="/tmp/cakes",
            ratios=(0.0, 1.0),
            against="file \x1b[2Jcakes.txt",
            documents_sha256="",
        ),
    ]
    trainings = [
        Recorded(1000 + number, BEGAN, HUMAN, None, body) for number, body in enumerate(bodies)
    ]
    return replace(measured_state(), trainings=trainings)


def said(state, kind) -> str:
    one = next(one for one in findings(state) if isinstance(one.body, kind))
    return look(one, state, 100).plain


def test_a_training_shows_how_its_loss_fell(state):
    assert f"{spark([4.0, 3.0, 2.5, 2.0], 40)} 4.000 to 2.000" in said(state, OrganismTrained)


def test_a_study_shows_each_quantity_over_the_ratios(state):
    lines = said(state, MixingStudied)
    start = lines.index("over unsteered")
    first, second = lines[start:].splitlines()[1:3]
    assert first.startswith("1:0 ")
    assert "+0.400" in first
    assert second.startswith("1:1 ")
    assert first.count("█") > 3 * second.count("█") > 0
    assert "not computed" in lines
    assert "\x1b" not in lines
    assert "1.000 [+0.900, +1.100] nats" in said(state, MixtureMeasured)


async def test_they_stand_in_the_list_newest_first(state):
    app = MeasuresApp(state)
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        rows = screen_text(app)
        assert rows.index("mixing study") < rows.index("1:1, strong") < rows.index("training ")
        assert rows.index("training ") < rows.index("causal effect")


def test_small_plots():
    assert spark([], 5) == ""
    assert spark([1.0, 1.0], 5) == "▁▁"
    assert spark([0.0, 1.0, 2.0, 3.0], 2) == "▁█"
    drawn, low, high = dots(1.0, [-1.0, -1.0, 0.5], 9)
    assert (low, high) == (-1.0, 1.0)
    assert drawn == ":   │ · ●"
