"""What pictures are drawn from is what is recorded today, but for the digits of its numbers."""

from __future__ import annotations

import pytest

from tests.reading_families import PREDICTION_READINGS
from tests.workbench.tui.measures_sample import measured, record_measures
from tests.workbench.tui.sample import record_sample, sample
from workbench.store.events import Event, ReadingTaken


def shape(event: Event) -> tuple[str, list[str]]:
    """Kind and fields of an event."""
    return event.body.kind, sorted(event.body.model_dump(mode="json"))


def is_later(event: Event) -> bool:
    """True for lists that the kept recordings are older than: the negative of a prediction reading.

    They look like the other lists, and a negative list there is, of the logit lens. Panes are tested
    with event numbers and rows of the kept ones, which more lists would move.
    """
    body = event.body
    return (
        isinstance(body, ReadingTaken)
        and body.source == "negative"
        and body.reading in PREDICTION_READINGS
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "made", "later"),
    [
        (lambda: sample()[0], lambda: record_sample()[0], PREDICTION_READINGS),
        (measured, record_measures, {"output_difference"}),
    ],
    ids=["sample", "measures"],
)
def test_a_recording_is_what_is_recorded_today(kept, made, later):
    """If not: ``python -m tests.workbench.tui.record``, and look through the pictures."""
    today = made()
    assert {event.body.reading for event in filter(is_later, today)} == later
    assert not any(map(is_later, kept())), "made anew: nothing is later than it"
    assert list(map(shape, kept())) == [shape(event) for event in today if not is_later(event)]
