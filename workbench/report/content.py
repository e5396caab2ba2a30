"""Gather what a session holds for a report, as the plain records of `workbench.report.records`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adl.readings.registry import READINGS
from adl.records import FINGERPRINT, POOLED
from adl.text.tokens import visible
from adl.words import number_of, plain_number
from workbench.blinding.redact import StateRedactor
from workbench.blinding.sessions import redactor_for
from workbench.display import shorten
from workbench.replay.compare import SessionSummary, summarise
from workbench.replay.coverage import coverage
from workbench.report.limits import Measured, limits
from workbench.report.records import (
    Block,
    ChangeLine,
    Conclusion,
    EvidenceLine,
    FirstPage,
    GradeLine,
    HypothesisSection,
    Measurement,
    MeasureSection,
    Norms,
    OperationLine,
    ReadingSection,
    Report,
    Sweep,
    SweepPoint,
    TakenBack,
    TestRow,
    TestSection,
    TokenList,
)
from workbench.report.samples import first_marked, prompt_of, sample_groups
from workbench.store.against_nulls import against_nulls, folded
from workbench.store.agent_events import GradeGiven
from workbench.store.changes import changes
from workbench.store.events import (
    DifferenceMeasured,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesisJudged,
    ReadingTaken,
)
from workbench.store.findings import Curve, Heading, Line, Measure, Rows, Sample, words_of
from workbench.store.log import SessionLog
from workbench.store.measures.tested import KIND_NAMES, HypothesisTested
from workbench.store.slices.agents import history, standing
from workbench.store.state import HypothesisState, Recorded, SessionState, fold
from workbench.store.verify import VerifyReport

TOKENS_SHOWN = 20
_SPACE = "\u00b7"
PROMPTS_SHOWN = 5
QUESTIONS_SHOWN = 10
#: Texts of one measure.
MEASURE_TEXTS_SHOWN = 8

_SOURCES = ("difference", "negative", "random", "split_half", "base", "finetuned")
SWEPT = "shift_lens"
_SIGNS = {"-": "before: ", "+": "now: ", " ": ""}


def build_report(log: SessionLog, session_id: str) -> Report:
    """Gather what is to be said of a session, and check that it is as recorded.

    Of a blind session whose names nobody had revealed, it says none of them.
    """
    session_id = log.find_session(session_id).id
    redactor = redactor_for(log, session_id)
    state = redactor.state(fold(log.events(session_id)))
    checked = log.verify(session_id)
    marks, taken_back = _marks(log, session_id, redactor)
    measurements = tuple(_measurement(log, measured) for measured in state.differences.values())
    readings = tuple(_readings(state))
    steered = sample_groups(state, "steer")
    asked = sample_groups(state, "ask")
    return Report(
        summary=summarise(state),
        first_page=_first_page(state, measurements, readings),
        events=state.seq,
        head=_head(checked, session_id),
        verified=checked.ok,
        vouched=_vouched(checked, session_id),
        problems=tuple(str(problem) for problem in checked.problems),
        environment=tuple((name, _plain(value)) for name, value in state.environment.items()),
        provenance=_provenance(state),
        pair_facts=_pair_facts(state),
        hypotheses=tuple(_hypotheses(state, marks, taken_back)),
        loose_evidence=tuple(_loose_evidence(state)),
        taken_back=tuple(taken_back.values()),
        grades=tuple(_grades(state)),
        unblinded=tuple(
            f"event {unblinding.seq}, {_who(unblinding)}: {unblinding.body.reason}"
            for unblinding in state.unblinded
        ),
        measurements=measurements,
        measures=tuple(_measure(measure, state) for measure in state.measures),
        readings=readings,
        sweeps=tuple(_sweeps(state)),
        steered=first_marked(steered)[:PROMPTS_SHOWN],
        steered_prompts=len(steered),
        asked=first_marked(asked)[:QUESTIONS_SHOWN],
        asked_questions=len(asked),
        notes=tuple((_who(note), note.at, note.body.text) for note in state.notes),
        operations=tuple(_operations(state)),
        coverage=coverage(state),
        limits=tuple(
            limits(
                state,
                [
                    Measured(norms.layer, norms.position, body.n_texts, *_shares(norms))
                    for body, made in zip(_bodies(state), measurements, strict=True)
                    for norms in made.norms
                ],
                has_controls=any(
                    shown.is_control for section in readings for shown in section.lists
                ),
                is_blind=bool(redactor),
            )
        ),
    )


def _measure(measure: Recorded[Measure], state: SessionState) -> MeasureSection:
    return MeasureSection(
        measure.seq,
        _who(measure),
        measure.body.label,
        measure.body.describe(),
        tuple(_blocks(measure.body, state)),
    )


def _blocks(found: Measure, state: SessionState) -> Iterator[Block]:
    texts = 0
    for figure in found.figures([recorded.body for recorded in state.measures]):
        match figure:
            case Heading():
                yield Block(title=figure.text)
            case Line():
                yield Block(sentence=figure.text)
            case Rows():
                rows = tuple(row.cells for row in figure.rows)
                yield Block(title=figure.title, columns=figure.columns, rows=rows)
            case Curve():
                yield Block(sentence=f"{figure.title}: {figure.note}")
            case Sample():
                texts += 1
                if texts <= MEASURE_TEXTS_SHOWN:
                    known = state.texts.get(figure.text_id or "")
                    yield Block(figure.title, text=figure.text if known is None else known.text)
    if texts > MEASURE_TEXTS_SHOWN:
        yield Block(sentence=f"{texts - MEASURE_TEXTS_SHOWN} more texts are in the session.")


# --- the first page -------------------------------------------------------------------------

_CONCLUSIONS, _EXCERPTS = 4, 4
#: Characters of an excerpt.
_EXCERPT = 200
_OF_VERDICT = {"confirmed": 0, "open": 1, "rejected": 2}


def _first_page(
    state: SessionState, measurements: Sequence[Measurement], readings: Sequence[ReadingSection]
) -> FirstPage:
    summary = summarise(state)
    ranked = sorted(state.ranked(), key=lambda hypothesis: _OF_VERDICT[hypothesis.verdict])
    return FirstPage(
        pair=f"{summary.finetuned or 'no pair was loaded'}"
        + (f", finetuned from {summary.base}" if summary.base else ""),
        conclusions=tuple(_conclusion(state, hypothesis) for hypothesis in ranked[:_CONCLUSIONS]),
        tests=tuple(_tests(state)),
        numbers=tuple(_numbers(state, measurements, readings)),
        time=_time(summary),
    )


def _conclusion(state: SessionState, hypothesis: HypothesisState) -> Conclusion:
    def excerpts(bearing: str) -> tuple[str, ...]:
        return tuple(
            f"{name}: {_in_short(mark.body)}"
            for name, how in hypothesis.evidence.items()
            if how == bearing and (mark := state.evidence.get(name)) is not None
        )[:_EXCERPTS]

    reasons = [
        change.body.reason
        for change in hypothesis.history
        if isinstance(change.body, HypothesisJudged)
    ]
    return Conclusion(
        hypothesis.id,
        hypothesis.text,
        hypothesis.status,
        _tested(state, hypothesis),
        hypothesis.confidence,
        reasons[-1] if reasons and hypothesis.verdict != "open" else "",
        excerpts("for"),
        excerpts("against"),
    )


def _in_short(mark: EvidenceMarked) -> str:
    words = mark.excerpt if mark.token_id is None else visible(mark.excerpt)
    return shorten(words, _EXCERPT)


def _tests(state: SessionState) -> Iterator[str]:
    """The tests that were made, with how many; of what was not made, that it was not."""
    texts = [text.start.body for text in state.texts.values()]
    questions = {
        prompt_of(text) for text in state.texts.values() if text.start.body.purpose == "ask"
    }
    steered = [text for text in texts if text.purpose == "steer" and text.alpha]
    yield f"{_count(len(questions), 'question')} put to both models"
    alphas = sorted({text.alpha for text in steered})
    at = f" at alpha {', '.join(f'{alpha:g}' for alpha in alphas[:8])}" if alphas else ""
    more = f" and {len(alphas) - 8} more" if len(alphas) > 8 else ""
    yield f"{_count(len(steered), 'steered text')}{at}{more}"
    controls = sum(key.source not in {"difference", "negative"} for key in state.readings)
    lists = _count(len(state.readings), "token list")
    yield f"{lists}, {controls} of them controls (random directions, halves, one model alone)"
    done = [found.result.body for found in state.experiments.values() if found.result]
    passed = sum(result.verdict == "confirmed" for result in done)
    if done:
        yield f"{_count(len(done), 'test')} of hypotheses, {passed} passed"
    measures = len(state.measures) - len(done)
    yield f"{_count(measures, 'measure')} of the trace" if measures else "no measure of the trace"


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
            if not reading.is_control:
                of = f"{section.reading.replace('_', ' ')} on {section.side}, layer {section.layer}"
                yield f"first tokens, {of}", "  ".join(reading.tokens[:12])
    for measure in state.measures[-3:]:
        yield f"measure (event {measure.seq})", measure.body.describe()
    for grade in _grades(state):
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


def _count(count: int, what: str) -> str:
    return number_of(count, what) if count else f"no {what}s"


# --- the pair -------------------------------------------------------------------------------

_OF_SIDES = (
    "checkpoint",
    "revision",
    "resolved_revision",
    "content_sha256",
    FINGERPRINT,
    "adapter",
    "adapter_revision",
    "adapter_sha256",
    "tokenizer_sha256",
    "chat_template_sha256",
    "architecture",
    "parameters",
    "vocabulary_size",
)


def _provenance(state: SessionState) -> tuple[tuple[str, str, str], ...]:
    if state.pair is None:
        return ()
    base, finetuned = state.pair.get("base") or {}, state.pair.get("finetuned") or {}
    return tuple(
        (_side_fact(name), _plain(base.get(name)), _plain(finetuned.get(name)))
        for name in _OF_SIDES
        if base.get(name) is not None or finetuned.get(name) is not None
    )


def _side_fact(name: str) -> str:
    if name == FINGERPRINT:
        return "fingerprint of sizes and ends of files (no content hash)"
    return name.replace("_", " ")


def _pair_facts(state: SessionState) -> tuple[tuple[str, str], ...]:
    facts = {
        name: value
        for name, value in (state.pair or {}).items()
        if name not in {"base", "finetuned"} and value is not None
    }
    return tuple((name.replace("_", " "), _plain(value)) for name, value in facts.items())


def _plain(value: Any) -> str:
    """A recorded value in words; mappings and lists on one line."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(item) for item in value)
    return str(value)


