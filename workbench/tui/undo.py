"""Undo of a person's last decision by the opposite operation; the log keeps both.

Nothing is erased. Undoing again takes back the decision before it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.operations.hypotheses import (
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
    LinkArguments,
    MarkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    UnmarkArguments,
)
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.running import Arguments, Operation
from workbench.store.events import (
    Event,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
)

#: Events from which a decision and what was so before it are read.
KINDS = (
    "evidence_marked",
    "evidence_unmarked",
    "evidence_linked",
    "hypothesis_stated",
    "hypothesis_revised",
    "hypothesis_judged",
    "hypotheses_ranked",
    "note_written",
)
_REASON = "undone"


@dataclass(frozen=True)
class Undoing:
    """An operation that undoes event ``seq``, with a description."""

    seq: int
    operation: Operation[Any]
    arguments: Arguments
    words: str


def undoing(
    events: Sequence[Event],
    done: Iterable[int],
    by_undo: Iterable[str],
    marked: Container[str],
) -> Undoing | None:
    """Return the undo of the person's last decision; None if there is none left.

    ``events`` are those of `KINDS`, in order. ``done`` are events that were taken back already, and
    ``by_undo`` the operations that took them back. ``marked`` has the evidence that there is now.
    """
    done, by_undo = set(done), set(by_undo)
    # A verdict that a revision took back is given again once the words are those of before.
    unrevised = {
        event.operation_id
        for event in events
        if isinstance(event.body, HypothesisRevised) and event.seq not in done
    } - {None}
    for at in range(len(events) - 1, -1, -1):
        event = events[at]
        is_own = event.actor.kind == "human" and event.operation_id not in by_undo
        if not is_own or event.seq in done or not _can_be_changed(event, marked):
            continue
        if isinstance(event.body, HypothesisJudged) and event.operation_id in unrevised:
            continue
        if any(_is_of_others(later, event) for later in events[at + 1 :]):
            continue
        found = _opposite(event, events[:at])
        if found is not None:
            operation, arguments, words = found
            if operation is REVISE and any(map(_of_the_same(event), events[at + 1 :])):
                words += "; undo again for its verdict"
            return Undoing(event.seq, operation, arguments, words)
    return None


def _of_the_same(event: Event) -> Callable[[Event], bool]:
    """Return a function that is true for a verdict of the same operation."""
    return lambda later: (
        isinstance(later.body, HypothesisJudged)
        and later.operation_id is not None
        and later.operation_id == event.operation_id
    )


def _is_of_others(later: Event, event: Event) -> bool:
    """True if somebody else decided the same anew, which an undo would take away."""
    what = _decided(event)
    return later.actor.kind != "human" and what is not None and _decided(later) == what


def _decided(event: Event) -> tuple[str, ...] | None:
    """Return what of a hypothesis, or of all, an event decides; None for what stands by itself."""
    match event.body:
        case HypothesisJudged(hypothesis_id=hypothesis):
            return "verdict", hypothesis
        case HypothesisRevised(hypothesis_id=hypothesis):
            return "wording", hypothesis
        case EvidenceLinked(hypothesis_id=hypothesis, evidence_id=evidence):
            return "link", hypothesis, evidence
        case HypothesesRanked():
            return ("order",)
    return None


def _can_be_changed(event: Event, marked: Container[str]) -> bool:
    """True unless the event is about evidence whose mark was taken back since."""
    if isinstance(event.body, EvidenceMarked | EvidenceLinked):
        return event.body.evidence_id in marked
    return True


def _opposite(
    event: Event, before: Sequence[Event]
) -> tuple[Operation[Any], Arguments, str] | None:
    match event.body:
        case EvidenceMarked(evidence_id=evidence):
            arguments = UnmarkArguments(evidence=evidence, reason=_REASON)
            return UNMARK, arguments, f"the mark {evidence} is taken back"
        case EvidenceUnmarked(evidence_id=evidence):
            return _mark_again(evidence, before)
        case EvidenceLinked(hypothesis_id=hypothesis, evidence_id=evidence):
            bearing = _bearing(hypothesis, evidence, before)
            words = f"{evidence} bears on {hypothesis} as before: {bearing}"
            link = LinkArguments(hypothesis=hypothesis, evidence=evidence, bearing=bearing)
            return LINK, link, words
        case HypothesisJudged(hypothesis_id=hypothesis):
            judged = [
                earlier.body
                for earlier in before
                if isinstance(earlier.body, HypothesisJudged)
                and earlier.body.hypothesis_id == hypothesis
            ]
            verdict = judged[-1].verdict if judged else "open"
            given = judged[-1].reason if judged else ""
            # It stands for the same reason as before.
            reason = f"{given} ({_REASON}: #{event.seq})" if given else _REASON
            set_verdict = SetVerdictArguments(hypothesis=hypothesis, verdict=verdict, reason=reason)
            return SET_VERDICT, set_verdict, f"{hypothesis} is {verdict} again"
        case HypothesisRevised(hypothesis_id=hypothesis):
            wording = [
                earlier.body
                for earlier in before
                if isinstance(earlier.body, HypothesisStated | HypothesisRevised)
                and earlier.body.hypothesis_id == hypothesis
            ][-1]
            revise = ReviseArguments(
                hypothesis=hypothesis,
                text=wording.text,
                confidence=wording.confidence,
                reason=_REASON,
            )
            kept = wording.confidence is None and event.body.confidence is not None
            words = f"{hypothesis} reads as before"
            return REVISE, revise, words + ("; its confidence stays" if kept else "")
        case HypothesesRanked():
            order = _order(before)
            return RANK, RankArguments(order=order), f"the order is as before: {', '.join(order)}"
        case NoteWritten(text=text):
            remark = NoteArguments(text=f"Taken back: note #{event.seq}")
            return NOTE, remark, f"a remark says that note #{event.seq} is taken back: {text[:40]}"
    return None


def _mark_again(
    evidence: str, before: Sequence[Event]
) -> tuple[Operation[Any], Arguments, str] | None:
    marked = next(
        (
            event.body
            for event in reversed(before)
            if isinstance(event.body, EvidenceMarked) and event.body.evidence_id == evidence
        ),
        None,
    )
    if marked is None:
        return None
    links: dict[str, Any] = {}
    for event in before:
        if isinstance(event.body, EvidenceLinked) and event.body.evidence_id == evidence:
            links[event.body.hypothesis_id] = event.body.bearing
    bore = [(hypothesis, bearing) for hypothesis, bearing in links.items() if bearing != "none"]
    arguments = MarkArguments(
        seq=marked.of_seq,
        excerpt=marked.excerpt,
        label=marked.label,
        token_id=marked.token_id,
        text_id=marked.text_id,
        note=marked.note,
        hypothesis=bore[0][0] if bore else None,
        bearing=bore[0][1] if bore else "for",
    )
    words = f"what was {evidence} is marked again"
    if len(bore) > 1:
        words += f"; link it to {', '.join(hypothesis for hypothesis, _ in bore[1:])} again"
    return MARK, arguments, words


def _bearing(hypothesis: str, evidence: str, before: Sequence[Event]) -> Any:
    links = [
        event.body.bearing
        for event in before
        if isinstance(event.body, EvidenceLinked)
        and (event.body.hypothesis_id, event.body.evidence_id) == (hypothesis, evidence)
    ]
    return links[-1] if links else "none"


def _order(before: Sequence[Event]) -> tuple[str, ...]:
    stated: list[str] = []
    ranked: tuple[str, ...] = ()
    for event in before:
        if isinstance(event.body, HypothesisStated):
            stated.append(event.body.hypothesis_id)
        elif isinstance(event.body, HypothesesRanked):
            ranked = event.body.order
    return (*ranked, *(each for each in stated if each not in ranked))
