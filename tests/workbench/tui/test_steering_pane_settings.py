"""Settings of the steering console: what can be typed, what is said of what cannot, what is asked."""

from __future__ import annotations

import pytest
from textual.widgets import Static

from tests.workbench.tui.conftest import PaneApp
from workbench.operations.generation import SteerArguments
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.steering.settings import SteeringSettings, layer_index
from workbench.tui.widgets.slider import Slider


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("alpha", " 0.35 ", 0.35),
        ("alpha", "-0.2", -0.2),
        ("layer", "15", "15"),
        ("layer", "0.5", "0.5"),
        ("everyday", "20", 20),
        ("seed", "7", 7),
        ("temperature", "0", 0.0),
        ("tokens", "120", 120),
        ("samples", "3", 3),
        ("sweep", "0.6, .2 0.2", (0.0, 0.2, 0.6)),
        ("prompt", "  Hello? ", "Hello?"),
    ],
)
def test_what_is_typed_is_taken(name, typed, value):
    assert getattr(SteeringSettings().changed(name, typed), name) == value


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("alpha", "much", "alpha 'much' is not a number"),
        ("alpha", "", "alpha is empty"),
        ("alpha", "inf", "out of range"),
        ("alpha", "nan", "out of range"),
        ("layer", "", "layer is empty"),
        ("layer", "-1", "not a layer"),
        ("layer", "1.5", "not a layer"),
        ("layer", "1e1", "not a whole number"),
        ("everyday", "0", "from 1 to 20"),
        ("everyday", "21", "from 1 to 20"),
        ("seed", "-1", "from 0"),
        ("temperature", "-0.1", "0 or more"),
        ("tokens", "0", "from 1"),
        ("samples", "two", "from 1"),
        ("prompt", "   ", "no prompt"),
        ("sweep", "0", "no alpha but 0"),
        ("sweep", "0.1 x", "'x' is not a number"),
        ("side", "both", "choose from base, finetuned"),
    ],
)
def test_what_cannot_be_is_said_in_words(name, typed, said):
    with pytest.raises(ValueError, match=said):
        SteeringSettings().changed(name, typed)


def test_settings_come_back_from_their_view():
    settings = SteeringSettings()
    for name, typed in [
        ("alpha", "0.123456"),
        ("layer", "0.75"),
        ("position", "3"),
        ("side", "base"),
        ("source", "split_half"),
        ("everyday", "9"),
        ("prompt", "one\ttwo ]"),
        ("seed", "12"),
        ("temperature", "0.7"),
        ("tokens", "33"),
        ("samples", "2"),
        ("sweep", "0.05 2"),
    ]:
        settings = settings.changed(name, typed)
    assert SteeringSettings.from_view(settings.as_view()) == settings


@pytest.mark.parametrize("view", [None, 3, [], {"alpha": None, "seed": [], "side": "x", "own": 1}])
def test_a_view_that_is_none_leaves_the_defaults(view):
    assert SteeringSettings.from_view(view) == SteeringSettings()


def test_an_own_prompt_is_kept_while_the_everyday_ones_are_taken():
    settings = SteeringSettings().changed("prompt", "Hello?").changed("everyday", "2")
    assert settings.prompt == "Hello?"
    assert settings.steering() == SteerArguments(
        prompts=(), n_prompts=2, alphas=(0.0, 0.3), layer="0.5"
    )


def test_steering_asks_for_the_unsteered_twin_too():
    settings = SteeringSettings().changed("prompt", "Hello?").changed("alpha", "0.25")
    settings = settings.changed("source", "random").changed("side", "base").changed("samples", "2")
    assert settings.steering() == SteerArguments(
        prompts=("Hello?",),
        alphas=(0.0, 0.25),
        side="base",
        source="random",
        n_samples=2,
        max_new_tokens=60,
    )


def test_steering_with_nothing_is_refused():
    with pytest.raises(ValueError, match="adds nothing"):
        SteeringSettings().changed("alpha", "0").steering()


def test_a_sweep_takes_few_prompts_and_short_texts():
    arguments = SteeringSettings().changed("everyday", "20").changed("samples", "5").sweeping()
    assert arguments == SteerArguments(
        n_prompts=3, alphas=(0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 1.0), max_new_tokens=40
    )


def test_a_layer_is_a_number_or_a_share():
    assert layer_index("0.5", 6) == 2
    assert layer_index("3", 6) == 3
    assert layer_index("6", 6) is None
    assert layer_index("3", None) is None


@pytest.mark.parametrize("typed", ["1e9", "1000000", "-1e300", "123456789.123"])
@pytest.mark.parametrize("width", [40, 80, 120])
async def test_an_alpha_of_any_size_gets_a_remark_and_keeps_the_gauge_in_its_lines(typed, width):
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.press("=", "ctrl+u", *typed, "enter")
        assert "mostly noise" in str(app.query_one("#status", Static).render())
        slider = app.query_one(Slider)
        assert slider.size.height == 2
        first = slider.render_line(0).text
        assert "\u251c" in first or "\u2026" in first or "\u25c2" in first
        # The second line is the note, and not the rest of the first.
        assert "\u2524" not in slider.render_line(1).text
