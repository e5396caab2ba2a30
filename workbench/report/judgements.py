"""Judgements in a report: marked evidence, hypotheses with their tests and changes, and grades."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from adl.words import number_or_no
from workbench.blinding.redact import StateRedactor
from workbench.report.records import (
    ChangeLine,
    EvidenceLine,
    GradeLine,
    HypothesisSection,
    TakenBack,
    TestRow,
    TestSection,
)
from workbench.store.agent_events import GradeGiven
from workbench.store.changes import changes
from workbench.store.events import EvidenceMarked, EvidenceUnmarked
from workbench.store.findings import words_of
from workbench.store.log import SessionLog
from workbench.store.measures.tested import KIND_NAMES, HypothesisTested
from workbench.store.slices.agents import history, standing
from workbench.store.state import HypothesisState, SessionState

_SIGNS = {"-": "before: ", "+": "now: ", " ": ""}


def marks_of(
    log: SessionLog,
    session_id: str,
    redactor: StateRedactor,
    shown: Callable[[EvidenceMarked], EvidenceMarked] | None = None,
) -> tuple[dict[str, EvidenceMarked], dict[str, TakenBack]]:
    """Return every mark that was ever made, and those that were taken back, by their id.

    ``shown`` makes of a mark what the reader may see of it.
    """
    marks: dict[str, EvidenceMarked] = {}
    taken_back: dict[str, TakenBack] = {}
    for recorded in log.events(session_id, kinds=["evidence_marked", "evidence_unmarked"]):
        event = redactor.event(recorded)
        match event.body:
            case EvidenceMarked() as body:
                marks[body.evidence_id] = shown(body) if shown else body
                taken_back.pop(body.evidence_id, None)
            case EvidenceUnmarked(evidence_id=name, reason=reason) if name in marks:
                by = event.actor.who
                taken_back[name] = TakenBack(name, marks[name].excerpt, event.seq, by, reason)
    return marks, taken_back


def hypotheses(
    state: SessionState,
    marks: Mapping[str, EvidenceMarked],
    taken_back: Mapping[str, TakenBack],
) -> Iterator[HypothesisSection]:
    """Yield the hypotheses in their order of rank; marks as `marks_of` returns them."""
    reasons = {name: item.reason for name, item in taken_back.items()}
    for hypothesis in state.ranked():
        yield HypothesisSection(
            id=hypothesis.id,
            text=hypothesis.text,
            status=hypothesis.status,
            tests=tuple(
                _test(found.result.seq, found.result.body, hypothesis.text)
                for found in state.experiments_of(hypothesis.id)
                if found.result is not None
            ),
            unfinished=tuple(
                found.id for found in state.experiments_of(hypothesis.id) if found.result is None
            ),
            confidence=hypothesis.confidence,
            by=hypothesis.actor.who,
            evidence=tuple(
                _evidence_line(state, name, bearing)
                for name, bearing in hypothesis.evidence.items()
                if name in state.evidence
            ),
            changes=tuple(
                ChangeLine(
                    f"event {change.seq}, {change.at:%Y-%m-%d %H:%M:%S} UTC, "
                    f"{change.actor.who}: {change.headline}",
                    tuple(_SIGNS[sign] + words for sign, words in change.lines),
                )
                for change in changes(hypothesis, marks, reasons)
            ),
        )


def tested(state: SessionState, hypothesis: HypothesisState) -> str:
    """Return the outcome of the last test of a hypothesis as it reads, or ``untested``."""
    results = [found.result.body for found in state.experiments_of(hypothesis.id) if found.result]
    own = [result for result in results if result.hypothesis == hypothesis.text]
    if own:
        return f"test {own[-1].experiment}, {own[-1].short()}"
    if results:
        return f"untested; test {results[-1].experiment} was of its earlier words"
    return "untested"


def _test(seq: int, body: HypothesisTested, now: str) -> TestSection:
    rows = [
        TestRow(
            f"{KIND_NAMES[rate.kind]}, {rate.part}, {rate.side}",
            f"{rate.words()}, {words_of(rate.rate, '{:.2f}')}",
            None if rate.rate is None else rate.rate.value,
            0.0 if rate.rate is None else rate.rate.low,
            0.0 if rate.rate is None else rate.rate.high,
        )
        for rate in body.rates
    ]
    unit = "" if body.test == "answers" else " nats"
    return TestSection(
        id=body.experiment,
        seq=seq,
        verdict=body.verdict,
        judge=body.judge,
        earlier_words="" if body.hypothesis == now else body.hypothesis,
        words=body.words,
        rows=tuple(rows),
        numbers=f"difference {words_of(body.difference, '{:+.2f}')}{unit}, p {body.p:.2g}, "
        f"{body.adjusted:.2g} by Holm over {number_or_no(body.family, 'tested wording')}",
    )


def loose_evidence(state: SessionState) -> Iterator[EvidenceLine]:
    """Yield the evidence that no hypothesis is linked to."""
    linked = {name for hypothesis in state.hypotheses.values() for name in hypothesis.evidence}
    for name in state.evidence:
        if name not in linked:
            yield _evidence_line(state, name, "none")


def _evidence_line(state: SessionState, name: str, bearing: str) -> EvidenceLine:
    one = state.evidence[name]
    body = one.body
    return EvidenceLine(
        name, bearing, body.excerpt, body.label, body.note, one.actor.who, body.of_seq
    )


def grades(state: SessionState) -> Iterator[GradeLine]:
    """Yield the grades that stand, each with those that it replaced."""
    for grade in standing(state.grades):
        body = grade.body
        *replaced, _ = history(state.grades, body.grade_id)
        yield GradeLine(
            id=body.grade_id,
            grader=body.grader,
            subject=body.subject,
            score=body.score,
            reason=body.reason,
            by=body.model or grade.actor.who,
            rubric=f"{body.rubric} {body.rubric_version}",
            edits=tuple(
                f"{_score(old.body)} by {old.actor.who}: {old.body.reason}" for old in replaced
            ),
        )


def _score(body: GradeGiven) -> str:
    return "unscored" if body.score is None else f"{body.score:g}"
