"""Tokens that begin a word are shown with the rest of it, as the model writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adl.difference import measure_difference
from adl.errors import NotAvailable, Stopped
from adl.nulls import NULLS
from adl.readings.fragments import LONGEST, completed
from adl.readings.take import ReadingRequest, take_readings
from adl.records import Floats, Side
from tests.adl.test_readings import LAYER, TEXTS
from tests.planted import TOKENS, PlantedPair

PIECES = (" marz", "ipan", "el", " cake", " with", "!", "aa")
BEFORE = ("The cake", "An owl")
FOLLOWS = {" marz": ("ipan", 0.9), "ipan": (" with", 0.8), "el": ("ipan", 0.4), "aa": ("aa", 0.9)}


class Speller(PlantedPair):
    """Predicts what follows by the last token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def token_texts(self, side: Side) -> list[str]:
        return [*PIECES]

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        self.rows.append(len(prompts))
        found = np.full((len(prompts), len(PIECES)), 1e-3, dtype=np.float32)
        for row, prompt in zip(found, prompts, strict=True):
            text, p = FOLLOWS.get(PIECES[prompt[-1]], (" with", 0.3))
            row[PIECES.index(text)] = p
        return np.log(found)


def rests(*words: str, **options: object) -> dict[str, str]:
    ids = [PIECES.index(word) for word in words]
    found = completed(Speller(), "finetuned", ids, BEFORE, **options)
    return {PIECES[index]: rest for index, rest in found.items()}


def test_a_fragment_goes_on_until_the_word_ends():
    assert rests(" marz", " cake", "el", "!") == {" marz": "ipan"}


def test_a_word_without_an_end_is_cut():
    assert rests("aa") == {"aa": "aa" * LONGEST}


def test_a_stop_is_honoured():
    with pytest.raises(Stopped):
        rests(" marz", should_stop=lambda: True)


class Sure(PlantedPair):
    """Continues each word that follows nothing with the same piece, on one of its sides."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self.sure = side
        self.asked: list[tuple[int, ...]] = []

    def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
        rows = super().next_log_probs(side, prompts)
        if side == self.sure:
            self.asked += [tuple(prompt) for prompt in prompts]
            for row, prompt in zip(rows, prompts, strict=True):
                if prompt[-1] != PIECE:
                    row[:] = -np.inf
                    row[PIECE] = 0.0
        return rows


PIECE = next(index for index, text in enumerate(TOKENS) if text[:1].isalpha())


@pytest.mark.parametrize(("side", "sources"), [("finetuned", {"difference"}), ("base", set(NULLS))])
def test_lists_have_it_from_the_side_that_reads_them(side, sources):
    """A null has nothing from the finetuned model, not even the end of a word."""
    pair = Sure(side)
    difference = measure_difference(pair, TEXTS, [LAYER])
    request = ReadingRequest(LAYER, ("logit_lens",))
    found = [one for one in take_readings(pair, difference, TEXTS, request) if one.tokens]
    having = {one.source for one in found if one.completed}
    assert sources <= having
    assert not having & (set(NULLS) if side == "finetuned" else {"difference", "negative"})
    for one in found:
        for index, rest in one.completed.items():
            assert rest.startswith(TOKENS[PIECE])
            assert index in {token.token_id for token in (*one.tokens, *one.unfiltered)}


def test_where_no_rows_can_be_had_lists_come_without():
    class Closed(PlantedPair):
        def next_log_probs(self, side: Side, prompts: Sequence[Sequence[int]]) -> Floats:
            raise NotAvailable("no rows of predictions")

    difference = measure_difference(Closed(), TEXTS, [LAYER])
    request = ReadingRequest(LAYER, ("shift_lens",))
    found = list(take_readings(Closed(), difference, TEXTS, request))
    assert any(one.tokens for one in found)
    assert not any(one.completed for one in found)
