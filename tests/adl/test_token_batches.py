"""Exactly the tokens asked for, in the columns announced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adl.errors import CorpusError, SiteError
from adl.text.token_batches import (
    BosPolicy,
    PairedTokenBatches,
    TokenBatch,
    chat_token_batches,
    first_token_batches,
    first_tokens,
    text_start,
)


def words(text: str) -> list[int]:
    """A tokenizer of one token a word: the word's number."""
    return [int(word) for word in text.split()]


def chat(text: str) -> tuple[list[int], int]:
    """A template: the text, then 900 901 902 to start the turn, then an answer of 7 8 9."""
    ids = [*words(text), 900, 901, 902, 7, 8, 9]
    return ids, len(ids) - 3


class TestBos:
    @pytest.mark.parametrize(
        ("policy", "adds", "expected"),
        [
            (BosPolicy.AUTO, (1,), (1,)),
            (BosPolicy.AUTO, (), ()),
            (BosPolicy.AUTO, (5, 6), (5, 6)),
            (BosPolicy.ALWAYS, (), (1,)),
            (BosPolicy.ALWAYS, (5, 6), (5, 6)),
            (BosPolicy.NEVER, (1,), ()),
        ],
    )
    def test_policy(self, policy, adds, expected):
        assert text_start(policy, 1, adds) == expected

    def test_always_without_a_token(self):
        with pytest.raises(CorpusError, match="'always'.*'auto' or 'never'"):
            text_start(BosPolicy.ALWAYS, None, ())


class TestFirstTokens:
    def test_short_texts_are_left_out(self):
        found = [(ids.tolist(), row) for ids, row in first_tokens(["1 2 3", "1", "4 5"], words, 2)]
        assert found == [([1, 2], 0), ([4, 5], 2)]

    def test_bos_counts_as_position_0(self):
        ids, _ = next(first_tokens(["1 2"], words, 3, before=(99,)))
        assert ids.tolist() == [99, 1, 2]
        assert ids.dtype == np.int64

    def test_k_below_one(self):
        with pytest.raises(SiteError):
            list(first_tokens(["1"], words, 0))
        with pytest.raises(SiteError):
            first_token_batches(["1"], words, 0, 1)

    def test_batches(self):
        batches = first_token_batches(["1 2 3", "1", "4 5", "6 7"], words, 2, batch_size=2)
        first, second = batches
        assert first.ids.tolist() == [[1, 2], [4, 5]]
        assert second.ids.tolist() == [[6, 7]]
        assert first.mask.all()
        assert first.columns == (0, 1)
        assert first.positions == ("0", "1")
        assert (first.rows, second.rows) == ((0, 2), (3,))
        assert (batches.used, batches.skipped, batches.longest) == (3, 1, 3)

    def test_going_through_again_starts_over(self):
        batches = first_token_batches(["1 2", "1"], words, 2, batch_size=8)
        assert [b.ids.tolist() for b in batches] == [b.ids.tolist() for b in batches]
        assert (batches.used, batches.skipped) == (1, 1)

    def test_all_too_short_names_k_and_the_longest(self):
        with pytest.raises(CorpusError, match="All 2 texts are too short: 5 tokens needed.* has 3"):
            list(first_token_batches(["1 2 3", "1"], words, 5, batch_size=2))

    def test_texts_are_tokenised_as_they_are_needed(self):
        seen = []

        def tokenise(text):
            seen.append(text)
            return words(text)

        iterator = iter(first_token_batches(["1 2", "3 4", "5 6"], tokenise, 2, batch_size=2))
        next(iterator)
        assert len(seen) == 2

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 9)), st.integers(1, 6), st.integers(1, 5), st.booleans())
    def test_agrees_with_first_tokens(self, lengths, k, batch_size, bos):
        texts = [" ".join(str(10 * row + i) for i in range(n)) for row, n in enumerate(lengths)]
        before = (999,) if bos else ()
        expected = [(row, *ids) for ids, row in first_tokens(texts, words, k, before)]
        batches = first_token_batches(texts, words, k, batch_size, before)
        if expected:
            found = [(row, *ids) for b in batches for row, ids in zip(b.rows, b.ids, strict=True)]
            assert found == expected
        assert len(expected) + sum(n + bos < k for n in lengths) == len(texts)

    def test_empty_batch_size(self):
        with pytest.raises(CorpusError, match="batch of 0"):
            first_token_batches(["1"], words, 1, batch_size=0)


