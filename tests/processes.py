"""The processes that tests start: they hear signals, and end when a test's time is up.

There is one limit on how long a test may take, pytest-timeout's, and hardly a wait in a test has
one of its own. When it is reached, the processes that the test started are killed first, with the
groups that they lead: a test that waits for one of them, or for the end of its output, would go on
waiting while it is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

#: Seconds that a wait for an event may last where it has to name a number: less than the limit on a
#: test, so that what never came is named.
HANGS = 500.0

#: The processes that were there before the phase of a test under way.
_before = pytest.StashKey[set[int]]()


def pytest_configure() -> None:
    """Heed the signals that some tests send to the processes they start.

    What this process ignores, those would ignore too: SIGINT in the background of a script, SIGHUP
    under `nohup`.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[_before] = _children()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    # What fixtures started is theirs: others may use it after this test.
    item.stash[_before] = _children()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item) -> Generator[None]:
    timer = yield
    fail = signal.getsignal(signal.SIGALRM)
    if callable(fail):

        def clear_and_fail(number: int, frame: Any) -> None:
            kill_new_children(item.stash.get(_before, set()))
            fail(number, frame)

        signal.signal(signal.SIGALRM, clear_and_fail)
    return timer


def kill_new_children(before: set[int]) -> None:
    """Kill the processes below this one but for some, with the groups that they lead."""
    for child in _children() - before:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(child)
            for member in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                    if os.getpgid(member.pid) == member.pid:
                        os.killpg(member.pid, signal.SIGKILL)
                    member.kill()


def _children() -> set[int]:
    """The processes that this one started, at the cost of a look into a file a thread."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):
            found |= set(map(int, (thread / "children").read_text().split()))
    return found
