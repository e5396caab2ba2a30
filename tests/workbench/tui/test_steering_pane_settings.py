"""Settings of the steering console: what can be typed, what is said of what cannot, what is asked."""

from __future__ import annotations

import re

import pytest
from pydantic import Field
from textual.widgets import Static

from tests.workbench.tui.conftest import PaneApp
from workbench.fields import choices
from workbench.operations.amplify import AmplifyArguments
from workbench.operations.generation import SteerArguments
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.steering.settings import SteeringSettings, layer_index
from workbench.tui.widgets.slider import Slider


@pytest.mark.parametrize(
    ("name", "typed", "field", "value"),
    [
        ("alpha", " 0.35 ", "", 0.35),
        ("alpha", "-0.2", "", -0.2),
        ("layer", "15", "", "15"),
        ("layer", "0.5", "", "0.5"),
        ("layer", " 1e-1", "", "1e-1"),
        ("everyday", "20", "n_prompts", 20),
        ("seed", "7", "", 7),
        ("temperature", "0", "", 0.0),
        ("tokens", "120", "max_new_tokens", 120),
        ("samples", "3", "n_samples", 3),
        ("sweep", "0.6, .2 0.2", "alphas", (0.0, 0.2, 0.6)),
        ("prompt", "  Hello? ", "", "Hello?"),
        ("prompt", "[1]; {", "", "[1]; {"),
        ("batch_size", "8", "", 8),
    ],
)
def test_what_is_typed_is_taken(name, typed, field, value):
    settings = SteeringSettings().changed(name, typed)
    assert getattr(settings, field or name) == value


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("alpha", "much", "alpha must be a number, not 'much'"),
        ("alpha", "", "alpha must be a number, not ''"),
        ("alpha", "inf", "alpha must be a finite number, not 'inf'"),
        ("alpha", "nan", "alpha must be a finite number, not 'nan'"),
        ("layer", "", "layer must be a number (15) or a share of the depth"),
        ("layer", "-1", "layer must be a number (15)"),
        ("layer", "1.5", "share of the depth from 0.0 to 1.0, not '1.5'"),
        ("layer", "1e1", "not '1e1'"),
        ("everyday", "0", "everyday must be a whole number from 1 to 20, not '0'"),
        ("everyday", "21", "everyday must be a whole number from 1 to 20, not '21'"),
        ("seed", "-1", "seed must be a whole number, 0 or more, not '-1'"),
        ("temperature", "-0.1", "temperature must be a number, 0 or more, not '-0.1'"),
        ("tokens", "0", "tokens must be a whole number, 1 or more, not '0'"),
        ("samples", "two", "samples must be a whole number, 1 or more, not 'two'"),
        ("batch_size", "0", "batch size must be a whole number, 1 or more, not '0'"),
        ("prompt", "   ", "prompt must not be empty"),
        ("sweep", "0", "sweep must have an alpha other than 0"),
        ("sweep", "0.1 x", "sweep: 'x' must be a number"),
        ("side", "both", "side must be 'base' or 'finetuned', not 'both'"),
    ],
)
def test_what_cannot_be_is_said_in_words(name, typed, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        SteeringSettings().changed(name, typed)


#: Not typed as they are: ``prompt`` and ``own`` stand for them, or the slider's ``alpha``.
NOT_TYPED = {"prompts", "prompt_file", "alphas", "n_prompts"}


@pytest.mark.parametrize("name", sorted(set(SteerArguments.model_fields) - NOT_TYPED))
def test_every_field_of_the_arguments_is_a_setting_without_a_parser_of_its_own(name):
    before = getattr(SteerArguments(), name)
    values = choices(SteerArguments.model_fields[name].annotation)
    other = next(value for value in (*values, "3") if value != str(before))
    settings = SteeringSettings().changed(name, other)
    assert str(getattr(settings.steering(), name)).removesuffix(".0") == other
    assert SteeringSettings.from_view(settings.as_view()) == settings


def test_a_field_that_the_arguments_gain_is_typed_kept_and_refused_in_words():
    class Later(SteeringSettings):
        top_k: int | None = Field(None, ge=1)

    later = Later().changed("top_k", "5")
    assert Later.from_view(later.as_view()) == later
    with pytest.raises(ValueError, match="top k must be a whole number, 1 or more, not 'few'"):
        later.changed("top_k", "few")


def test_a_view_of_an_earlier_version_is_taken():
    view = {
        "alpha": "0.25", "layer": "0.75", "position": "3", "side": "base", "source": "split_half",
        "own": "yes", "prompt": "Why?", "everyday": "9", "seed": "12", "temperature": "0.7",
        "tokens": "33", "samples": "2", "thinking": "off", "sweep": "0 0.05 2",
    }  # fmt: skip
    settings = SteeringSettings.from_view(view)
    assert settings.as_view() == view | {"batch_size": "40", "carrier": "difference"}
    assert settings.steering() == SteerArguments(
        alphas=(0.0, 0.25), layer="0.75", position="3", side="base", source="split_half",
        prompts=("Why?",), seed=12, temperature=0.7, max_new_tokens=33, n_samples=2, thinking="off",
    )  # fmt: skip


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


def test_another_carrier_asks_for_amplified_texts():
    settings = SteeringSettings().changed("prompt", "Hello?").changed("seed", "3")
    adapter = settings.changed("carrier", "adapter").changed("alpha", "-1.5")
    assert adapter.steering() == AmplifyArguments(
        carrier="adapter",
        prompts=("Hello?",),
        n_prompts=None,
        strengths=(-1.5,),
        seed=3,
        temperature=1.1,
    )
    swept = settings.changed("carrier", "logits").sweeping()
    assert swept.in_order == (1.0, 2.0, 4.0)
    assert swept.max_new_tokens == 40
    assert settings.changed("sweep", "0.5 2").changed("carrier", "rank1").sweeping().strengths == (
        0.5,
        2.0,
    )
    assert SteeringSettings.from_view(adapter.as_view()).carrier == "adapter"
    for carrier, alpha, why in (
        ("adapter", "1", "finetuned model itself"),
        ("logits", "-1", "negative"),
        ("rank1", "30", "20"),
    ):
        with pytest.raises(ValueError, match=why):
            settings.changed("carrier", carrier).changed("alpha", alpha).steering()


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