# --- what was found -------------------------------------------------------------------------


def _bodies(state: SessionState) -> Iterator[DifferenceMeasured]:
    return (measured.body for measured in state.differences.values())


def left_out(body: DifferenceMeasured) -> str:
    """Return the numbers of texts that were left out, with the reasons."""
    unaligned = int(body.corpus.get("unaligned", 0))
    said = f"{body.n_skipped - unaligned} too short"
    return f"{said}, {unaligned} cut into other tokens by either side" if unaligned else said


def _measurement(log: SessionLog, measured: Recorded[DifferenceMeasured]) -> Measurement:
    body = measured.body
    arrays = {name: log.array(ref) for name, ref in body.arrays.items()}
    size = np.linalg.norm(arrays["difference"], axis=-1)
    norms = tuple(
        Norms(
            layer=layer,
            position=position,
            difference=float(size[row, column]),
            standard_error=float(arrays["standard_error"][row, column]),
            base=float(arrays["base_norm"][row, column]),
            finetuned=float(arrays["finetuned_norm"][row, column]),
            half_cosine=float(arrays["half_cosine"][row, column]),
        )
        for row, layer in enumerate(body.layers)
        for column, position in enumerate(body.positions)
    )
    facts = (
        ("key", body.key),
        ("texts", f"{body.n_texts} used, {left_out(body)}"),
        ("from cache", "yes" if body.from_cache else "no"),
        *((("doubt", body.doubt),) if body.doubt else ()),
        *((f"corpus, {name}", _plain(value)) for name, value in body.corpus.items()),
        *(
            (f"residual norm, layer {name}", plain_number(norm, 4))
            for name, norm in body.residual_norm.items()
        ),
    )
    return Measurement(measured.seq, facts, norms, body.layers)


