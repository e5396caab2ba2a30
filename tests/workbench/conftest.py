"""For tests that add a kind of event of their own, and for those that compute what an agent sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workbench.little_evidence import make_it_little
from workbench.store import body
from workbench.store.body import KINDS


@pytest.fixture
def forget_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kinds defined in a test are forgotten after it."""
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)
    monkeypatch.setattr(body, "_reader", None)


@pytest.fixture
def little_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent is shown the same things, made of less."""
    make_it_little(monkeypatch.setattr)
