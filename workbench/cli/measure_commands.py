"""Commands that measure a trace: trace, coherent-alpha, relevance, similarity, causal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import BaseModel

from workbench.cli import show
from workbench.cli.derived import Given, made, options_of
from workbench.cli.judging import JudgeOption, judge_at_hand
from workbench.cli.mismatch import say_mismatches
from workbench.cli.options import (
    SHARED,
    Json,
    SessionOptions,
    measure_arguments,
    options_from,
    pair_arguments,
    session_options,
    shared_with,
)
from workbench.cli.output import print_json, say
from workbench.cli.running import Work, working_session
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import (
    STEERED_SIMILARITY,
    TOKEN_RELEVANCE,
    RelevanceArguments,
    SimilarityArguments,
)
from workbench.operations.running import Arguments, Operation
from workbench.operations.trace import TRACE, TraceArguments
from workbench.store.measure_events import (
    CausalEffectMeasured,
    CoherentAlphaFound,
    Estimate,
    RelevanceMeasured,
    SimilarityMeasured,
    TraceMeasured,
)

#: Fields of no option: the measurement's options give them, or they only fit the machine.
_NOT_OWN = (*SHARED, "batch_size", "judge")
_session: dict[str, Any] = {"pair": pair_arguments, "where": session_options}
_measured = {**_session, "measure": measure_arguments}
#: Where the measurement has an option of the field's usual name.
_CAUSAL_NAMES = {"n_texts": "scored", "max_tokens": "tokens"}
A = TypeVar("A", bound=Arguments)
Body = TypeVar("Body", bound=BaseModel)


@options_from(**_session, given=options_of(TraceArguments))
def trace(
    pair: PairArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Say how strong and how narrow the trace is, each number beside its nulls."""
    arguments = made(TraceArguments, given)
    with _work(where, "trace", pair) as work:
        found = _run(work, TRACE, arguments, TraceMeasured)
        if json:
            _print(work, found)
            return
        show.heading(found.summary)
        for layer in found.layers:
            show.paragraph(f"Layer {layer.layer}: {layer.verdict}; {layer.why}.")
        show.paragraph(f"Breadth: {found.breadth}; {found.breadth_why}.")
        show.paragraph(found.does_not_mean)
        show.table(
            ("layer", "position", "norm [95%]", "consistency", "base itself", "p permuted"),
            [
                (
                    one.layer,
                    one.position,
                    f"{one.norm:.4f} [{one.low:.4f}, {one.high:.4f}]",
                    f"{one.consistency:.2f}",
                    f"{one.split_half_norm:.4f}",
                    f"{one.p_value:.4f}",
                )
                for one in found.sites
            ],
            title=f"difference in residual norms, over {found.n_texts} texts",
        )
        effects = [layer.effect for layer in found.layers if layer.effect]
        show.table(
            ("layer", "alignment", "random, highest", "z", "p random"),
            [
                (
                    one.layer,
                    f"{one.alignment:.2f}",
                    f"{max(one.random):.2f}",
                    f"{one.z:.1f}",
                    f"{one.p_value:.2g}",
                )
                for one in effects
            ],
            title="effect on predictions, aligned with that of the finetuning",
        )
        if found.narrowness:
            show.paragraph("Words that rose most: " + " ".join(found.narrowness.words))
        _say_where(work)


@options_from(**_measured, given=options_of(CoherentAlphaArguments, leave_out=_NOT_OWN))
def coherent_alpha(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    judge: JudgeOption = None,
    json: Json = False,
) -> None:
    """Search for the strongest steering that leaves texts coherent."""
    with judge_at_hand(judge) as at_hand, _work(where, "coherent-alpha", pair) as work:
        at_hand.attend(work.session)
        layer = _measure(work, measure)
        arguments = _arguments(CoherentAlphaArguments, given, measure, layer, judge=at_hand.model)
        found = _run(work, COHERENT_ALPHA, arguments, CoherentAlphaFound)
        if json:
            _print(work, found)
            return
        beyond = " or more: the strongest tried still passes" if found.reached_end else ""
        show.heading(f"Coherent alpha {found.alpha:g}{beyond}")
        show.paragraph(
            f"Mean over prompts {found.prompt_mean:.3f}: "
            + ", ".join(f"{one:g}" for one in found.by_prompt)
        )
        if found.llm_alpha is not None:
            agreed = found.agreement["share"]
            also = "" if agreed is None else f"; the two judges agree on {agreed:.0%} of texts"
            show.paragraph(f"By the LLM judge {found.judge}: {found.llm_alpha:g}{also}")
        show.table(
            ("alpha", "texts", "coherent", "by LLM judge"),
            [
                (
                    f"{one.alpha:g}",
                    one.n,
                    f"{one.plain:.0%}",
                    show.NOT_COMPUTED if one.llm is None else f"{one.llm:.0%}",
                )
                for one in found.rates
            ],
        )
        for strength in dict.fromkeys((0.0, found.alpha, found.rates[-1].alpha)):
            one = next(one for one in found.texts if one.alpha == strength)
            show.heading(f"alpha {strength:g} ({', '.join(one.faults) or 'coherent'})")
            show.paragraph(work.shown.texts[one.text_id].text)
        _say_where(work)


