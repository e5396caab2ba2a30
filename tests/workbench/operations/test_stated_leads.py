"""Leads of findings: what a scan, its words, phrases and topics may be stated as, and then tested."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adl.text.experiment_prompts import subject_words
from tests.adl.test_triggers import Triggered
from tests.planted import DOMAIN, PlantedPair
from tests.workbench.operations.conftest import assert_as_recorded, committed, do, kinds
from tests.workbench.operations.test_scans import FEW, SMALL
from workbench.operations.answer_rules import quoted_words
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    AddHypothesisArguments,
    HypothesisError,
    PassageArguments,
)
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.running import Session
from workbench.operations.scanning import SCAN
from workbench.operations.testing import TEST
from workbench.operations.topics import TOPICS, TopicsArguments
from workbench.operations.triggers import TRIGGERS
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.findings import Finding, Sample
from workbench.store.measures.phrases import FoundPhrase, PhrasesFound
from workbench.store.measures.topics import TopicsFound
from workbench.store.measures.triggers import ScannedWord, TriggersScanned

LEAD = PassageArguments(seq=1, excerpt="cake, sugar", label="cluster 1 of a scan")


def scanned(session: Session) -> None:
    session.pair = PlantedPair(bos=True)
    do(session, SCAN, SMALL)


def words_scanned(session: Session) -> None:
    session.pair = Triggered()
    do(session, TRIGGERS, FEW.model_copy(update={"words": ("gold",)}))


def phrases_found(session: Session) -> None:
    session.pair = PlantedPair(bos=True)
    do(session, UNPROMPTED, UnpromptedArguments(n_samples=30, n_null=30, temperature=1.0))
    do(session, PHRASES, PhrasesArguments(longest=2))


def topics_found(session: Session) -> None:
    do(session, TOPICS, TopicsArguments(topics=2, n_passages=40, n_texts=64))


def found_in(session: Session) -> Finding:
    return session.state.measures[-1].body


@pytest.mark.slow
@pytest.mark.parametrize("make", [scanned, words_scanned, phrases_found, topics_found])
def test_a_lead_of_any_finding_is_stated_with_its_evidence(
    session: Session, make: Callable[[Session], None]
):
    make(session)
    found = session.state.measures[-1]
    lead = found.body.leads()[0]
    mark = PassageArguments(seq=found.seq, excerpt=lead.excerpt, label=lead.label)
    do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text=lead.claim, lead=mark))
    (hypothesis,) = session.state.hypotheses.values()
    assert hypothesis.text == lead.claim
    assert dict(hypothesis.evidence) == {"E1": "for"}
    evidence = session.state.evidence["E1"].body
    assert (evidence.of_seq, evidence.excerpt) == (found.seq, lead.excerpt)
    assert any(word.strip() in f"{lead.claim} {lead.excerpt}" for word in (*DOMAIN, " gold"))
    assert_as_recorded(session)


@pytest.mark.slow
def test_what_a_cluster_is_stated_as_can_be_tested_at_once(session: Session):
    scanned(session)
    found = found_in(session)
    lead = found.leads()[0]
    assert lead.claim == found.candidates()[0]
    shown = {figure.text_id for figure in lead.figures if isinstance(figure, Sample)}
    # All its answers, where the finding itself shows two.
    assert shown == {
        text_id
        for place in found.clusters[0].prompts
        for text_id in found.prompts[place].texts.values()
    }
    prompts = ("the river", "the stone")
    do(session, TEST, ExperimentArguments(hypothesis=lead.claim, prompts=prompts, n_samples=1))
    judge = session.state.experiments["X1"].sealed.body.judge
    assert judge.phrases == quoted_words(lead.claim) == found.clusters[0].phrases[:5]


def word(raised: str) -> TriggersScanned:
    scanned = ScannedWord(
        word="candle", rank=1, z=6.0, finetuned=(1.0,), base=(0.1,), raised=raised
    )
    return TriggersScanned(
        words=(scanned,), frames=("Write {}",), n_words=40, median=0.0, deviation=1.0
    )


def test_a_trigger_is_asked_about_and_what_it_brings_is_looked_for():
    (lead,) = word(" Ahoy").leads()
    assert quoted_words(lead.claim) == ("Ahoy",)
    assert subject_words(lead.claim.replace("Ahoy", "")) == ["candle"]
    for nothing in ("", "\n\n", "“", " ,"):
        (lead,) = word(nothing).leads()
        assert quoted_words(lead.claim) == ()


def test_what_is_no_better_than_the_null_is_no_lead(session: Session):
    def phrase(words: str, z: float) -> FoundPhrase:
        return FoundPhrase(words=words, z=z, log_odds=1.0, finetuned=4, base=0, text_ids=())

    found = PhrasesFound(
        phrases=(phrase("gold", 3.0), phrase("the", 1.0)), null=(phrase("of", 2.0),), n_texts={}
    )
    assert [lead.excerpt for lead in found.leads()] == ["gold"]
    topics_found(session)
    topics = found_in(session)
    assert isinstance(topics, TopicsFound)
    noise = topics.model_copy(
        update={"topics": tuple(t.model_copy(update={"is_noise": True}) for t in topics.topics)}
    )
    assert noise.leads() == []


def test_a_lead_that_is_not_there_states_nothing(session: Session):
    wrong = LEAD.model_copy(update={"seq": 999})
    with pytest.raises(HypothesisError, match="no event 999"):
        do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="cakes", lead=wrong))
    assert not session.state.hypotheses
    assert not session.state.evidence
    assert "hypothesis_stated" not in kinds(session)
    assert committed(session, "operation_failed")
