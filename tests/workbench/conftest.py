"""For tests that add a kind of event of their own, and for those that compute what an agent sees."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from workbench.agent import shown_evidence
from workbench.operations.difference import MeasureArguments
from workbench.operations.readings import ReadArguments
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
    """An agent is shown the same things, made of less: all readings are hundreds of lists."""
    readings = ("shift_lens", "patchscope_contrast", "consensus")
    for arguments, less in (
        (MeasureArguments, {"n_texts": 32}),
        (ReadArguments, {"readings": readings, "n_texts": 32}),
    ):
        monkeypatch.setattr(shown_evidence, arguments.__name__, partial(arguments, **less))
    for name in ("N_UNPROMPTED", "N_NULL"):
        monkeypatch.setattr(shown_evidence, name, 4)
    monkeypatch.setattr(shown_evidence, "STEERED_PROMPTS", 2)
