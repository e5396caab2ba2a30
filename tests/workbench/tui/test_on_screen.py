"""No message of the screen names an option of the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import adl
import workbench
from adl.errors import PairError
from tests.planted import PlantedPair
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import on, quit_it, refuse_to_load, type_pair
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.pair import PairArguments
from workbench.tui.on_screen import OTHER_PROGRAMS, PAIR_LABELS, on_screen
from workbench.tui.screens.new_pair import NewPairScreen

_OPTION = re.compile(r"(?<![\w-])--([a-z][\w-]*)")


def messages() -> set[str]:
    """Texts with options in calls that make errors, of all but the command line's own modules."""
    found: set[str] = set()
    for package in (adl, workbench):
        for path in Path(package.__file__).parent.rglob("*.py"):
            if "cli" in path.parts:
                continue
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "").endswith("Error"):
                    for text in ast.walk(call):
                        if isinstance(text, ast.Constant) and isinstance(text.value, str):
                            found |= {text.value} if _OPTION.search(text.value) else set()
    return found


@pytest.mark.slow
def test_no_message_of_the_screen_has_an_option():
    assert len(messages()) > 30
    left = {
        text: names
        for text in messages()
        if (names := set(_OPTION.findall(on_screen(text))) - OTHER_PROGRAMS)
    }
    assert left == {}


def test_every_field_of_a_pair_has_a_title():
    assert set(PAIR_LABELS) == set(PairArguments.model_fields) - {"organism"}


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (
            "Try --dtype bfloat16 or --load-in-8bit.",
            "Try Number format bfloat16 or Quantisation 8bit.",
        ),
        ("pip install --no-deps x==1", "pip install --no-deps x==1"),
        ("Begin again: --fresh.", "Begin again: fresh."),
        ("Measure it first (`diff`, `audit`).", "Measure it first."),
    ],
)
def test_an_option_is_called_as_its_field(written: str, seen: str):
    assert on_screen(written) == seen


@pytest.mark.slow
async def test_an_error_in_the_form_names_fields(workbench):
    refuse_to_load(PairError("no", "Give --device-map cpu.", concerns="device_map"))
    app = workbench(pair=None)
    async with app.run_test(size=(120, 40)) as pilot:
        await type_pair(pilot, "acme/typo", "acme/adapter")
        await until(
            pilot, lambda: on(app, NewPairScreen) and "! no" in screen_text(app), "the message"
        )
        assert "Give Device map cpu." in screen_text(app)
        assert "--device" not in screen_text(app)
        await quit_it(pilot)


@pytest.mark.slow
async def test_what_failed_names_fields_in_every_pane(workbench, monkeypatch):
    def fail(*_arguments, **_options):
        raise PairError("it cannot write", "Give --device-map cpu, or --dtype bfloat16.")

    monkeypatch.setattr(PlantedPair, "generate", fail)
    app = workbench(prepare=True)
    async with app.run_test(size=(100, 40), notifications=True) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.state.readings, "the readings")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the reading")
        await pilot.press("3", "s", "4", "enter", "h", "i", "enter", "escape")
        await until(pilot, lambda: len(failed(app)) == 2, "two failures")
        for pane in ("1", "3", "4", "6"):
            await pilot.press(pane)
            await pilot.pause()
            app.clear_notifications()
            await pilot.pause()
            assert "--" not in screen_text(app), pane
            assert "Device map cpu" in screen_text(app) or pane == "6", pane
        await pilot.press("i")
        await pilot.pause()
        assert "--device-map" not in screen_text(app)
        await quit_it(pilot)


def failed(app) -> list[str]:
    return [each.name for each in app.opened.state.operations.values() if each.status == "failed"]