def _shares(norms: Norms) -> tuple[float | None, float]:
    share = norms.standard_error / norms.difference if norms.difference else None
    return share, norms.half_cosine


def _readings(state: SessionState) -> Iterator[ReadingSection]:
    """The newest chosen list of each source, for every reading, side and layer, pooled."""
    newest: dict[tuple[str, str, int], dict[str, Recorded[ReadingTaken]]] = {}
    for key, token_list in state.readings.items():
        if key.position != POOLED or not token_list.body.chosen:
            continue
        lists = newest.setdefault((key.reading, key.side, key.layer), {})
        if key.source not in lists or lists[key.source].seq < token_list.seq:
            lists[key.source] = token_list
    beside = {layer: against_nulls(state, layer) for _, _, layer in newest}
    for reading, side, layer in sorted(newest, key=_place):
        lists = newest[reading, side, layer]
        order = [*(name for name in _SOURCES if name in lists), *(lists.keys() - set(_SOURCES))]
        found = beside[layer].get((reading, side))
        limits_of = READINGS[reading].limits if reading in READINGS else ""
        yield ReadingSection(
            reading,
            side,
            layer,
            POOLED,
            tuple(_token_list(lists[name]) for name in order),
            f"{found.words.capitalize()}. {limits_of}" if found and found.closeness else limits_of,
            reading in folded(beside[layer].values()),
        )


