"""Gather what a session holds for a report, as the plain records of `workbench.report.records`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from adl.nulls import NULLS, source_order
from adl.readings.registry import READINGS
from adl.records import FINGERPRINT, POOLED
from adl.text.tokens import visible
from adl.words import number_or_no, plain_number
from workbench.blinding.sessions import (
    mark_without_truth,
    redactor_for,
    redactor_for_agents,
    without_truth,
)
from workbench.replay.compare import summarise
from workbench.replay.coverage import coverage
from workbench.report.first_page import first_page
from workbench.report.judgements import grades, hypotheses, loose_evidence, marks_of
from workbench.report.limits import Measured, limits
from workbench.report.records import (
    Block,
    Measurement,
    MeasureSection,
    Norms,
    OperationLine,
    ReadingSection,
    Report,
    Sweep,
    SweepPoint,
    TokenList,
)
from workbench.report.samples import first_marked, sample_groups
from workbench.store.against_nulls import against_nulls, folded
from workbench.store.agent_events import EvaluationStarted
from workbench.store.body import because
from workbench.store.events import DifferenceMeasured, EventBody, ReadingTaken
from workbench.store.findings import Curve, Finding, Heading, Line, Rows, Sample, title_of
from workbench.store.log import SessionLog
from workbench.store.state import Recorded, SessionState, chosen_lists, fold
from workbench.store.training_events import OrganismTrained, TrainingStarted
from workbench.store.verify import VerifyReport

TOKENS_SHOWN = 20
_SPACE = "\u00b7"
PROMPTS_SHOWN = 5
QUESTIONS_SHOWN = 10
#: Texts of one measure.
MEASURE_TEXTS_SHOWN = 8

SWEPT = "shift_lens"


def build_report(log: SessionLog, session_id: str, *, for_agents: bool = False) -> Report:
    """Gather what is to be said of a session, and check that it is as recorded.

    Of a blind session whose names nobody had revealed, it says none of them. ``for_agents`` it says
    none of a blind session at all, and nothing that rests on ground truth.
    """
    session_id = log.find_session(session_id).id
    redactor = (redactor_for_agents if for_agents else redactor_for)(log, session_id)
    state = redactor.state(fold(log.events(session_id)))
    shown_mark = mark_without_truth(state) if for_agents else None
    if for_agents:
        state = without_truth(state)
    checked = log.verify(session_id)
    marks, taken_back = marks_of(log, session_id, redactor, shown_mark)
    measurements = tuple(_measurement(log, measured) for measured in state.differences.values())
    readings = tuple(_readings(state))
    steered = sample_groups(state, "steer")
    asked = sample_groups(state, "ask")
    return Report(
        summary=summarise(state),
        first_page=first_page(state, measurements, readings),
        events=state.seq,
        head=_head(checked, session_id),
        verified=checked.ok,
        vouched=_vouched(checked, session_id),
        problems=tuple(str(problem) for problem in checked.problems),
        environment=tuple((name, _plain(value)) for name, value in state.environment.items()),
        provenance=_provenance(state),
        pair_facts=_pair_facts(state),
        hypotheses=tuple(hypotheses(state, marks, taken_back)),
        loose_evidence=tuple(loose_evidence(state)),
        taken_back=tuple(taken_back.values()),
        grades=tuple(grades(state)),
        unblinded=tuple(
            f"event {unblinding.seq}, {unblinding.actor.who}: {unblinding.body.reason}"
            for unblinding in state.unblinded
        ),
        measurements=measurements,
        measures=tuple(_measures(state)),
        readings=readings,
        sweeps=tuple(_sweeps(state)),
        steered=first_marked(steered)[:PROMPTS_SHOWN],
        steered_prompts=len(steered),
        asked=first_marked(asked)[:QUESTIONS_SHOWN],
        asked_questions=len(asked),
        notes=tuple((note.actor.who, note.at, note.body.text) for note in state.notes),
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
                has_nulls=any(shown.is_null for section in readings for shown in section.lists),
                is_blind=bool(redactor),
            )
        ),
    )


def _measures(state: SessionState) -> Iterator[MeasureSection]:
    """Yield the measures, then the trainings and mixing studies, then the audits of an evaluation."""
    for measure in state.measures:
        yield _measure(measure, measure.body, state)
    ended = {body.name for body in _bodies_of(state) if isinstance(body, OrganismTrained)}
    for training in state.trainings:
        if isinstance(training.body, Finding):
            yield _measure(training, training.body, state)
        elif isinstance(training.body, TrainingStarted) and training.body.name not in ended:
            line = f"{training.body.describe()}; it did not come to its end here"
            yield MeasureSection(training.seq, training.actor.who, "training", line, ())
    if state.evaluation is not None:
        yield _evaluation(state.evaluation, state)


def _bodies_of(state: SessionState) -> list[EventBody]:
    return [found.body for found in (*state.measures, *state.trainings)]


def _evaluation(started: Recorded[EvaluationStarted], state: SessionState) -> MeasureSection:
    """The audits, each in a session of its own: their grades stand there."""
    rows = tuple(
        (body.cell, body.session, f"{body.status}{because(body.detail)}")
        for body in (cell.body for cell in state.cells.values())
    )
    shares = f"`evaluate --session {state.session_id}` shows the shares of its audits."
    blocks = [Block(sentence=shares)]
    if rows:
        blocks.append(Block(title="Audits", columns=("audit", "session", "status"), rows=rows))
    done = sum(cell.body.status == "done" for cell in state.cells.values())
    line = f"{started.body.describe()}; {number_or_no(done, 'audit')} done"
    return MeasureSection(started.seq, started.actor.who, "evaluation", line, tuple(blocks))


def _measure(at: Recorded[Any], found: Finding, state: SessionState) -> MeasureSection:
    return MeasureSection(
        at.seq,
        at.actor.who,
        found.label,
        found.describe(),
        tuple(_blocks(found, state)),
    )


def _blocks(found: Finding, state: SessionState) -> Iterator[Block]:
    texts = 0
    for figure in found.figures(_bodies_of(state)):
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
                    yield Block(
                        title_of(figure, state.texts),
                        text=figure.text if known is None else known.text,
                    )
    if texts > MEASURE_TEXTS_SHOWN:
        yield Block(sentence=f"{texts - MEASURE_TEXTS_SHOWN} more texts are in the session.")


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
        ("texts", ", ".join(filter(None, (f"{body.n_texts} used", body.left_out)))),
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
    for key, token_list in chosen_lists(state.readings).items():
        if key.position == POOLED:
            newest.setdefault((key.reading, key.side, key.layer), {})[key.source] = token_list
    beside = {layer: against_nulls(state, layer) for _, _, layer in newest}
    for reading, side, layer in sorted(newest, key=_place):
        lists = newest[reading, side, layer]
        order = sorted(lists, key=lambda name: (source_order(name), name))
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
        elif key.source in NULLS and "kl" in reading.body.statistics:
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
