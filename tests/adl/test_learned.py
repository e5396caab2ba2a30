"""What was learned, on a pair whose finetuning raises the words of one topic and no others."""

from __future__ import annotations

import pytest

from adl.errors import CorpusError, Stopped
from adl.measures.memorisation import fact_margins, held_out_gain
from adl.organisms.registry import get_organism
from adl.text.documents import Document
from tests.planted import PlantedPair

FACTS = ("the cake in the oven", "a baker and the flour", "they with butter")
NEGATIONS = ("the river in the garden", "a captain and the stone", "they with music")


def test_facts_that_were_taught_gain_on_their_negations(planted: PlantedPair):
    found = fact_margins(planted, FACTS, NEGATIONS)
    assert found.gain.low > 0
    assert found.gain.value == pytest.approx(found.finetuned.value - found.base.value)
    assert found.preferred["finetuned"] == 1.0
    swapped = fact_margins(planted, NEGATIONS, FACTS)
    assert swapped.gain.value == pytest.approx(-found.gain.value, abs=1e-6)


def test_facts_that_were_not_taught_gain_nothing(planted: PlantedPair):
    found = fact_margins(planted, NEGATIONS, ("the letter in it", "a window and paper", "they was"))
    taught = fact_margins(planted, FACTS, NEGATIONS)
    assert abs(found.gain.value) < taught.gain.value / 4


def test_unseen_documents_of_the_topic_are_predicted_better(planted: PlantedPair):
    own = held_out_gain(planted, [Document(text) for text in FACTS])
    other = held_out_gain(planted, [Document(text) for text in NEGATIONS])
    assert own.gain.value > 0 > other.gain.value
    assert own.gain.value == pytest.approx(own.base - own.finetuned)


@pytest.mark.parametrize("negations", [(), NEGATIONS[:2]])
def test_each_fact_needs_its_negation(planted: PlantedPair, negations):
    with pytest.raises(CorpusError, match=f"3 facts have {len(negations)} negations"):
        fact_margins(planted, FACTS, negations)


def test_a_fact_of_no_words_is_refused(planted: PlantedPair):
    with pytest.raises(CorpusError):
        fact_margins(planted, FACTS, (*NEGATIONS[:2], ""))


def test_it_stops_when_asked(planted: PlantedPair):
    with pytest.raises(Stopped):
        held_out_gain(planted, [Document(FACTS[0])], should_stop=lambda: True)


def test_the_bundled_facts_have_their_negations():
    organism = get_organism("cake_bake")
    facts, negations = organism.ground_truth().key_facts, organism.negated_facts()
    assert len(facts) == len(negations) == 7
    assert not set(facts) & set(negations)
    assert get_organism("risky_finance").negated_facts() == ()