def _place(section: tuple[str, str, int]) -> tuple[int, int]:
    """Layer by layer, in the order in which readings are worth looking at."""
    reading, _, layer = section
    order = tuple(READINGS)
    return layer, order.index(reading) if reading in order else len(order)


def _token_list(recorded: Recorded[ReadingTaken]) -> TokenList:
    body = recorded.body
    struck = tuple(
        f"{visible(token.text).removeprefix(_SPACE)} ({token.why})"
        for token in body.struck
        if token.rank <= TOKENS_SHOWN
    )
    return TokenList(body.source, body.scale, body.chosen_by, _tokens(body), recorded.seq, struck)


def _tokens(body: ReadingTaken, count: int = TOKENS_SHOWN) -> tuple[str, ...]:
    return tuple(visible(body.word(token)).removeprefix(_SPACE) for token in body.tokens[:count])


def _sweeps(state: SessionState) -> Iterator[Sweep]:
    points: dict[tuple[str, int], dict[float, Recorded[ReadingTaken]]] = {}
    nulls: dict[tuple[str, int], dict[str, float]] = {}
    for key, reading in state.readings.items():
        if key.reading != SWEPT or key.position != POOLED or key.scale is None:
            continue
        place = (key.side, key.layer)
        if key.source == "difference":
            points.setdefault(place, {})[key.scale] = reading
        elif "kl" in reading.body.statistics:
            nulls.setdefault(place, {})[key.source] = reading.body.statistics["kl"]
    for place, found in points.items():
        swept = tuple(
            SweepPoint(
                alpha, result.body.statistics.get("kl"), result.body.chosen, _tokens(result.body, 8)
            )
            for alpha, result in sorted(found.items())
        )
        if len(swept) > 1:
            yield Sweep(*place, swept, tuple(nulls.get(place, {}).items()))


# --- what was made of it --------------------------------------------------------------------


def _who(recorded: Recorded[Any]) -> str:
    return recorded.actor.who


