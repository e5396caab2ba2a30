"""Letting an app go on until something is so, or until it has nothing to do."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import textual.app
import textual.pilot
from textual.app import App
from textual.pilot import Pilot

from tests.processes import HANGS
from workbench.tui.widgets.dialog import Dialog

# The work is done on threads, which tell the app when they are through and nobody else: what is
# waited for is looked at this soon, and less and less often.
LOOK_FIRST, LOOK_EVERY = 0.01, 0.05
# What is due within this many seconds is a part of what the app is doing: it draws 60 times a second.
SOON = 0.02
# An animation or another clock of the app is waited for this often, and then is left to itself.
TICKS = 50
# An app that looks so many times the same stands still.
STILL = 3
# Threads that work are given this many seconds, and have used more than so many of the processor's.
A_MOMENT, WORKING = 0.002, 0.0002


def screen_text(app: App[Any]) -> str:
    """What stands on the screen, line by line, as the terminal gets it."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def until(
    pilot: Pilot[Any],
    condition: Callable[[], object],
    what: str,
    *,
    within: float = HANGS,
    at_each_look: Callable[[], object] = lambda: None,
) -> None:
    """Let the app go on until the condition holds, and no longer; fails after ``within`` seconds.

    ``at_each_look`` may assert what has to be so meanwhile. Raises what the app failed with: nothing
    comes from an app that has ended, and a pilot would wait for its screen.
    """
    deadline = time.monotonic() + within
    look = LOOK_FIRST
    while True:
        at_each_look()
        if condition():
            return
        if pilot.app._exception is not None:
            raise pilot.app._exception
        assert time.monotonic() < deadline, f"{what} never came"
        await pilot.pause(look)
        look = min(2 * look, LOOK_EVERY)


async def until_asked(pilot: Pilot[Any], dialog: type[Dialog[Any]], what: str) -> None:
    """Wait until a dialog is up and takes keys: one that no key opened does not at first."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, dialog), what)
    await until(pilot, lambda: app.screen._listens or not app.screen.is_unasked, "that it listens")


async def until_still(pilot: Pilot[Any]) -> None:
    """Wait until the app shows the same several times in a row, all screens of it drawn anew."""
    deadline = time.monotonic() + HANGS
    seen: list[str] = []
    while len(seen) < STILL or len(set(seen[-STILL:])) > 1:
        assert time.monotonic() < deadline, "the screen never stood still"
        for screen in pilot.app.screen_stack:
            screen.refresh(layout=True)
        await pilot.wait_for_scheduled_animations()
        # Each picture has a name of its own in it.
        seen.append(re.sub(r"terminal-\d+", "", pilot.app.export_screenshot(simplify=True)))


def wait_for_apps_rather_than_for_the_clock() -> None:
    """Pilots wait until an app has done what it has to do, however slow the machine is.

    Textual takes an app that got no time of the processor in 20 ms for one with nothing to do, and
    one that needs half a minute for broken; on a busy machine both are wrong.
    """
    for module in (textual.app, textual.pilot):
        module.wait_for_idle = nothing_to_do  # type: ignore[attr-defined]
    Pilot._wait_for_screen.__defaults__ = (HANGS,)  # type: ignore[attr-defined]


async def nothing_to_do(_at_least: float = 0.0, within: float = 1.0) -> None:
    """Wait until the loop has nothing to run now or soon, and its other threads do not work.

    A thread that works on is waited for until ``within`` seconds of the processor are over.
    """
    loop: Any = asyncio.get_running_loop()
    began, others_began = loop.time(), _time_of_others()
    ticks = 0
    while True:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        due = min(
            (timer.when() for timer in loop._scheduled if not timer.cancelled()), default=None
        )
        if due is not None and due - loop.time() < SOON and ticks < TICKS:
            ticks += 1
            await asyncio.sleep(max(0.0, due - loop.time()))
            continue
        used = _time_of_others()
        if (
            threading.active_count() == 1
            or used - others_began > within
            or loop.time() - began > HANGS / 10
        ):
            return
        await asyncio.sleep(A_MOMENT)
        if _time_of_others() - used < WORKING and not loop._ready and not _others_run():
            return


def _time_of_others() -> float:
    """Seconds of the processor that the other threads have used."""
    return time.process_time() - time.thread_time()


def _others_run() -> bool:
    """True if another thread would work, had it the processor or the disk.

    One that waits for Python's lock does not: it had the lock while this thread slept.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            _, _, told = (thread / "stat").read_text().rpartition(") ")
            if told[0] in "RD" and int(thread.name) != threading.get_native_id():
                return True
    return False
