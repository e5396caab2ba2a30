"""Letting an app go on until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from tests.processes import HANGS

# The work is done on threads, which tell the app when they are through and nobody else: what is
# waited for is looked at this often.
LOOK_EVERY = 0.05


async def until(
    pilot: Pilot[Any],
    condition: Callable[[], object],
    what: str,
    *,
    within: float = HANGS,
    at_each_look: Callable[[], object] = lambda: None,
) -> None:
    """Let the app go on until the condition holds, and no longer; fails after ``within`` seconds.

    ``at_each_look`` may assert what has to be so meanwhile.
    """
    deadline = time.monotonic() + within
    while True:
        at_each_look()
        if condition():
            return
        assert time.monotonic() < deadline, f"{what} never came"
        await pilot.pause(LOOK_EVERY)
