"""The history of hypotheses: every change in words, with its reason and what it replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from workbench.store.events import (
    EvidenceLinked,
    EvidenceMarked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
)
from workbench.store.record import Actor
from workbench.store.state import HypothesisState

_LINKS = {"for": "speaks for it", "against": "speaks against it", "none": "unlinked"}


@dataclass(frozen=True)
class Change:
    """One event of a hypothesis: a headline, and lines with a sign; all as it was written.

    Signs: ``-`` the wording before, ``+`` the wording after, a space for a remark.
    """

    seq: int
    at: datetime
    actor: Actor
    headline: str
    lines: tuple[tuple[str, str], ...] = ()


def changes(
    hypothesis: HypothesisState,
    marks: Mapping[str, EvidenceMarked],
    taken_back: Mapping[str, str] | None = None,
) -> Iterator[Change]:
    """Yield every event that made the hypothesis as it is, the first one first.

    ``marks`` are marks by their id, and ``taken_back`` the reasons of those that were taken back.
    """
    text, confidence, verdict = "", None, "open"
    for recorded in hypothesis.history:
        body = recorded.body
        lines: list[tuple[str, str]] = []
        match body:
            case HypothesisStated():
                headline = f"stated, confidence {percent(body.confidence)}"
                lines = [("+", body.text)]
                text, confidence = body.text, body.confidence
            case HypothesisRevised():
                headline = "revised"
                if body.confidence != confidence:
                    headline += f", confidence {percent(confidence)} → {percent(body.confidence)}"
                if body.text != text:
                    lines = [("-", text), ("+", body.text)]
                text, confidence = body.text, body.confidence
                lines += _because(body.reason)
            case HypothesisJudged():
                headline = f"{verdict} → {body.verdict}"
                headline += f" ({body.grounds})" if body.grounds else ""
                verdict = body.verdict
                lines = _because(body.reason)
            case EvidenceLinked():
                headline = f"{body.evidence_id} {_LINKS[body.bearing]}"
                lines = _of_mark(body.evidence_id, marks, taken_back or {})
            case _:
                continue
        yield Change(recorded.seq, recorded.at, recorded.actor, headline, tuple(lines))


def percent(confidence: float | None) -> str:
    """Return a confidence for people."""
    return "not given" if confidence is None else f"{confidence:.0%}"


def _of_mark(
    evidence_id: str, marks: Mapping[str, EvidenceMarked], taken_back: Mapping[str, str]
) -> list[tuple[str, str]]:
    lines = []
    if (mark := marks.get(evidence_id)) is not None:
        lines.append((" ", mark.excerpt + (f" ({mark.label})" if mark.label else "")))
    if mark is None or evidence_id in taken_back:
        reason = taken_back.get(evidence_id)
        lines.append((" ", "the mark was taken back since" + (f": {reason}" if reason else "")))
    return lines


def _because(reason: str) -> list[tuple[str, str]]:
    return [(" ", f"because: {reason}")] if reason else []
