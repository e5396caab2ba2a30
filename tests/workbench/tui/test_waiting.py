"""A pilot waits for what an app has to do, and not for a share of the processor."""

from __future__ import annotations

import hashlib
import threading
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


def compute(seconds: float) -> None:
    """Use so much of the processor, with Python's lock."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def digest(seconds: float) -> None:
    """Use so much of the processor, without Python's lock."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.pbkdf2_hmac("sha256", b"a text", b"salt", 20_000)


@pytest.mark.parametrize("work", [compute, digest])
async def test_a_thread_that_works_is_waited_for_and_one_that_waits_is_not(work):
    released, through = threading.Event(), []

    def wait() -> None:
        released.wait(HANGS)
        through.append("waited")

    def labour() -> None:
        work(0.2)
        through.append("worked")

    threads = [threading.Thread(target=target) for target in (wait, labour)]

    class Working(App[None]):
        def on_key(self) -> None:
            for thread in threads:
                thread.start()

    try:
        async with Working().run_test() as pilot:
            await pilot.press("a")
            assert through == ["worked"]
    finally:
        released.set()
        for thread in threads:
            thread.join()


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
