"""What pictures are drawn from is what is recorded today, but for the digits of its numbers."""

from __future__ import annotations

import pytest

from tests.workbench.tui.measures_sample import measured, record_measures
from tests.workbench.tui.sample import record_sample, sample
from workbench.store.events import Event


def shape(event: Event) -> tuple[str, list[str]]:
    """Kind and fields of an event."""
    return event.body.kind, sorted(event.body.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("kept", "made"),
    [(lambda: sample()[0], lambda: record_sample()[0]), (measured, record_measures)],
    ids=["sample", "measures"],
)
def test_a_recording_is_what_is_recorded_today(kept, made):
    """If not: ``python -m tests.workbench.tui.record``, and look through the pictures."""
    assert list(map(shape, kept())) == list(map(shape, made()))
