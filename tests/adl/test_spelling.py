"""Spellings rise without their word; a word that rises in both spellings stays."""

from __future__ import annotations

import numpy as np
import pytest

from adl.readings.ranking import Vocabulary
from adl.readings.spelling import other_spellings, spellings


@pytest.mark.parametrize(
    ("british", "american"),
    [
        *(("colour", "color"), ("neighbours", "neighbors"), ("centre", "center")),
        *(("fibres", "fibers"), ("organise", "organize"), ("realisation", "realization")),
        *(("analysed", "analyzed"), ("travelling", "traveling"), ("catalogue", "catalog")),
        *(("defence", "defense"), ("programmes", "programs"), ("aluminium", "aluminum")),
        *(("learnt", "learned"), ("sulphur", "sulfur"), ("jewellery", "jewelry")),
        *(("mould", "mold"), ("grey", "gray"), ("towards", "toward"), ("anaemia", "anemia")),
    ],
)
def test_the_other_spelling(british, american):
    assert american in other_spellings(british)


@pytest.mark.parametrize(
    "word", ["pour", "four", "hour", "store", "wise", "rise", "filled", "calling", "shoes"]
)
def test_words_that_only_look_like_it(word):
    assert not other_spellings(word)


def found(**words: tuple[float, float]) -> dict[str, str]:
    """Spellings among ``words``, each (its rise, its probability on base)."""
    vocabulary = Vocabulary.of([f" {word}" for word in words])
    rises, before = (np.array(column) for column in zip(*words.values(), strict=True))
    return spellings(vocabulary, rises, before, np.ones(len(words), dtype=bool))


def test_a_spelling_rises_alone():
    assert set(found(centre=(3.0, 1e-6), center=(0.2, 1e-4))) == {"centre"}
    assert "center" in found(centre=(3.0, 1e-6), center=(0.2, 1e-4))["centre"]


def test_a_topic_rises_in_both_spellings():
    assert not found(flavour=(3.5, 1e-6), flavor=(1.8, 1e-4))


def test_the_usual_spelling_is_none():
    """On a base that is used to it, a spelling says nothing of the documents'."""
    assert not found(centre=(3.0, 1e-3), center=(0.2, 1e-6))


def test_it_works_the_other_way_round():
    assert set(found(centre=(0.1, 1e-3), center=(2.0, 1e-5))) == {"center"}


def test_a_word_that_falls_or_stands_alone_is_none():
    assert not found(centre=(-1.0, 1e-6), center=(-2.0, 1e-4))
    assert not found(centre=(3.0, 1e-6), stone=(0.0, 1e-4))
