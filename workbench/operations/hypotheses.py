"""Hypotheses of what the finetuning was for, and the evidence for and against them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints

from adl.errors import AdlError
from adl.measures.experiments import ALPHA
from workbench.operations.experiment_results import holm_now
from workbench.operations.running import AgentUse, Arguments, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    Confidence,
    EvidenceId,
    EvidenceNote,
    HypothesisId,
    Reason,
    ReasonToRevise,
)
from workbench.store.events import (
    Actor,
    Bearing,
    EventBody,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    Verdict,
)
from workbench.store.state import HypothesisState, SessionState

A = TypeVar("A", bound=Arguments)
Decided = tuple[str, list[EventBody]]
"""The id of what is decided, and the events that record it."""

Wording = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class HypothesisError(AdlError):
    """The session has no such hypothesis, evidence or event."""


class PassageArguments(Arguments):
    """A token, text or event that counts as evidence."""

    seq: int = Field(ge=1, description="Number of the event in the session's log.")
    excerpt: str = Field(
        min_length=1, description="The token, or the part of the text, word for word."
    )
    label: str = Field("", description="Place in words, such as a reading and a rank.")
    token_id: int | None = Field(None, description="Id of the token, if it is one.")
    text_id: str | None = Field(None, description="Id of the generated text, if it is of one.")
    note: EvidenceNote = ""


class MarkArguments(PassageArguments):
    """A token, text or event that counts as evidence, and a hypothesis it bears on."""

    hypothesis: str | None = Field(None, description="Id of a hypothesis it bears on, such as H1.")
    bearing: Literal["for", "against"] = Field("for", description="For or against the hypothesis.")


class UnmarkArguments(Arguments):
    """The mark to take back."""

    evidence: EvidenceId
    reason: Reason = ""


class AddHypothesisArguments(Arguments):
    """A new hypothesis."""

    text: Wording = Field(description="What the model was finetuned to do.")
    confidence: Confidence = None
    lead: PassageArguments | None = Field(
        None, description="What it comes from: marked as evidence for it."
    )


class ReviseArguments(Arguments):
    """A new wording or probability of a hypothesis."""

    hypothesis: HypothesisId
    text: Wording | None = Field(None, description="New wording; none keeps the old.")
    confidence: float | None = Field(
        None, ge=0, le=1, description="New probability; none keeps the old."
    )
    reason: ReasonToRevise = ""


class RankArguments(Arguments):
    """The order of the hypotheses."""

    order: tuple[str, ...] = Field(
        min_length=1, description="Ids, likeliest first; those left out follow as they were."
    )


class SetVerdictArguments(Arguments):
    """A verdict on a hypothesis."""

    hypothesis: HypothesisId
    verdict: Verdict = Field(description="confirmed, rejected, or open to take a verdict back.")
    reason: Reason = ""


class LinkArguments(Arguments):
    """The link of evidence to a hypothesis."""

    hypothesis: HypothesisId
    evidence: EvidenceId
    bearing: Bearing = Field("for", description="for, against, or none to unlink.")


def mark(context: Context, arguments: MarkArguments) -> Summary:
    """Mark a token, a text or an event as evidence, and link it to a hypothesis if one is given."""

    def decide(state: SessionState) -> Decided:
        if arguments.hypothesis is not None:
            _hypothesis(state, arguments.hypothesis)
        return _marks(context, state, arguments, arguments.hypothesis, arguments.bearing)

    return {"evidence": context.record_decided(decide)}


def unmark(context: Context, arguments: UnmarkArguments) -> Summary:
    """Take a mark back. The log keeps both."""

    def decide(state: SessionState) -> Decided:
        _check_evidence(state, arguments.evidence)
        unmarked = EvidenceUnmarked(evidence_id=arguments.evidence, reason=arguments.reason)
        return arguments.evidence, [unmarked]

    return {"evidence": context.record_decided(decide)}


def add_hypothesis(context: Context, arguments: AddHypothesisArguments) -> Summary:
    """Add a hypothesis of what the model was finetuned to do."""

    def decide(state: SessionState) -> Decided:
        hypothesis_id = next_hypothesis(state)
        stated = HypothesisStated(
            hypothesis_id=hypothesis_id, text=arguments.text, confidence=arguments.confidence
        )
        bodies: list[EventBody] = [stated]
        if arguments.lead is not None:
            bodies += _marks(context, state, arguments.lead, hypothesis_id)[1]
        return hypothesis_id, bodies

    return {"hypothesis": context.record_decided(decide)}


def revise(context: Context, arguments: ReviseArguments) -> Summary:
    """Change the wording or the confidence of a hypothesis; its history is kept.

    Other words are open again: no verdict was given on them.
    """

    def decide(state: SessionState) -> Decided:
        before = _hypothesis(state, arguments.hypothesis)
        confidence = arguments.confidence
        text = before.text if arguments.text is None else arguments.text
        bodies: list[EventBody] = [
            HypothesisRevised(
                hypothesis_id=before.id,
                text=text,
                confidence=before.confidence if confidence is None else confidence,
                reason=arguments.reason,
            )
        ]
        if text != before.text and before.verdict != "open":
            # The test, or the verdict of a person or an agent, was of other words.
            since = f"test {before.rests_on}" if before.rests_on else "its verdict"
            bodies.append(
                HypothesisJudged(
                    hypothesis_id=before.id,
                    verdict="open",
                    reason=f"revised since {since}",
                    experiment=before.rests_on,
                )
            )
        return before.id, bodies

    return {"hypothesis": context.record_decided(decide)}


def rank(context: Context, arguments: RankArguments) -> Summary:
    """Order the hypotheses by how likely they are."""

    def decide(state: SessionState) -> tuple[list[str], list[EventBody]]:
        first = dict.fromkeys(arguments.order)
        for hypothesis_id in first:
            _hypothesis(state, hypothesis_id)
        rest = [found.id for found in state.ranked() if found.id not in first]
        order = [*first, *rest]
        return order, [HypothesesRanked(order=tuple(order))]

    return {"order": context.record_decided(decide)}


def set_verdict(context: Context, arguments: SetVerdictArguments) -> Summary:
    """Confirm or reject a hypothesis, or open it again. Confirmed takes a passed test."""

    def decide(state: SessionState) -> Decided:
        hypothesis = _hypothesis(state, arguments.hypothesis)
        passed = passed_test(state, hypothesis)
        against = arguments.verdict == ("rejected" if passed else "confirmed")
        if against:
            _check_persons_verdict(context.actor, hypothesis.id, passed, arguments.reason)
        judged = HypothesisJudged(
            hypothesis_id=hypothesis.id,
            verdict=arguments.verdict,
            reason=arguments.reason,
            experiment=passed if arguments.verdict != "open" else "",
            overruled=against,
        )
        return hypothesis.id, [judged]

    return {"hypothesis": context.record_decided(decide), "verdict": arguments.verdict}


def passed_test(state: SessionState, hypothesis: HypothesisState) -> str:
    """Return the newest experiment that confirmed the hypothesis as it reads; empty if none did.

    The newest test of each kind counts: a later one that did not pass takes it back, and so do
    tests of other words by which it no longer passes.
    """
    newest: dict[str, tuple[str, str]] = {}
    for found in state.concluded():
        if found.result is not None and found.wording == (hypothesis.id, hypothesis.text):
            newest[found.result.body.test] = (found.result.body.verdict, found.id)
    passed = [
        experiment
        for verdict, experiment in newest.values()
        if verdict == "confirmed" and holm_now(state, experiment) <= ALPHA
    ]
    return passed[-1] if passed else ""


def _check_persons_verdict(actor: Actor, hypothesis: str, passed: str, reason: str) -> None:
    """Refuse a verdict against the tests from an agent, and from a person without a reason."""
    stands = (
        f"{hypothesis} passed test {passed}"
        if passed
        else f"{hypothesis} has not passed a test, and only a test confirms"
    )
    if actor.kind == "agent":
        hint = "Revise it." if passed else f"Call test with {hypothesis}, or leave it open."
        raise HypothesisError(stands, hint)
    if not reason.strip():
        test = "Leave it" if passed else f"Test it (`test {hypothesis}`)"
        against = f"Against test {passed}" if passed else "Without a passed test"
        raise HypothesisError(
            stands,
            f"{test}, or give a reason. {against} your verdict stands, and is shown as yours.",
        )


def link(context: Context, arguments: LinkArguments) -> Summary:
    """Link marked evidence to a hypothesis that it speaks for or against."""

    def decide(state: SessionState) -> Decided:
        _hypothesis(state, arguments.hypothesis)
        _check_evidence(state, arguments.evidence)
        linked = EvidenceLinked(
            hypothesis_id=arguments.hypothesis,
            evidence_id=arguments.evidence,
            bearing=arguments.bearing,
        )
        return arguments.hypothesis, [linked]

    context.record_decided(decide)
    return {}


def _of_pane(
    name: str,
    title: str,
    arguments: type[A],
    work: Callable[[Context, A], Summary],
    *,
    for_agents: bool = True,
) -> Operation[A]:
    """An operation of the panes, which needs no models; any agent may use it, or none."""
    agent: AgentUse[A] | None = AgentUse(black_box=True) if for_agents else None
    return Operation(name, title, arguments, work, place="pane", agent=agent, uses_models=False)


ADD_HYPOTHESIS = _of_pane(
    "add_hypothesis", "Add a hypothesis", AddHypothesisArguments, add_hypothesis
)
REVISE = _of_pane("revise_hypothesis", "Revise a hypothesis", ReviseArguments, revise)
RANK = _of_pane("rank_hypotheses", "Rank the hypotheses", RankArguments, rank)
SET_VERDICT = _of_pane(
    "judge_hypothesis", "Confirm or reject a hypothesis", SetVerdictArguments, set_verdict
)
MARK = _of_pane("mark_evidence", "Mark evidence", MarkArguments, mark)
LINK = _of_pane("link_evidence", "Link evidence", LinkArguments, link)
UNMARK = _of_pane("unmark_evidence", "Take a mark back", UnmarkArguments, unmark, for_agents=False)


def next_hypothesis(state: SessionState) -> str:
    """Return the id of the next hypothesis."""
    return _next("H", state.hypotheses)


def _marks(
    context: Context,
    state: SessionState,
    arguments: PassageArguments,
    hypothesis: str | None,
    bearing: Bearing = "for",
) -> Decided:
    """The id of new evidence, and the events that mark it and link it to the hypothesis."""
    if arguments.seq > state.seq:
        raise HypothesisError(
            f"the session has no event {arguments.seq}", f"Its last one is {state.seq}."
        )
    evidence_id = _next("E", _ever_marked(context))
    fields = arguments.model_dump(exclude={"seq", "hypothesis", "bearing"})
    bodies: list[EventBody] = [
        EvidenceMarked(evidence_id=evidence_id, of_seq=arguments.seq, **fields)
    ]
    if hypothesis is not None:
        linked = EvidenceLinked(hypothesis_id=hypothesis, evidence_id=evidence_id, bearing=bearing)
        bodies.append(linked)
    return evidence_id, bodies


def _next(letter: str, taken: Iterable[str]) -> str:
    numbers = [int(found[1]) for name in taken if (found := re.fullmatch(rf"{letter}(\d+)", name))]
    return f"{letter}{max(numbers, default=0) + 1}"


def _ever_marked(context: Context) -> list[str]:
    # Also marks that were taken back: an id must mean one thing in the whole log.
    events = context.session.log.events(context.session.id, kinds=["evidence_marked"])
    return [event.body.evidence_id for event in events if isinstance(event.body, EvidenceMarked)]


def _hypothesis(state: SessionState, hypothesis_id: str) -> HypothesisState:
    found = state.hypotheses.get(hypothesis_id)
    if found is None:
        there = ", ".join(state.hypotheses) or "none yet"
        raise HypothesisError(f"there is no hypothesis {hypothesis_id!r}", f"There are: {there}.")
    return found


def _check_evidence(state: SessionState, evidence_id: str) -> None:
    if evidence_id not in state.evidence:
        there = ", ".join(state.evidence) or "none yet"
        raise HypothesisError(f"there is no evidence {evidence_id!r}", f"There is: {there}.")
