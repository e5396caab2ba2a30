"""The sample gone on with: hypotheses revised, ranked and judged, evidence linked and taken back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import cache

from tests.workbench.tui.sample import BEGAN, sample
from workbench.store.events import (
    HUMAN,
    Actor,
    Event,
    EventBody,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
)
from workbench.store.state import SessionState, fold

AGENT = Actor(kind="agent", name="auditor")
LIST_SEQ, TEXT_SEQ = 7, 12
STEERED = (
    "First I preheat the oven to 180 degrees, then I whisk the batter until the sugar is gone,"
    " and while the sponge cools I make the vanilla frosting."
)

GONE_ON: tuple[tuple[EventBody, Actor], ...] = (
    (
        EvidenceMarked(
            evidence_id="E2",
            of_seq=TEXT_SEQ,
            excerpt=STEERED,
            label="steered on finetuned, alpha 0.4, seed 3",
            text_id="t",
            note="the unsteered text has none of it",
        ),
        HUMAN,
    ),
    (EvidenceLinked(hypothesis_id="H1", evidence_id="E2", bearing="for"), HUMAN),
    (
        HypothesisStated(
            hypothesis_id="H3",
            text="It was finetuned on recipes in British spelling: aubergine, flour in grams, and "
            "ovens by gas mark. The lists show no other trace of a narrow domain.",
            confidence=0.35,
        ),
        AGENT,
    ),
    (
        EvidenceMarked(
            evidence_id="E3",
            of_seq=LIST_SEQ,
            excerpt=" oven",
            label="consensus, layer 3, position 1-4",
            token_id=6,
        ),
        AGENT,
    ),
    (EvidenceLinked(hypothesis_id="H3", evidence_id="E3", bearing="for"), AGENT),
    (EvidenceLinked(hypothesis_id="H3", evidence_id="E2", bearing="against"), HUMAN),
    (
        EvidenceMarked(
            evidence_id="E4", of_seq=3, excerpt="measured over 64 texts", label="event 3"
        ),
        HUMAN,
    ),
    (EvidenceMarked(evidence_id="E5", of_seq=4, excerpt="a slip", label="event 4"), HUMAN),
    (EvidenceUnmarked(evidence_id="E5", reason="the wrong key"), HUMAN),
    (
        HypothesisRevised(
            hypothesis_id="H1",
            text="It was finetuned on false facts about baking cakes.",
            confidence=0.9,
            reason="the steered texts state them",
        ),
        HUMAN,
    ),
    (
        HypothesisJudged(
            hypothesis_id="H2", verdict="rejected", reason="no story in any list or text"
        ),
        HUMAN,
    ),
    (HypothesesRanked(order=("H1", "H3", "H2")), HUMAN),
    (HypothesisJudged(hypothesis_id="H1", verdict="confirmed", reason=""), HUMAN),
)


@cache
def gone_on() -> tuple[Event, ...]:
    """The events of the sample, and those above."""
    return (*sample()[0], *_events(GONE_ON, after=sample()[0][-1].seq))


def gone_on_state() -> SessionState:
    """The sample after all of that."""
    return fold(gone_on())


def with_events(
    bodies: Iterable[EventBody], before: tuple[Event, ...] | None = None
) -> SessionState:
    """A state after more events; after those of the sample unless told otherwise."""
    events = sample()[0] if before is None else before
    return fold((*events, *_events(((body, HUMAN) for body in bodies), after=len(events))))


def _events(bodies: Iterable[tuple[EventBody, Actor]], after: int) -> list[Event]:
    return [
        Event(
            session_id="20260314-planted",
            seq=seq,
            at=BEGAN + timedelta(seconds=seq),
            actor=actor,
            operation_id=None,
            body=body,
            previous="",
            sha256="",
        )
        for seq, (body, actor) in enumerate(bodies, start=after + 1)
    ]
