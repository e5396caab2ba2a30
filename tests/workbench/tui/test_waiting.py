"""A pilot waits for what an app has to do, and not for a share of the processor."""

from __future__ import annotations

import time

import pytest
from textual.app import App
from textual.pilot import Pilot

from tests.processes import HANGS
from tests.workbench.tui.waiting import until

STEPS = 10


class Stepping(App[None]):
    """Takes one step after the other, each soon after the one before, and uses no time for them."""

    steps = 0

    def on_key(self) -> None:
        self.steps += 1
        if self.steps < STEPS:
            self.set_timer(0.015, self.on_key)


async def test_all_steps_are_over_when_a_press_is():
    app = Stepping()
    async with app.run_test() as pilot:
        await pilot.press("a")
        assert app.steps == STEPS


class Broken(App[None]):
    """Ends before it shows anything."""

    def on_mount(self) -> None:
        raise ZeroDivisionError("not mounted")


async def test_what_never_comes_from_an_app_that_failed_is_not_waited_for():
    app = Broken()
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="not mounted"):
        async with app.run_test() as pilot:
            await until(pilot, lambda: False, "what never comes")
    assert time.monotonic() - began < HANGS / 2


def test_a_busy_machine_is_no_broken_app():
    assert Pilot._wait_for_screen.__defaults__ == (HANGS,)
