"""For tests that add a kind of event of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
