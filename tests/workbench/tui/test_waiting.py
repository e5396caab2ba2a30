"""A pilot waits for what an app has to do, and not for a share of the processor."""

from __future__ import annotations

from textual.app import App
from textual.pilot import Pilot

from tests.processes import HANGS

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


def test_a_busy_machine_is_no_broken_app():
    assert Pilot._wait_for_screen.__defaults__ == (HANGS,)
