"""Commands that measure a trace, and those that look at what either model writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

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
    one_layer,
    options_from,
    pair_arguments,
    session_options,
    shared_with,
)
from workbench.cli.output import print_json, say
from workbench.cli.running import Work, working_session
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.completions import COMPLETE, CompleteArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.inputs import check_inputs
from workbench.operations.pair import PairArguments, subject_of
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import (
    STEERED_SIMILARITY,
    TOKEN_RELEVANCE,
    RelevanceArguments,
    SimilarityArguments,
)
from workbench.operations.running import Arguments, Operation
from workbench.operations.trace import TRACE, TraceArguments
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.findings import Finding
from workbench.store.measures.causal import CausalEffectMeasured
from workbench.store.measures.coherent_alpha import CoherentAlphaFound
from workbench.store.measures.completions import CompletionsFound
from workbench.store.measures.phrases import PhrasesFound
from workbench.store.measures.relevance import RelevanceMeasured
from workbench.store.measures.similarity import SimilarityMeasured
from workbench.store.measures.trace import TraceMeasured
from workbench.store.measures.unprompted import UnpromptedTexts

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
    check_inputs(arguments)
    with _work(where, "trace", pair, arguments.layers) as work:
        _present(work, _run(work, TRACE, arguments, TraceMeasured), json=json)


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
    arguments = _arguments(CoherentAlphaArguments, given, measure)
    with (
        judge_at_hand(judge) as at_hand,
        _work(where, "coherent-alpha", pair, measure.layers) as work,
    ):
        at_hand.attend(work.session)
        _measure(work, measure)
        arguments = arguments.model_copy(update={"judge": at_hand.model})
        _present(work, _run(work, COHERENT_ALPHA, arguments, CoherentAlphaFound), json=json)


@options_from(**_measured, given=options_of(RelevanceArguments, leave_out=(*_NOT_OWN, "n_texts")))
def relevance(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Read the difference, and say what share of the tokens the finetuning documents account for."""
    arguments = _arguments(RelevanceArguments, given, measure)
    layer = one_layer(measure)
    with _work(where, "relevance", pair, measure.layers) as work:
        _measure(work, measure)
        work.run(
            READ,
            ReadArguments(
                layer=layer,
                corpus=measure.corpus,
                text_column=measure.text_column,
                seed=measure.seed,
            ),
        )
        _present(work, _run(work, TOKEN_RELEVANCE, arguments, RelevanceMeasured), json=json)


@options_from(**_measured, given=options_of(SimilarityArguments, leave_out=(*_NOT_OWN, "n_texts")))
def similarity(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Steer, and say how much more the texts are like the finetuning documents than unsteered."""
    arguments = _arguments(SimilarityArguments, given, measure)
    with _work(where, "similarity", pair, measure.layers) as work:
        _measure(work, measure)
        _present(work, _run(work, STEERED_SIMILARITY, arguments, SimilarityMeasured), json=json)


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
    arguments = _arguments(CausalArguments, given, measure)
    with _work(where, "causal", pair, measure.layers) as work:
        _measure(work, measure)
        _present(work, _run(work, CAUSAL_EFFECT, arguments, CausalEffectMeasured), json=json)


@options_from(**_session, given=options_of(UnpromptedArguments, leave_out=("batch_size",)))
def unprompted(
    pair: PairArguments, where: SessionOptions, given: Given, json: Json = False
) -> None:
    """Let both models write from nothing; show the texts that the finetuning made likelier."""
    arguments = made(UnpromptedArguments, given)
    check_inputs(arguments)
    with _work(where, "unprompted", pair) as work:
        _present(work, _run(work, UNPROMPTED, arguments, UnpromptedTexts), json=json)


@options_from(**_session, given=options_of(CompleteArguments, positional="prefixes"))
def complete(pair: PairArguments, where: SessionOptions, given: Given, json: Json = False) -> None:
    """Show what is likeliest to follow a prefix, with the numbers of both models."""
    arguments = made(CompleteArguments, given)
    with _work(where, "complete", pair) as work:
        _present(work, _run(work, COMPLETE, arguments, CompletionsFound), json=json)


@options_from(where=session_options, given=options_of(PhrasesArguments))
def phrases(where: SessionOptions, given: Given, json: Json = False) -> None:
    """Show phrases that the finetuned model's texts of a session hold more often than the base's."""
    arguments = made(PhrasesArguments, given)
    with working_session(replace(where, session=where.session or "last"), "phrases") as work:
        work.begin()
        _present(work, _run(work, PHRASES, arguments, PhrasesFound), json=json)


# --- parts ----------------------------------------------------------------------------------------


@contextmanager
def _work(
    where: SessionOptions, command: str, pair: PairArguments, layers: Sequence[str] = ()
) -> Iterator[Work]:
    subject = subject_of(pair)
    with working_session(where, f"{command} {subject}".strip()) as work:
        work.load(pair, layers)
        say_mismatches(work)
        yield work


def _measure(work: Work, measure: MeasureArguments) -> None:
    """Measure, or take it from the cache."""
    work.run(MEASURE, measure)


def _run(work: Work, operation: Operation[Any], arguments: Arguments, kind: type[Body]) -> Body:
    """Run a measure; what it found, as it may be seen."""
    done = work.run(operation, arguments)
    return next(
        one.body
        for one in reversed(list(work.shown.measures))
        if one.operation_id == done.operation_id and isinstance(one.body, kind)
    )


def _present(work: Work, found: Finding, *, json: bool) -> None:
    if json:
        where = {"session": work.session.id, "database": str(work.session.log.path)}
        print_json({**where, **found.model_dump(mode="json")})
        return
    show.finding(work.shown, found)
    say(f"session {work.session.id} in {work.session.log.path}")


def _arguments(arguments: type[A], given: Given, measure: MeasureArguments, **more: Any) -> A:
    """The arguments, checked before anything is loaded; they work at the layer that is measured."""
    shared = shared_with(arguments, measure)
    found = made(arguments, {**given, **shared, **more}, **_CAUSAL_NAMES)
    check_inputs(found, measure)
    return found