def _evidence_line(state: SessionState, name: str, bearing: str) -> EvidenceLine:
    one = state.evidence[name]
    body = one.body
    return EvidenceLine(name, bearing, body.excerpt, body.label, body.note, _who(one), body.of_seq)


def _marks(
    log: SessionLog, session_id: str, redactor: StateRedactor
) -> tuple[dict[str, EvidenceMarked], dict[str, TakenBack]]:
    """Every mark that was ever made, and those that were taken back, by their id."""
    marks: dict[str, EvidenceMarked] = {}
    taken_back: dict[str, TakenBack] = {}
    for recorded in log.events(session_id, kinds=["evidence_marked", "evidence_unmarked"]):
        event = redactor.event(recorded)
        match event.body:
            case EvidenceMarked() as body:
                marks[body.evidence_id] = body
                taken_back.pop(body.evidence_id, None)
            case EvidenceUnmarked(evidence_id=name, reason=reason) if name in marks:
                by = event.actor.who
                taken_back[name] = TakenBack(name, marks[name].excerpt, event.seq, by, reason)
    return marks, taken_back


def _hypotheses(
    state: SessionState,
    marks: Mapping[str, EvidenceMarked],
    taken_back: Mapping[str, TakenBack],
) -> Iterator[HypothesisSection]:
    reasons = {name: item.reason for name, item in taken_back.items()}
    for hypothesis in state.ranked():
        yield HypothesisSection(
            id=hypothesis.id,
            text=hypothesis.text,
            status=hypothesis.status,
            tests=tuple(
                _test(found.result.seq, found.result.body)
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


def _tested(state: SessionState, hypothesis: HypothesisState) -> str:
    results = [found.result.body for found in state.experiments_of(hypothesis.id) if found.result]
    if not results:
        return "untested"
    return f"test {results[-1].experiment}, {results[-1].short()}"


def _test(seq: int, body: HypothesisTested) -> TestSection:
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
        words=body.words,
        rows=tuple(rows),
        numbers=f"difference {words_of(body.difference, '{:+.2f}')}{unit}, p {body.p:.2g}, "
        f"{body.adjusted:.2g} by Holm over {_count(body.family, 'tested wording')}",
    )


def _loose_evidence(state: SessionState) -> Iterator[EvidenceLine]:
    linked = {name for hypothesis in state.hypotheses.values() for name in hypothesis.evidence}
    for name in state.evidence:
        if name not in linked:
            yield _evidence_line(state, name, "none")


def _grades(state: SessionState) -> Iterator[GradeLine]:
    for grade in standing(state.grades):
        body = grade.body
        *replaced, _ = history(state.grades, body.grade_id)
        yield GradeLine(
            id=body.grade_id,
            grader=body.grader,
            subject=body.subject,
            score=body.score,
            reason=body.reason,
            by=body.model or _who(grade),
            rubric=f"{body.rubric} {body.rubric_version}",
            edits=tuple(
                f"{_score(old.body)} by {_who(old)}: {old.body.reason}" for old in replaced
            ),
        )


def _score(body: GradeGiven) -> str:
    return "unscored" if body.score is None else f"{body.score:g}"


def _operations(state: SessionState) -> Iterator[OperationLine]:
    for operation in state.operations.values():
        yield OperationLine(
            seq=operation.started_seq,
            name=operation.name,
            by=operation.actor.who,
            status=operation.status,
            seconds=operation.seconds,
            problem=operation.message or operation.error or operation.reason,
        )


def _head(checked: VerifyReport, session_id: str) -> str:
    return checked.heads[session_id].sha256


def _vouched(checked: VerifyReport, session_id: str) -> str:
    head, known = checked.heads[session_id], checked.known.get(session_id)
    if known is not None and known.head == head:
        return f"Its head, {head.seq}, is the one kept in {known.source} beside its database."
    upto = "" if known is None else f" Up to event {known.head.seq} it is as {known.source} has it."
    return (
        f"Events that were cut off after event {head.seq} would leave no trace in it: only a head "
        f"that was kept elsewhere shows that there are none.{upto}"
    )
