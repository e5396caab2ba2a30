"""Tests leave the process as they found it: what one leaves behind decides how a later one ends.

A thread that goes on takes the next server's connections and the next test's time; a changed
variable, folder or stand-in for a module is there for whichever test the process runs next. A test
that leaves any of it fails by itself, with the name of what it left.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Seconds in which threads that were told to end may do so.
END_WITHIN = 60.0
#: What libraries start once for the whole process.
LASTING = ("tqdm_monitor", "jemalloc_bg_thd", "pydevd")
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)
#: Variables that pytest and libraries set for themselves.
THEIRS = ("CC", "CXX", "PYTEST_CURRENT_TEST", "TOKENIZERS_PARALLELISM", "KMP_", "TORCH")


def _handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in SIGNALS}


def _are_one(before: ModuleType | None, now: ModuleType | None) -> bool:
    """True for one module, and for two of the same file: peft has transformers run once more."""
    file = getattr(before, "__file__", None)
    return now is before or (file is not None and file == getattr(now, "__file__", None))


@dataclass(frozen=True)
class Found:
    """The process before a test."""

    threads: frozenset[threading.Thread] = field(
        default_factory=lambda: frozenset(threading.enumerate())
    )
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = field(default_factory=Path.cwd)
    modules: dict[str, ModuleType] = field(default_factory=sys.modules.copy)
    handlers: dict[signal.Signals, Any] = field(default_factory=_handlers)

    def left(self) -> list[str]:
        """What is different now, each in words."""
        return [
            *(f"the thread {thread.name!r}" for thread in self._threads()),
            *(f"the variable {name}" for name in self._variables()),
            *(["the folder the process is in"] if Path.cwd() != self.folder else []),
            *(f"another module {name}" for name in self._modules()),
            *(
                f"the handler of {number.name}"
                for number, handler in _handlers().items()
                if handler != self.handlers[number]
            ),
        ]

    def _threads(self) -> list[threading.Thread]:
        until = time.monotonic() + END_WITHIN
        new = [one for one in threading.enumerate() if one not in self.threads]
        ours = [thread for thread in new if not thread.name.startswith(LASTING)]
        for thread in ours:
            thread.join(max(0.0, until - time.monotonic()))
        return [thread for thread in ours if thread.is_alive()]

    def _variables(self) -> list[str]:
        changed = {name for name, _ in self.environment.items() ^ os.environ.items()}
        return sorted(name for name in changed if not name.startswith(THEIRS))

    def _modules(self) -> list[str]:
        if self.modules.items() <= sys.modules.items():
            return []
        return [
            name
            for name, value in self.modules.items()
            if not _are_one(value, sys.modules.get(name))
        ]


_found = pytest.StashKey[Found]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[_found] = Found()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    result = yield
    left = item.stash[_found].left()
    assert not left, f"the test leaves {', '.join(left)}"
    return result
