"""The first page of a report: the pair, the conclusions, and the few numbers behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adl.nulls import NULLS
from adl.records import POOLED, SIDES
from adl.text.tokens import visible
from adl.words import number_of, number_or_no, plain_number
from workbench.display import shorten
from workbench.replay.compare import SessionSummary, summarise
from workbench.report.judgements import grades, tested
from workbench.report.records import Conclusion, FirstPage, Measurement, ReadingSection
from workbench.report.samples import whole_prompt
from workbench.store.events import EvidenceMarked, HypothesisJudged
from workbench.store.state import HypothesisState, SessionState

_CONCLUSIONS, _EXCERPTS, _MEASURES = 4, 4, 3
#: Characters of an excerpt.
_EXCERPT = 200
_OF_VERDICT = {"confirmed": 0, "open": 1, "rejected": 2}


def first_page(
    state: SessionState, measurements: Sequence[Measurement], readings: Sequence[ReadingSection]
) -> FirstPage:
    """Return the first page, from the state and what the report says of measurements and readings."""
    summary = summarise(state)
    ranked = sorted(state.ranked(), key=lambda hypothesis: _OF_VERDICT[hypothesis.verdict])
    return FirstPage(
        pair=f"{summary.finetuned or 'no pair was loaded'}"
        + (f", finetuned from {summary.base}" if summary.base else ""),
        conclusions=tuple(_conclusion(state, hypothesis) for hypothesis in ranked[:_CONCLUSIONS]),
        left_out=_left_out(len(ranked) - _CONCLUSIONS),
        tests=tuple(_tests(state)),
        numbers=tuple(_numbers(state, measurements, readings)),
        time=_time(summary),
    )


def _conclusion(state: SessionState, hypothesis: HypothesisState) -> Conclusion:
    def excerpts(bearing: str) -> tuple[str, ...]:
        every = [
            f"{name}: {_in_short(mark.body)}"
            for name, how in hypothesis.evidence.items()
            if how == bearing and (mark := state.evidence.get(name)) is not None
        ]
        more = len(every) - _EXCERPTS
        return (*every[:_EXCERPTS], *([f"{more} more, under Hypotheses"] if more > 0 else []))

    reasons = [
        change.body.reason
        for change in hypothesis.history
        if isinstance(change.body, HypothesisJudged)
    ]
    return Conclusion(
        hypothesis.id,
        hypothesis.text,
        hypothesis.status,
        tested(state, hypothesis),
        hypothesis.confidence,
        reasons[-1] if reasons and hypothesis.verdict != "open" else "",
        excerpts("for"),
        excerpts("against"),
    )


def _left_out(more: int) -> str:
    if more <= 0:
        return ""
    what = "hypothesis stands" if more == 1 else "hypotheses stand"
    return f"{more} more {what} under Hypotheses."


def _in_short(mark: EvidenceMarked) -> str:
    words = mark.excerpt if mark.token_id is None else visible(mark.excerpt)
    return shorten(words, _EXCERPT)


def _tests(state: SessionState) -> Iterator[str]:
    """The tests that were made, with how many; of what was not made, that it was not."""
    yield ", ".join(_questions(state))
    written = [text.start.body for text in state.texts.values() if text.status == "finished"]
    steered = [text for text in written if text.purpose == "steer" and text.is_steered]
    of_nulls = sum(text.purpose == "steer" and text.is_null_steered for text in written)
    alphas = sorted({text.alpha for text in steered})
    at = f" at alpha {', '.join(f'{alpha:g}' for alpha in alphas[:8])}" if alphas else ""
    more = f" and {len(alphas) - 8} more" if len(alphas) > 8 else ""
    beside = f", {of_nulls} with the vector of a null" if of_nulls else ""
    yield f"{number_or_no(len(steered), 'steered text')}{at}{more}{beside}"
    nulls = sum(key.source in NULLS for key in state.readings)
    lists = number_or_no(len(state.readings), "token list")
    yield f"{lists}, {nulls} of them of nulls (random directions, halves of the texts)"
    done = [found.result.body for found in state.experiments.values() if found.result]
    passed = sum(result.verdict == "confirmed" for result in done)
    if done:
        yield f"{number_or_no(len(done), 'test')} of hypotheses, {passed} passed"
    measures = len(state.measures) - len(done)
    yield (
        f"{number_of(measures, 'measure')} of the trace" if measures else "no measure of the trace"
    )


def _questions(state: SessionState) -> Iterator[str]:
    """The questions that both models answered to the end, then the others."""
    asked: dict[str, set[str]] = {}
    answered: dict[str, set[str]] = {}
    for text in state.texts.values():
        if text.start.body.purpose == "ask":
            asked.setdefault(whole_prompt(text), set()).add(text.start.body.side)
            if text.status == "finished":
                answered.setdefault(whole_prompt(text), set()).add(text.start.body.side)
    both = [prompt for prompt, sides in answered.items() if sides == {*SIDES}]
    yield f"{number_or_no(len(both), 'question')} put to both models"
    for side in SIDES:
        if alone := sum(sides == {side} == answered.get(prompt) for prompt, sides in asked.items()):
            yield f"{alone} to {side} alone"
    whole = sum(sides == answered.get(prompt) for prompt, sides in asked.items())
    if whole < len(asked):
        yield f"{len(asked) - whole} without a whole answer of each model asked"


def _numbers(
    state: SessionState, measurements: Sequence[Measurement], readings: Sequence[ReadingSection]
) -> Iterator[tuple[str, str]]:
    for measured in measurements[-1:]:
        if not measured.norms:
            continue
        norms = next(
            (site for site in measured.norms if site.position == POOLED), measured.norms[-1]
        )
        share = f", {norms.difference / norms.base:.1%} of the norm of base's" if norms.base else ""
        size = f"{plain_number(norms.difference, 3)} \u00b1 {plain_number(norms.standard_error, 2)}{share}"
        agree = f"two halves of the texts agree with cosine {norms.half_cosine:.2f}"
        yield f"difference, layer {norms.layer}, position {norms.position}", f"{size}; {agree}"
    for section in readings[:1]:
        for reading in section.lists:
            if reading.is_of_difference:
                of = f"{section.reading.replace('_', ' ')} on {section.side}, layer {section.layer}"
                yield f"first tokens, {of}", "  ".join(reading.tokens[:12])
    for measure in state.measures[-_MEASURES:]:
        yield f"measure (event {measure.seq})", measure.body.describe()
    if len(state.measures) > _MEASURES:
        yield "more measures", f"{len(state.measures) - _MEASURES} earlier ones, under Measures"
    for grade in grades(state):
        score = "unscored" if grade.score is None else f"{grade.score:g}"
        yield f"grade of {grade.subject}, by {grade.by}", f"{score}, rubric {grade.rubric}"


def _time(summary: SessionSummary) -> str:
    if summary.started_at is None or summary.last_at is None:
        return "nothing was recorded"
    hours, rest = divmod(int(summary.seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return (
        f"{summary.started_at:%Y-%m-%d %H:%M} to {summary.last_at:%Y-%m-%d %H:%M} UTC, "
        f"{hours}:{minutes:02}:{seconds:02} with pauses; operations ran for "
        f"{summary.budget.seconds:.0f} s in all"
    )