@options_from(**_measured, given=options_of(RelevanceArguments, leave_out=(*_NOT_OWN, "n_texts")))
def relevance(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Read the difference, and say what share of the tokens the finetuning documents account for."""
    arguments = made(RelevanceArguments, {**given, **shared_with(RelevanceArguments, measure)})
    with _work(where, "relevance", pair) as work:
        layer = _measure(work, measure)
        work.run(
            READ,
            ReadArguments(
                layer=str(layer),
                corpus=measure.corpus,
                text_column=measure.text_column,
                seed=measure.seed,
            ),
        )
        found = _run(work, TOKEN_RELEVANCE, arguments, RelevanceMeasured)
        if json:
            _print(work, found)
            return
        show.table(
            ("reading", "of", "position", "share [95%]", "over random", "relevant"),
            [
                (
                    f"{one.reading.replace('_', ' ')} ({one.side})",
                    one.source.replace("_", " "),
                    one.position,
                    _interval(one.share, "{:.2f}"),
                    _interval(one.over_random, "{:+.2f}"),
                    " ".join(text.strip() for text in one.relevant),
                )
                for one in found.shares
            ],
            title=f"share of the first {arguments.top} tokens, against {found.against}",
        )
        _say_where(work)


@options_from(**_measured, given=options_of(SimilarityArguments, leave_out=(*_NOT_OWN, "n_texts")))
def similarity(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Steer, and say how much more the texts are like the finetuning documents than unsteered."""
    with _work(where, "similarity", pair) as work:
        layer = _measure(work, measure)
        arguments = _arguments(SimilarityArguments, given, measure, layer)
        found = _run(work, STEERED_SIMILARITY, arguments, SimilarityMeasured)
        if json:
            _print(work, found)
            return
        rows = [(kind, _interval(one)) for kind, one in found.by_kind.items()]
        rows += [
            ("steered over unsteered", _interval(found.over_unsteered, "{:+.3f}")),
            ("steered over random", _interval(found.over_random, "{:+.3f}")),
            ("documents among themselves", f"{found.documents:.3f}"),
        ]
        show.table(
            ("texts", "cosine [95%]"),
            rows,
            title=f"similarity to {found.n_documents} documents of {found.against}, "
            f"alpha {found.alpha:g}, by {found.embedding}",
        )
        _say_where(work)


@options_from(
    **_measured, given=options_of(CausalArguments, leave_out=_NOT_OWN, names=_CAUSAL_NAMES)
)
def causal(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Say what texts cost the finetuned model with the difference's component changed."""
    with _work(where, "causal", pair) as work:
        layer = _measure(work, measure)
        arguments = _arguments(CausalArguments, given, measure, layer)
        found = _run(work, CAUSAL_EFFECT, arguments, CausalEffectMeasured)
        if json:
            _print(work, found)
            return
        show.table(
            ("text", "change", "at", "base", "left", "effect [95%]", "random", "p"),
            [
                (
                    one.corpus,
                    one.change,
                    one.positions,
                    f"{one.base:.3f}",
                    f"{one.left:.3f}",
                    _interval(one.effect, "{:+.4f}"),
                    f"{min(one.random):+.4f} to {max(one.random):+.4f}",
                    "" if one.p_value is None else f"{one.p_value:.3f}",
                )
                for one in found.effects
            ],
            title="rise of cross-entropy in nats per token",
        )
        _say_where(work)


# --- parts ----------------------------------------------------------------------------------------


@contextmanager
def _work(where: SessionOptions, command: str, pair: PairArguments) -> Iterator[Work]:
    subject = Path(pair.organism or pair.adapter or pair.finetuned or "").name
    name = where.name or f"{command} {subject}".strip()
    with working_session(where.database, where.session, name) as work:
        work.run(LOAD, pair)
        say_mismatches(work)
        yield work


def _measure(work: Work, measure: MeasureArguments) -> int:
    """Measure, or take it from the cache. Raises ``BadParameter`` for several layers."""
    if len(measure.layers) > 1:
        raise typer.BadParameter("--layer may be given once here: one layer is looked at")
    layers: list[int] = work.run(MEASURE, measure).summary["layers"]
    return layers[0]


def _run(work: Work, operation: Operation[Any], arguments: Arguments, kind: type[Body]) -> Body:
    """Run a measure; what it found, as it may be seen."""
    done = work.run(operation, arguments)
    return next(
        one.body
        for one in reversed(list(work.shown.measures))
        if one.operation_id == done.operation_id and isinstance(one.body, kind)
    )


def _print(work: Work, found: BaseModel) -> None:
    print_json(
        {
            "session": work.session.id,
            "database": str(work.session.log.path),
            **found.model_dump(mode="json"),
        }
    )


def _arguments(
    arguments: type[A], given: Given, measure: MeasureArguments, layer: int, **more: Any
) -> A:
    shared = shared_with(arguments, measure)
    return made(arguments, {**given, **shared, "layer": str(layer), **more}, **_CAUSAL_NAMES)


def _interval(found: Estimate | None, form: str = "{:.3f}") -> str:
    if found is None:
        return show.NOT_COMPUTED
    value, low, high = (form.format(one) for one in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _say_where(work: Work) -> None:
    say(f"session {work.session.id} in {work.session.log.path}")
