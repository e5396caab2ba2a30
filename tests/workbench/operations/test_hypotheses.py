"""Marks and hypotheses are numbered once, refused in words, and kept with their history."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from tests.processes import HANGS
from tests.workbench.operations.conftest import assert_as_recorded, committed, do, kinds
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
    AddHypothesisArguments,
    HypothesisError,
    LinkArguments,
    MarkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    UnmarkArguments,
)
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN, Actor
from workbench.store.log import SessionLog

AGENT = Actor(kind="agent", name="a model")


@pytest.fixture
def three(session: Session) -> Session:
    """The session with hypotheses H1, H2 and H3 and the mark E1."""
    for text in ("cakes", "stories", "gold"):
        do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text=text, confidence=0.5))
    do(session, MARK, MarkArguments(seq=1, excerpt=" cake", label="a list", token_id=5))
    return session


def test_a_hypothesis_is_stated_with_its_author(session: Session):
    outcome = run(
        session,
        ADD_HYPOTHESIS,
        AddHypothesisArguments(text="  cakes\n", confidence=0.7),
        actor=AGENT,
    )
    assert outcome.summary == {"hypothesis": "H1"}
    (one,) = session.state.ranked()
    assert (one.id, one.text, one.confidence) == ("H1", "cakes", 0.7)
    assert (one.actor, one.verdict, dict(one.evidence)) == (AGENT, "open", {})
    assert [recorded.body.kind for recorded in one.history] == ["hypothesis_stated"]
    assert_as_recorded(session)


def test_a_revision_keeps_what_it_does_not_name(three: Session):
    do(three, REVISE, ReviseArguments(hypothesis="H1", confidence=0.9, reason="steered texts"))
    do(three, REVISE, ReviseArguments(hypothesis="H1", text="false facts about cakes"))
    one = three.state.hypotheses["H1"]
    assert (one.text, one.confidence) == ("false facts about cakes", 0.9)
    bodies = [recorded.body for recorded in one.history]
    assert [(body.text, body.confidence) for body in bodies] == [
        ("cakes", 0.5),
        ("cakes", 0.9),
        ("false facts about cakes", 0.9),
    ]
    assert bodies[1].reason == "steered texts"


def test_a_ranking_may_name_some_and_the_others_follow(three: Session):
    assert do(three, RANK, RankArguments(order=("H3",))).summary == {"order": ["H3", "H1", "H2"]}
    assert [one.id for one in three.state.ranked()] == ["H3", "H1", "H2"]
    do(three, RANK, RankArguments(order=("H2", "H2", "H1")))
    assert three.state.ranking == ("H2", "H1", "H3")
    do(three, ADD_HYPOTHESIS, AddHypothesisArguments(text="new"))
    assert [one.id for one in three.state.ranked()] == ["H2", "H1", "H3", "H4"]


def test_a_verdict_can_be_taken_back_and_stays_in_the_history(three: Session):
    for verdict, reason in (("rejected", "no trace"), ("open", ""), ("confirmed", "known")):
        do(three, SET_VERDICT, SetVerdictArguments(hypothesis="H2", verdict=verdict, reason=reason))
        assert three.state.hypotheses["H2"].verdict == verdict
    said = [recorded.body for recorded in three.state.hypotheses["H2"].history[1:]]
    assert [body.verdict for body in said] == ["rejected", "open", "confirmed"]
    assert said[0].reason == "no trace"


@pytest.mark.parametrize(
    ("verdict", "actor"), [("confirmed", HUMAN), ("rejected", HUMAN), ("rejected", AGENT)]
)
def test_other_words_have_no_verdict(three: Session, verdict: str, actor: Actor):
    given = SetVerdictArguments(hypothesis="H1", verdict=verdict, reason="known")
    run(three, SET_VERDICT, given, actor=actor)
    for unchanged in ({"confidence": 0.9}, {"text": " cakes "}, {"reason": "sure"}):
        do(three, REVISE, ReviseArguments(hypothesis="H1", **unchanged))
        assert three.state.hypotheses["H1"].verdict == verdict
    run(three, REVISE, ReviseArguments(hypothesis="H1", text="gold"), actor=AGENT)
    one = three.state.hypotheses["H1"]
    assert (one.text, one.status) == ("gold", "open")
    assert one.history[-1].body.reason == "revised since its verdict"
    assert_as_recorded(three)
    # One that is open stays so.
    do(three, REVISE, ReviseArguments(hypothesis="H1", text="stone"))
    assert one.history[-1].body.kind == "hypothesis_judged"
    assert three.state.hypotheses["H1"].history[-1].body.kind == "hypothesis_revised"


def test_evidence_may_be_linked_to_several_and_unlinked(three: Session):
    do(three, LINK, LinkArguments(hypothesis="H1", evidence="E1"))
    do(three, LINK, LinkArguments(hypothesis="H2", evidence="E1", bearing="against"))
    assert dict(three.state.hypotheses["H1"].evidence) == {"E1": "for"}
    assert dict(three.state.hypotheses["H2"].evidence) == {"E1": "against"}
    do(three, LINK, LinkArguments(hypothesis="H1", evidence="E1", bearing="against"))
    do(three, LINK, LinkArguments(hypothesis="H2", evidence="E1", bearing="none"))
    assert dict(three.state.hypotheses["H1"].evidence) == {"E1": "against"}
    assert dict(three.state.hypotheses["H2"].evidence) == {}
    assert_as_recorded(three)


def test_marking_may_link_at_once(three: Session):
    outcome = do(
        three,
        MARK,
        MarkArguments(seq=2, excerpt="an oven", hypothesis="H2", bearing="against", note="odd"),
    )
    assert outcome.summary == {"evidence": "E2"}
    assert three.state.evidence["E2"].body.note == "odd"
    assert dict(three.state.hypotheses["H2"].evidence) == {"E2": "against"}


def test_what_is_marked_is_kept_as_it_is(session: Session):
    excerpt = " \x1b[31m cake\x00\u202e "
    do(session, MARK, MarkArguments(seq=1, excerpt=excerpt, token_id=3, text_id="t"))
    body = session.state.evidence["E1"].body
    assert (body.excerpt, body.of_seq, body.token_id, body.text_id) == (excerpt, 1, 3, "t")


def test_a_mark_that_is_taken_back_leaves_the_links_and_its_number(three: Session):
    do(three, LINK, LinkArguments(hypothesis="H1", evidence="E1"))
    do(three, UNMARK, UnmarkArguments(evidence="E1", reason="the wrong token"))
    assert dict(three.state.evidence) == {}
    one = three.state.hypotheses["H1"]
    assert dict(one.evidence) == {}
    assert one.history[-1].body.kind == "evidence_linked"
    (event,) = committed(three, "evidence_unmarked")
    assert event.body.reason == "the wrong token"
    # A number means one mark in the whole log.
    assert do(three, MARK, MarkArguments(seq=1, excerpt="x")).summary == {"evidence": "E2"}
    assert_as_recorded(three)


@pytest.mark.parametrize(
    ("operation", "arguments", "said", "hint"),
    [
        (REVISE, ReviseArguments(hypothesis="H9", text="x"), "no hypothesis 'H9'", "H1, H2, H3"),
        (
            SET_VERDICT,
            SetVerdictArguments(hypothesis="h1", verdict="open"),
            "no hypothesis 'h1'",
            "H1",
        ),
        (RANK, RankArguments(order=("H1", "H4")), "no hypothesis 'H4'", "H1, H2, H3"),
        (LINK, LinkArguments(hypothesis="H1", evidence="E7"), "no evidence 'E7'", "E1"),
        (LINK, LinkArguments(hypothesis="H7", evidence="E1"), "no hypothesis 'H7'", "H1"),
        (UNMARK, UnmarkArguments(evidence="E2"), "no evidence 'E2'", "E1"),
        (MARK, MarkArguments(seq=10_000, excerpt="x"), "no event 10000", "last one"),
        (MARK, MarkArguments(seq=1, excerpt="x", hypothesis="H5"), "no hypothesis 'H5'", "H1"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(three, operation, arguments, said, hint):
    before = three.state
    with pytest.raises(HypothesisError, match=said) as raised:
        do(three, operation, arguments)
    assert hint in raised.value.hint
    assert kinds(three)[-2:] == ["operation_started", "operation_failed"]
    assert three.state.hypotheses is before.hypotheses
    assert three.state.evidence is before.evidence
    assert three.state.ranking is before.ranking


def test_in_an_empty_session_there_is_none_yet(session: Session):
    for operation, arguments in (
        (REVISE, ReviseArguments(hypothesis="H1")),
        (UNMARK, UnmarkArguments(evidence="E1")),
    ):
        with pytest.raises(HypothesisError) as raised:
            do(session, operation, arguments)
        assert "none yet" in raised.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: AddHypothesisArguments(text=""),
        lambda: AddHypothesisArguments(text=" \n\t"),
        lambda: AddHypothesisArguments(text="x", confidence=1.01),
        lambda: AddHypothesisArguments(text="x", confidence=-0.1),
        lambda: AddHypothesisArguments(text="x", confidence=float("nan")),
        lambda: ReviseArguments(hypothesis="H1", text="  "),
        lambda: ReviseArguments(hypothesis="H1", confidence=70),
        lambda: RankArguments(order=()),
        lambda: SetVerdictArguments(hypothesis="H1", verdict="maybe"),
        lambda: LinkArguments(hypothesis="H1", evidence="E1", bearing="sideways"),
        lambda: MarkArguments(seq=0, excerpt="x"),
        lambda: MarkArguments(seq=1, excerpt=""),
        lambda: MarkArguments(seq=1, excerpt="x", bearing="none"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make: Callable[[], object]):
    with pytest.raises(ValidationError):
        make()


def test_threads_never_give_one_number_twice(session: Session):
    def add() -> None:
        for _ in range(5):
            do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="x"))
            do(session, MARK, MarkArguments(seq=1, excerpt="y", hypothesis="H1"))

    do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="first"))
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS)
    assert sorted(session.state.hypotheses) == sorted(f"H{n}" for n in range(1, 22))
    assert sorted(session.state.evidence) == sorted(f"E{n}" for n in range(1, 21))
    assert_as_recorded(session)


def test_what_another_process_stated_has_its_number(session, path, cache):
    with SessionLog.open(path) as log:
        do(Session(log, session.id, cache), ADD_HYPOTHESIS, AddHypothesisArguments(text="theirs"))
    assert do(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="ours")).summary == {
        "hypothesis": "H2"
    }
    assert [one.text for one in session.state.ranked()] == ["theirs", "ours"]
