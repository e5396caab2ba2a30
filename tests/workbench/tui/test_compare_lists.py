"""The lists of several sessions stand side by side in their comparison."""

from __future__ import annotations

from dataclasses import replace

from tests.workbench.tui.sample import sample_state
from workbench.replay.compare import compare, first_tokens
from workbench.store.state import SessionState
from workbench.tui.screens.compare import comparison_tables, token_rows


def test_first_tokens_of_sessions_stand_side_by_side_with_what_they_share():
    state = sample_state()
    consensus = next(
        taken.body
        for key, taken in state.readings.items()
        if (key.reading, key.source) == ("consensus", "difference") and taken.body.chosen
    )
    assert first_tokens(state) == tuple(token.text.strip() for token in consensus.tokens[:20])
    other = replace(
        state,
        name="other",
        readings={
            key: taken for key, taken in state.readings.items() if key.reading == "logit_lens"
        },
    )
    compared = compare([state, other, SessionState()])
    shown = list(token_rows(compared))
    assert len(shown) == 20
    mine, theirs = first_tokens(state), first_tokens(other)
    for rank, (number, left, right, nothing) in enumerate(shown):
        assert (number, nothing) == (str(rank + 1), "")
        assert left == ("\u2022 " if mine[rank] in theirs else "") + mine[rank]
        assert right == ("\u2022 " if theirs[rank] in mine else "") + theirs[rank]
    assert any(
        "First tokens" in table.title and table.rows for table in comparison_tables(compared)
    )


def test_sessions_without_lists_have_no_rows():
    assert list(token_rows(compare([SessionState(), SessionState()]))) == []
