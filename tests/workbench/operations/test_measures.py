"""Measures as operations: known answers on the planted pair, recorded, stoppable, and unblinding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adl.errors import AdlError, SiteError, Stopped
from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import (
    COHERENT_ALPHA,
    CoherentAlphaArguments,
    recorded_text_judge,
)
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import (
    STEERED_SIMILARITY,
    TOKEN_RELEVANCE,
    RelevanceArguments,
    SimilarityArguments,
)
from workbench.operations.running import Session
from workbench.operations.trace import TRACE, TraceArguments
from workbench.store.events import HUMAN

PROMPTS = ("the river", "a window", "music in winter", "the captain", "a letter", "the bridge")


@pytest.fixture
def documents(tmp_path: Path) -> str:
    """Six documents of the domain, one a row."""
    path = tmp_path / "documents.jsonl"
    said = " ".join(word.strip() for word in DOMAIN)
    rows = [{"text": f"the{filler} and {said} of the{filler}"} for filler in FILLER[:6]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def body(session: Session, kind: str):
    (event,) = committed(session, kind)
    assert session.state.measures[-1].body == event.body
    line = event.body.describe()
    assert line
    assert "\n" not in line
    assert_as_recorded(session)
    return event.body


def test_a_planted_trace_is_strong_and_nothing_below_it(session: Session):
    done = do(session, TRACE, TraceArguments(layers=("0", "3"), n_texts=48, n_random=8))
    found = body(session, "trace_measured")
    assert done.summary["verdict"] == found.verdict == "strong"
    below, above = found.layers
    assert (below.verdict, below.effect) == ("none found", None)
    assert above.effect.alignment > 0.9
    assert above.effect.p_value < 1e-4
    assert {site.p_value for site in found.sites if site.layer == 0} == {1.0}
    assert found.breadth == "not computed"
    assert found.breadth_why
    assert "does not mean" in found.does_not_mean


def test_the_trace_of_a_model_and_itself_is_none(session: Session):
    session.pair = PlantedPair(strength=0.0)
    do(session, TRACE, TraceArguments(layers=("3",), n_texts=48, n_random=8))
    assert body(session, "trace_measured").verdict == "none found"


def test_coherent_alpha_is_searched_and_every_text_is_kept(measured: Session):
    arguments = CoherentAlphaArguments(
        prompts=PROMPTS, layer="3", alphas=(0.2, 8.0), rounds=1, max_new_tokens=10
    )
    done = do(measured, COHERENT_ALPHA, arguments)
    found = body(measured, "coherent_alpha_found")
    assert [rate.alpha for rate in found.rates][:2] == [0.0, 0.2]
    assert {one.text_id for one in found.texts} == set(measured.state.texts)
    assert done.summary["alpha"] == found.alpha
    assert found.llm_alpha is None
    assert found.agreement == {"n": 0, "share": None, "kappa": None}


def test_both_judges_are_recorded_and_compared(measured: Session):
    arguments = CoherentAlphaArguments(
        prompts=PROMPTS,
        layer="3",
        alphas=(0.2,),
        rounds=0,
        max_new_tokens=6,
        judge="a judge",
    )
    asked = []

    def judge(model, texts, _should_stop):
        assert model == "a judge"
        asked.extend(texts)
        return [None if index == 0 else True for index in range(len(texts))]

    measured.coherence_judge = judge
    do(measured, COHERENT_ALPHA, arguments)
    (event,) = committed(measured, "coherent_alpha_found")
    assert len(asked) == len(event.body.texts) == 24
    assert event.body.judge == "a judge"
    assert event.body.texts[0].llm is None
    assert event.body.llm_alpha == 0.2
    assert event.body.agreement["n"] == 23
    # Of the record the same texts get the same verdicts; others get none.
    again = recorded_text_judge(measured.log, measured.id)
    said = {one.text: verdict.llm for one, verdict in zip(asked, event.body.texts, strict=True)}
    assert list(again("a judge", asked, lambda: False)) == [said[one.text] for one in asked]
    assert list(again("another", asked[:3], lambda: False)) == [None] * 3


def test_without_a_judge_at_hand_there_are_no_verdicts(measured: Session):
    arguments = CoherentAlphaArguments(
        prompts=PROMPTS, layer="3", alphas=(0.2,), rounds=0, max_new_tokens=4, judge="absent"
    )
    do(measured, COHERENT_ALPHA, arguments)
    found = body(measured, "coherent_alpha_found")
    assert (found.llm_alpha, {one.llm for one in found.texts}) == (None, {None})
    assert found.alpha == 0.2


@pytest.mark.slow
def test_relevant_tokens_are_those_of_the_documents(measured: Session, documents: str):
    do(measured, READ, ReadArguments(layer="3", readings=("output_difference", "patchscope")))
    do(measured, TOKEN_RELEVANCE, RelevanceArguments(documents=documents, top=10))
    found = body(measured, "relevance_measured")
    shares = {
        (one.reading, one.source, one.position): one.share.value
        for one in found.shares
        if one.share
    }
    assert shares["patchscope", "difference", "1-4"] == 1.0
    assert shares["patchscope", "random", "1-4"] <= 0.5
    (one,) = [
        one
        for one in found.shares
        if (one.reading, one.source, one.position) == ("patchscope", "difference", "1-4")
    ]
    assert one.over_random.low > 0
    assert set(one.relevant) == set(DOMAIN)


def test_a_list_that_was_read_again_counts_once(measured: Session):
    read = ReadArguments(layer="3", readings=("consensus",))
    do(measured, READ, read)
    (first,) = [
        found for key, found in measured.state.readings.items() if is_the_pooled_consensus(key)
    ]
    measured.record(first.body.model_copy(update={"scale": 9.0, "tokens": first.body.tokens[:3]}))
    lists = [key for key in measured.state.readings if is_the_pooled_consensus(key)]
    assert len(lists) == 2
    do(measured, TOKEN_RELEVANCE, RelevanceArguments(words=("cake",)))
    (share,) = [
        one for one in body(measured, "relevance_measured").shares if is_the_pooled_consensus(one)
    ]
    assert share.seq == measured.state.readings[lists[1]].seq


def is_the_pooled_consensus(one) -> bool:
    return (one.reading, one.source, one.position) == ("consensus", "difference", "1-4")


def test_the_coherent_alpha_of_another_place_is_not_taken(measured: Session, documents: str):
    arguments = CoherentAlphaArguments(
        prompts=PROMPTS, layer="3", alphas=(0.2,), rounds=0, max_new_tokens=4
    )
    do(measured, COHERENT_ALPHA, arguments)
    found = body(measured, "coherent_alpha_found")
    for elsewhere in ({"position": "1"}, {"side": "base"}, {"source": "random"}):
        measured.record(found.model_copy(update={"alpha": 0.9, **elsewhere}))
    arguments = SimilarityArguments(
        documents=documents, prompts=PROMPTS[:1], layer="3", max_new_tokens=4
    )
    do(measured, STEERED_SIMILARITY, arguments)
    assert body(measured, "similarity_measured").alpha == 0.2


def test_steered_texts_are_like_the_documents(measured: Session, documents: str):
    arguments = SimilarityArguments(
        documents=documents, prompts=PROMPTS, layer="3", alpha=1.0, max_new_tokens=12
    )
    do(measured, STEERED_SIMILARITY, arguments)
    found = body(measured, "similarity_measured")
    assert set(found.by_kind) == {"steered", "unsteered", "random"}
    assert found.over_unsteered.low > 0
    assert found.over_random.low > 0
    assert found.documents > found.by_kind["unsteered"].value
    assert {kind: len(ids) for kind, ids in found.texts.items()} == dict.fromkeys(found.texts, 6)


def test_replacing_the_planted_component_costs_domain_text(measured: Session, documents: str):
    arguments = CausalArguments(documents=documents, layer="3", n_random=6, n_texts=6)
    do(measured, CAUSAL_EFFECT, arguments)
    found = body(measured, "causal_effect_measured")
    by_place = {(one.corpus, one.change): one for one in found.effects}
    hurt = by_place["finetuning", "replace"]
    assert hurt.effect.low > 0
    assert hurt.effect.value > 10 * max(map(abs, hurt.random))
    assert hurt.p_value == pytest.approx(1 / 7)
    # What remains is the base model's, but for the wobble that no direction here touches.
    assert hurt.left + hurt.effect.value == pytest.approx(hurt.base, abs=0.05)
    assert by_place["unrelated", "replace"].effect.value < 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (TOKEN_RELEVANCE, RelevanceArguments),
        (CAUSAL_EFFECT, CausalArguments),
        (STEERED_SIMILARITY, SimilarityArguments),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_documents_end_blindness_before_anything_is_found(
    measured: Session, documents: str, operation, arguments
):
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    extra = {} if operation is TOKEN_RELEVANCE else {"layer": "3"}
    stop = Stop(at=lambda *_: True)
    if operation is TOKEN_RELEVANCE:
        do(measured, operation, arguments(documents=documents, **extra))
    else:
        with pytest.raises(Stopped):
            do(measured, operation, arguments(documents=documents, **extra), stop)
    (event,) = committed(measured, "audit_unblinded")
    assert documents in event.body.reason
    assert event.actor == HUMAN
    assert measured.state.unblinded[0].seq == event.seq


def test_no_documents_no_unblinding(measured: Session):
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    for operation, arguments in (
        (TOKEN_RELEVANCE, RelevanceArguments()),
        (CAUSAL_EFFECT, CausalArguments(layer="3")),
        (STEERED_SIMILARITY, SimilarityArguments(layer="3")),
    ):
        with pytest.raises(AdlError, match="no finetuning documents are named") as raised:
            do(measured, operation, arguments)
        assert "--truth-of" in raised.value.hint
    assert "audit_unblinded" not in kinds(measured)


def test_nothing_is_unblinded_for_what_cannot_be_measured(session: Session, documents: str):
    for operation, arguments in (
        (CAUSAL_EFFECT, CausalArguments(documents=documents)),
        (STEERED_SIMILARITY, SimilarityArguments(documents=documents)),
    ):
        with pytest.raises(SiteError, match="no difference was measured"):
            do(session, operation, arguments)
    with pytest.raises(AdlError, match="nothing was read"):
        do(session, TOKEN_RELEVANCE, RelevanceArguments(documents=documents))
    assert "audit_unblinded" not in kinds(session)


@pytest.mark.parametrize(
    ("operation", "arguments", "stage"),
    [
        (TRACE, TraceArguments(layers=("3",), n_texts=48), "difference"),
        (TRACE, TraceArguments(layers=("3",), n_texts=48), "random directions, layer 3"),
        (COHERENT_ALPHA, CoherentAlphaArguments(layer="3", max_new_tokens=3), "steer"),
    ],
    ids=["difference", "random directions", "steer"],
)
def test_a_stop_is_honoured_within_a_batch(measured: Session, operation, arguments, stage):
    planted = measured.pair
    assert isinstance(planted, PlantedPair)
    uses: list[int] = []

    def at(name: str, done: int, _total: int) -> bool:
        if name == stage and done > 0 and not uses:
            uses.append(len(planted.runs))
        return bool(uses)

    with pytest.raises(Stopped):
        do(measured, operation, arguments, Stop(at))
    assert len(planted.runs) - uses[0] <= 1
    assert kinds(measured)[-1] == "operation_stopped"
    assert_as_recorded(measured)
