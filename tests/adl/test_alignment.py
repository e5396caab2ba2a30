"""Two tokenizers on one text: read where both end a token at the same character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adl.errors import CorpusError
from adl.pair.alignment import FURTHEST, AlignedTokenBatches, SideTokens, places


def cut(*pieces: str, bos: int | None = None) -> SideTokens:
    """A text in pieces; the ids are their lengths."""
    ends, at = [], 0
    for piece in pieces:
        at += len(piece)
        ends.append(at)
    return SideTokens([len(piece) for piece in pieces], ends, () if bos is None else (bos,))


def test_places_are_where_both_end():
    found = places(cut("Go", " un", "like", " me"), cut("Go", " unl", "ike", " m", "e"), 3)
    assert found is not None
    assert found.base_columns == (0, 2, 3)
    assert found.finetuned_columns == (0, 2, 4)
    assert found.base_ids == (2, 3, 4, 3)
    assert found.finetuned_ids == (2, 4, 3, 2, 1)


def test_a_first_token_that_is_not_the_same_is_no_place():
    assert places(cut("Un", "like", " me"), cut("Unlike", " me"), 2) is None
    # Behind a begin-of-text token on both sides it is one: there the sink is that token.
    found = places(cut("Un", "like", " me", bos=7), cut("Unlike", " me", bos=9), 2)
    assert found is not None
    assert (found.base_columns, found.finetuned_columns) == ((0, 2), (0, 1))
    assert (found.base_ids[0], found.finetuned_ids[0]) == (7, 9)


def test_a_begin_of_text_token_of_one_side_goes_before_and_is_no_place():
    found = places(cut("a", " b", bos=7), cut("a", " b"), 2)
    assert found is not None
    assert (found.base_ids, found.finetuned_ids) == ((7, 1, 2), (1, 2))
    assert (found.base_columns, found.finetuned_columns) == ((1, 2), (0, 1))


def test_ends_far_apart_are_no_beginning_any_more():
    parts = ["a", *"b" * (2 * FURTHEST)]
    assert places(cut(*parts), cut("a", "b" * (2 * FURTHEST)), 2) is None


def test_of_the_parts_of_a_character_the_last_is_its_end():
    split = SideTokens([1, 2, 3], [1, 2, 2])
    found = places(split, cut("a", "\u00e9"), 2)
    assert found is not None
    assert (found.base_columns, found.finetuned_columns) == ((0, 2), (0, 1))


@st.composite
def two_cuts(draw):
    length = draw(st.integers(1, 30))
    inner = st.sets(st.integers(1, max(1, length - 1)))
    return [sorted({one for one in draw(inner) if one < length} | {length}) for _ in range(2)]


@given(two_cuts(), st.integers(1, 6))
def test_what_stands_before_a_place_is_the_same_text(ends, k):
    sides = [SideTokens(list(range(len(one))), one) for one in ends]
    found = places(*sides, k)
    if found is None:
        return
    base = [ends[0][column] for column in found.base_columns]
    finetuned = [ends[1][column] for column in found.finetuned_columns]
    assert base == finetuned
    assert len(base) == k
    assert base == sorted(set(base))
    assert len(found.base_ids) == found.base_columns[-1] + 1


def batches(texts, k=3, batch_size=2):
    """Base cuts at every word; the finetuned side cuts words with an x in two."""

    def tokens(side, text):
        words = text.split()
        pieces = [
            part
            for word in words
            for part in ([word[:1], word[1:]] if side == "finetuned" and "x" in word else [word])
        ]
        return cut(*pieces)

    return AlignedTokenBatches(texts, batch_size, k, tokens)


def test_texts_of_one_layout_share_a_batch_and_the_rest_are_counted_by_reason():
    made = batches(["aa bb cc", "aa bx cc", "ax bb cc", "dd ee ff", "gg hh ii", "a b"])
    found = list(made)
    assert [one.rows for one, _ in found] == [(0, 3), (1,), (4,)]
    assert [other.columns for _, other in found] == [(0, 1, 2), (0, 2, 3), (0, 1, 2)]
    assert all(one.positions == other.positions == ("0", "1", "2") for one, other in found)
    assert (made.used, made.skipped, made.unaligned) == (4, 2, 1)
    assert len(list(made)) == 3
    assert made.used == 4


def test_none_that_can_be_read_says_why():
    with pytest.raises(
        CorpusError, match="of 2 texts, 1 are cut into tokens.* and 1 are too short"
    ):
        list(batches(["ax bb cc", "a"]))