class TestChatPositions:
    def test_columns_line_up_over_rows_of_different_length(self):
        batches = chat_token_batches(["1 2 3 4", "5"], chat, range(-3, 2), batch_size=2)
        (batch,) = batches
        assert batch.positions == ("chat-3", "chat-2", "chat-1", "chat+0", "chat+1")
        for row in batch.ids:
            assert row[list(batch.columns)].tolist() == [900, 901, 902, 7, 8]
        assert batch.ids.tolist()[1] == [0, 0, 0, 5, 900, 901, 902, 7, 8]
        assert batch.mask.tolist()[1] == [False] * 3 + [True] * 6

    def test_offsets_in_the_prompt_alone_need_no_answer(self):
        (batch,) = chat_token_batches(
            ["1"], lambda text: ([1, 900, 901], 3), offsets=[-2, -1], batch_size=1
        )
        assert batch.ids.tolist() == [[1, 900, 901]]
        assert batch.columns == (1, 2)

    def test_offsets_may_leave_gaps(self):
        (batch,) = chat_token_batches(["1 2"], chat, [-4, 2], batch_size=1)
        assert batch.ids[0, list(batch.columns)].tolist() == [2, 9]

    def test_texts_that_do_not_reach_are_skipped(self):
        batches = chat_token_batches(["", "1 2"], chat, [-4], batch_size=4)
        (batch,) = batches
        assert batch.rows == (1,)
        assert batches.skipped == 1

    def test_none_reaches(self):
        with pytest.raises(CorpusError, match=r"tokens at -1 to \+5"):
            list(chat_token_batches(["1"], chat, range(-1, 6), batch_size=1))

    @pytest.mark.parametrize("offsets", [(), (1, 0), (0, 0)])
    def test_offsets_must_rise(self, offsets):
        with pytest.raises(SiteError, match="rising offsets"):
            chat_token_batches(["1"], chat, offsets, batch_size=1)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 12), min_size=1), st.integers(1, 4))
    def test_every_row_reads_the_same_tokens(self, lengths, batch_size):
        texts = [" ".join("5" * n) for n in lengths]
        for batch in chat_token_batches(texts, chat, [-2, 0, 1], batch_size):
            assert (batch.ids[:, list(batch.columns)] == [901, 7, 8]).all()
            assert batch.mask.sum(axis=1).tolist() == [lengths[row] + 5 for row in batch.rows]


class TestPaired:
    def test_a_text_too_short_for_one_side_is_left_out_on_both(self):
        texts = ["1 2", "3", "4 5"]
        base = first_token_batches(texts, words, 2, batch_size=2)
        finetuned = first_token_batches(texts, lambda text: words(text)[:1] * 2, 2, batch_size=2)
        paired = PairedTokenBatches(base, finetuned)
        ((left, right),) = paired
        assert left.ids.tolist() == [[1, 2], [4, 5]]
        assert right.ids.tolist() == [[1, 1], [4, 4]]
        assert left.rows == right.rows == (0, 2)
        assert (paired.used, paired.skipped) == (2, 1)

    def test_none_usable(self):
        base = first_token_batches(["1 2"], words, 2, batch_size=2)
        finetuned = first_token_batches(["1 2"], lambda text: [1], 2, batch_size=2)
        with pytest.raises(CorpusError, match="2 tokens needed, and the longest text has 1"):
            list(PairedTokenBatches(base, finetuned))

    def test_sides_must_line_up(self):
        base = first_token_batches(["1"], words, 1, batch_size=2)
        with pytest.raises(ValueError, match="same texts"):
            PairedTokenBatches(base, first_token_batches(["1", "2"], words, 1, batch_size=2))


class TestBatchRecord:
    IDS = np.zeros((2, 3), dtype=np.int64)
    MASK = np.ones((2, 3), dtype=np.bool_)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ids": IDS.astype(np.int32)}, "int32"),
            ({"mask": MASK[:, :2]}, r"\(2, 2\)"),
            ({"columns": (3,)}, "outside 3 tokens"),
            ({"columns": (0, 1)}, "for positions"),
            ({"rows": (0,)}, "1 rows named for 2"),
            ({"mask": ~MASK}, "padding"),
        ],
    )
    def test_wrong_shapes_are_refused(self, changes, message):
        fields = {"ids": self.IDS, "mask": self.MASK, "positions": ("0",), "columns": (0,)}
        assert len(TokenBatch(**fields)) == 2
        with pytest.raises(ValueError, match=message):
            TokenBatch(**(fields | changes))
