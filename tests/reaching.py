"""A test that reaches for a network fails, however well the error was caught."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import offline

_reached = pytest.StashKey[Path]()


def keep_from_network(config: pytest.Config) -> None:
    """Listen from here on, in this process and in those that it starts."""
    descriptor, name = tempfile.mkstemp(prefix="reached-")
    os.close(descriptor)
    os.environ[offline.REACHED] = name
    config.stash[_reached] = Path(name)
    offline.listen(config.stash[_reached])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the file away; whoever reaches from now on is still refused."""
    if _reached in config.stash:
        config.stash[_reached].unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    result = yield
    path = item.config.stash.get(_reached, None)
    if path is not None and path.stat().st_size:
        reached = sorted(set(path.read_text(encoding="utf-8").splitlines()))
        path.write_text("", encoding="utf-8")
        raise AssertionError(f"the test reaches for a network: {', '.join(reached)}")
    return result
