"""What is said less, as an operation: recorded, shown, found again."""

from __future__ import annotations

from tests.planted import DOMAIN
from tests.workbench.operations.conftest import assert_as_recorded, committed, do
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session
from workbench.operations.said_less import SAID_LESS, SaidLessArguments
from workbench.store.findings import Line, Rows


def test_it_is_recorded_and_shown_beside_its_null(session: Session):
    do(session, SAID_LESS, SaidLessArguments(n_texts=64, top=30))
    (event,) = committed(session, "less_said")
    assert not {token.text for token in event.body.less[:5]} & set(DOMAIN)
    first, less, held = event.body.figures()
    assert isinstance(first, Line)
    assert "In the null" in first.text
    assert isinstance(less, Rows)
    assert isinstance(held, Rows)
    assert [row.cells[0] for row in less.rows] == [token.text.strip() for token in event.body.less]
    assert session.log.search(event.body.less[0].text.strip())
    assert_as_recorded(session)


def test_readings_have_the_negative_of_what_is_predicted(measured: Session):
    names = ("consensus", "output_difference", "shift_lens", "amplified_difference")
    do(measured, READ, ReadArguments(layer="3", readings=names))
    negatives = {
        event.body.reading: [token.text for token in event.body.tokens]
        for event in committed(measured, "reading_taken")
        if event.body.source == "negative" and event.body.position == "1-4"
    }
    assert set(negatives) == set(names)
    for tokens in negatives.values():
        assert set(tokens[-len(DOMAIN) :]) == set(DOMAIN)
