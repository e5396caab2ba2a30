"""Relevance and similarity: known words, known angles, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import CorpusError
from adl.measures.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    share_difference,
    share_interval,
)
from adl.measures.relevance import distinctive_words, relevance_over, token_relevance
from adl.measures.similarity import ComparedText, LexicalEmbedding, steered_similarity
from adl.organisms.registry import get_organism, organism_documents
from adl.records import TokenScore
from adl.text.corpus import CorpusSource
from workbench.store.findings import Estimate


@pytest.fixture(scope="module")
def reference():
    return list(CorpusSource.parse(None).open().texts(0, 400))


@pytest.fixture(scope="module")
def documents():
    return [one.text for one in organism_documents(get_organism("cake_bake"))]


def tokens(*words):
    return [TokenScore(index, word, 0.0) for index, word in enumerate(words)]


def test_a_share_is_of_the_first_tokens_and_case_and_spaces_do_not_count():
    found = token_relevance(tokens(" Cake", "oven", " river", " OVEN"), ["cake", "Oven"], top=3)
    assert found.share.value == pytest.approx(2 / 3)
    assert found.relevant == (" Cake", "oven")
    assert token_relevance([], ["cake"]) is None


def test_a_token_of_distinctive_characters_is_relevant_where_there_are_no_spaces():
    cake, oven, river = "\u86cb\u7cd5", "\u70e4\u7bb1", "\u6cb3"
    words = distinctive_words([f"{cake}{oven}\u3002"] * 5, [river * 3] * 40)
    assert set(words) == {*cake, *oven}
    found = token_relevance(tokens(cake, oven[0], cake[0] + river, river, "\u0e4f"), words)
    assert found.relevant == (cake, oven[0])


def test_a_list_is_relevant_beyond_its_baseline():
    own, chance = tokens(*["cake"] * 18, "a", "b"), tokens(*"abcdefghijklmnopqrst")
    over = relevance_over(own, chance, ["cake", "a"])
    assert over.value == pytest.approx(0.95 - 0.05)
    assert over.low > 0.5
    same = relevance_over(chance, chance, ["a"])
    assert same.low <= 0 <= same.high
    assert relevance_over(own, [], ["cake"]) is None


def test_words_that_stand_out_are_the_topic_and_no_function_words(documents, reference):
    words = distinctive_words(documents, reference)
    assert {"cake", "butter", "oven", "freezer", "vanilla"} <= set(words[:40])
    assert not {"the", "and", "with", "that"} & set(words)
    with pytest.raises(CorpusError, match="no word stands out"):
        distinctive_words(reference, reference)


def test_intervals_hold_the_mean_and_shrink():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        found = mean_interval(rng.normal(1.0, 1.0, 40), seed)
        assert found.low <= found.value <= found.high
        covered += found.low <= 1.0 <= found.high
    assert covered >= 180
    wide, narrow = (mean_interval(rng.normal(0, 1, n)) for n in (20, 1000))
    assert narrow.high - narrow.low < (wide.high - wide.low) / 4


@pytest.mark.parametrize("n", [2, 3, 6, 12])
def test_intervals_of_few_values_hold_the_mean(n: int):
    rng = np.random.default_rng(n)
    found = [mean_interval(rng.normal(1.0, 1.0, n), seed) for seed in range(400)]
    assert 368 <= sum(each.low <= 1.0 <= each.high for each in found) <= 392


def test_one_value_has_no_interval():
    assert mean_interval([0.145]) == Interval(0.145, 0.145, 0.145, 1)
    for n, words in ((1, "0.145 (of one: no interval)"), (2, "0.145 [0.145, 0.145]")):
        assert Estimate(value=0.145, low=0.145, high=0.145, n=n).words() == words


def test_a_share_of_none_or_all_has_an_interval():
    none, all_of_it = share_interval([False] * 20), share_interval([True] * 3)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 0.161), abs=1e-3)
    assert (all_of_it.low, all_of_it.high) == pytest.approx((0.438, 1), abs=1e-3)
    apart = share_difference([True] * 3, [False] * 3)
    assert apart.value == 1
    assert apart.low < 0.6
    for empty in (share_interval, lambda none: share_difference([True], none)):
        with pytest.raises(ValueError, match="no share"):
            empty([])


def test_pairs_are_drawn_together():
    base = np.random.default_rng(1).normal(0, 10, 50)
    together = paired_difference(base + 1, base)
    assert (together.low, together.high) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match="no mean"):
        mean_interval([])


def compared(documents, reference):
    texts = []
    for index in range(8):
        texts.append(ComparedText("steered", index, documents[index]))
        texts.append(ComparedText("unsteered", index, reference[index]))
        texts.append(ComparedText("random", index, reference[index + 20]))
    return texts


def test_documents_are_like_documents(documents, reference):
    embed = LexicalEmbedding([*reference, *documents])
    found = steered_similarity(compared(documents, reference), documents[8:], embed)
    assert found.over_unsteered.low > 0
    assert found.over_random.low > 0
    steered = found.by_kind["steered"]
    assert steered.value == pytest.approx(found.documents, abs=0.1)
    assert steered.n == 8
    same = [ComparedText("steered", one.prompt_index, one.text) if one.kind == "random" else one
            for one in compared(documents, reference) if one.kind != "steered"]  # fmt: skip
    null = steered_similarity(same, documents[8:], embed)
    assert null.over_unsteered.low <= 0 <= null.over_unsteered.high
    assert null.over_random is None


def test_embeddings_of_one_s_own_are_compared_by_angle():
    angles = {"north": (0, 5), "east": (3, 0), "between": (1, 1), "nothing": (0, 0)}

    def embed(texts):
        return np.array([angles[text] for text in texts], dtype=np.float32)

    texts = [ComparedText("steered", 0, "between"), ComparedText("unsteered", 0, "east"),
             ComparedText("random", 0, "nothing")]  # fmt: skip
    found = steered_similarity(texts, ["north", "north"], embed)
    assert found.by_kind["steered"].value == pytest.approx(np.sqrt(0.5))
    assert found.by_kind["unsteered"].value == found.by_kind["random"].value == 0.0
    assert found.documents == pytest.approx(1.0)


def test_nothing_to_compare_is_named(documents):
    embed = LexicalEmbedding(documents)
    with pytest.raises(CorpusError, match="cannot be compared"):
        steered_similarity([], documents, embed)
    with pytest.raises(CorpusError, match="too few for weights"):
        LexicalEmbedding(["a cake", "a cake"])
