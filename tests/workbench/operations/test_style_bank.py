"""The user's bank of style: pairs are added to it, and read against the others in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adl.errors import StyleBankError
from adl.readings.style import base_key, finetuned_digest, read_bank
from tests.planted import DOMAIN
from tests.workbench.operations.conftest import assert_as_recorded, committed, do
from workbench.locations import find_locations
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session
from workbench.operations.style_bank import STYLE_BANK, BankArguments, keep
from workbench.store.against_nulls import struck_line
from workbench.store.state import fold
from workbench.tui.panes.readings.cells import Cells
from workbench.tui.panes.readings.columns import table_of
from workbench.tui.panes.readings.index import Choice, Index
from workbench.tui.panes.readings.marks import Marks
from workbench.tui.panes.readings.render import about, why

WORD = DOMAIN[0].strip()
OUTPUT = ("output_difference",)


@pytest.fixture
def banked(measured: Session) -> Session:
    do(measured, STYLE_BANK, BankArguments(label="planted", layer="3"))
    (own,) = read_bank(find_locations().style_bank)
    for name in ("a", "b"):
        keep(
            find_locations().style_bank,
            replace(own, name=name, digest=name, output=(WORD,), shift=()),
        )
    return measured


def test_a_pair_is_added_with_its_words_and_never_meets_itself(measured: Session):
    do(measured, STYLE_BANK, BankArguments(label="planted", layer="3", broad=True))
    (own,) = read_bank(find_locations().style_bank)
    assert (own.name, own.is_broad) == ("planted", True)
    assert own.digest == finetuned_digest(measured.require_pair().provenance)
    assert own.base == base_key(measured.require_pair())
    (event,) = committed(measured, "finetuning_banked")
    assert event.body.output == own.output
    assert set(own.output[: len(DOMAIN)]) == {word.strip() for word in DOMAIN}
    assert event.body.n_others == 0
    # Added again it takes its own place, and its own words stay in its lists.
    do(measured, STYLE_BANK, BankArguments(label="again", layer="3"))
    assert [each.name for each in read_bank(find_locations().style_bank)] == ["again"]
    do(measured, READ, ReadArguments(layer="3", readings=OUTPUT))
    assert not any(event.body.struck for event in committed(measured, "reading_taken"))
    assert_as_recorded(measured)


def test_words_of_the_others_are_struck_from_the_lists(banked: Session):
    do(banked, READ, ReadArguments(layer="3", readings=OUTPUT))
    (event,) = [
        event for event in committed(banked, "reading_taken") if event.body.source == "difference"
    ]
    assert [struck.text.strip() for struck in event.body.struck] == [WORD]
    assert event.body.struck[0].why == "raised by 2 of 2 other finetunings of this base"
    assert WORD not in [token.text.strip() for token in event.body.tokens]
    assert event.body.settings["style"]["finetunings"] == 2
    state = fold(banked.log.events(banked.id))
    assert struck_line(state, 3) == f"Struck as style: {WORD} ({event.body.struck[0].why})"
    assert_as_recorded(banked)


def test_the_pane_shows_them_struck_out_in_their_places(banked: Session):
    do(banked, READ, ReadArguments(layer="3", readings=OUTPUT))
    state = banked.state
    index = Index(state.readings, state.differences)
    choice = Choice(reading="output_difference", struck=True)
    group = index.group(choice)
    assert group is not None
    table = table_of(index, group, choice)
    (body,) = [c.taken.body for c in table.columns if c.position == "1-4" and c.taken is not None]
    row = body.struck[0].rank - 1
    token = table.token(row, 0)
    assert token == body.struck[0]
    scores = [token.score for token in table.columns[0].tokens]
    assert scores == sorted(scores, reverse=True)
    cells = Cells(table, Marks(state), unfiltered=False)
    assert "strike" in str(cells.cell(row, 0, 30, lambda _part: "").spans)  # type: ignore[arg-type, return-value]
    assert "1 of style struck" in why(index, table, unfiltered=False).plain
    below = about(index, table, table.columns[0], row, token, [], 100, unfiltered=False).plain
    assert body.struck[0].why in below
    hidden = table_of(index, group, Choice(reading="output_difference"))
    assert token not in hidden.columns[0].tokens


def test_nothing_is_struck_if_it_is_not_wanted(banked: Session):
    do(banked, READ, ReadArguments(layer="3", readings=OUTPUT, style=False))
    for event in committed(banked, "reading_taken"):
        assert not event.body.struck
        assert "style" not in event.body.settings


def test_a_spoilt_bank_is_named_before_anything_is_read(measured: Session):
    path = find_locations().style_bank
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(StyleBankError, match="cannot be read"):
        do(measured, READ, ReadArguments(layer="3", readings=OUTPUT))
    assert not committed(measured, "reading_taken")
    with pytest.raises(StyleBankError):
        do(measured, STYLE_BANK, BankArguments(label="mine", layer="3"))
    assert path.read_text(encoding="utf-8") == "{"
