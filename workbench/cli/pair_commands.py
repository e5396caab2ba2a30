"""Commands that work on a pair: audit, diff, read, steer, ask."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer

from adl import errors
from adl.errors import AdlError
from adl.pair.protocol import ALL_LAYERS, named_layers, resolve_layers
from adl.readings.registry import READINGS
from adl.records import DEFAULT_LAYER, POOLED
from adl.words import plain_number
from workbench.cli import show
from workbench.cli.derived import Given, made, options_of
from workbench.cli.judging import JudgeOption, judge_at_hand
from workbench.cli.mismatch import say_mismatches
from workbench.cli.options import (
    SHARED,
    Json,
    Position,
    SessionOptions,
    measure_arguments,
    named_readings,
    options_from,
    pair_arguments,
    shared_with,
    working_options,
)
from workbench.cli.output import print_json, say
from workbench.cli.running import Work, default_name, working_session
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.inputs import check_inputs
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation, Summary
from workbench.store.against_nulls import leading_layer
from workbench.store.events import texts_left_out
from workbench.store.kl_reference import kl_reference

_AUDIT_FIELDS = ("n_prompts", "prompt_file", "max_new_tokens", "thinking")
#: Fields of no option: the measurement's options give them, or they only fit the machine.
_NOT_OWN = (*SHARED, "batch_size")

Blind = Annotated[bool, typer.Option("--blind", help="Hide every name of the pair from you.")]

#: Tokens of an audit's steered texts: fewer than of `steer`, as there are many texts.
AUDIT_TOKENS = 40

common: dict[str, Any] = {
    "pair": pair_arguments,
    "measure": measure_arguments,
    "where": working_options,
}
_steered = [name for name in SteerArguments.model_fields if name not in _AUDIT_FIELDS]


@options_from(**common, given=options_of(SteerArguments, leave_out=_steered))
def audit(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    judge: JudgeOption = None,
    blind: Blind = False,
    json: Json = False,
) -> None:
    """Measure, read and steer in one go, and keep it all in a session."""
    shared = {"max_new_tokens": AUDIT_TOKENS, **given, "seed": measure.seed}
    steering = made(SteerArguments, {**shared, "layer": DEFAULT_LAYER})
    check_inputs(measure, steering, is_new=where.session is None)
    layers: Sequence[str | int] = named_layers(measure.layers)
    with judge_at_hand(judge) as at_hand, _work(where, "audit", pair, blind=blind) as work:
        planned: list[tuple[Operation[Any], Arguments]] = [(LOAD, pair)]
        if ALL_LAYERS in layers:
            # How many there are is known once the pair is loaded.
            load(work, pair, measure)
            n_layers = work.n_layers
            planned, layers = [], resolve_layers(layers, n_layers)
        planned += [(MEASURE, measure)]
        planned += [(READ, _read_arguments(measure, str(layer))) for layer in layers]
        planned += [(STEER, steering)]
        with work.as_one("audit", planned):
            if not work.is_begun:
                load(work, pair, measure)
            at_hand.attend(work.session)
            measured: list[int] = work.run(MEASURE, measure).summary["layers"]
            for layer in measured:
                _read(work, _read_arguments(measure, str(layer), judge=at_hand.model))
            steered_at = leading_layer(work.session.state.readings, measured)
            steered = work.run(STEER, made(SteerArguments, {**shared, "layer": str(steered_at)}))
        state = work.shown
        text_ids: list[str] = steered.summary["texts"]
        if json:
            print_json(
                _data(
                    work,
                    readings=show.reading_data(state, measured),
                    failed_readings=show.failed_data(state, measured),
                    texts=show.text_data(state, text_ids),
                )
            )
            return
        show.readings(state, measured)
        show.layers(state)
        show.texts(state, text_ids)
        _say_where(work)


@options_from(**common)
def diff(
    pair: PairArguments, measure: MeasureArguments, where: SessionOptions, json: Json = False
) -> None:
    """Measure the mean activation difference on unrelated text."""
    check_inputs(measure)
    with _work(where, "diff", pair) as work:
        load(work, pair, measure)
        summary = work.run(MEASURE, measure).summary
        data = _difference_data(work, summary)
        if json:
            print_json(_data(work, difference=data))
            return
        columns = (
            "layer",
            "position",
            "norm",
            "standard error",
            "base norm",
            "finetuned norm",
            "halves' cosine",
        )
        show.table(
            columns,
            [
                (
                    site["layer"],
                    site["position"],
                    *(
                        plain_number(site[name], 4)
                        for name in (
                            "norm",
                            "standard_error",
                            "base_norm",
                            "finetuned_norm",
                            "half_cosine",
                        )
                    ),
                )
                for site in data["sites"]
            ],
            title=f"difference over {data['n_texts']} texts"
            f" ({texts_left_out(data['n_skipped'], data.get('n_unaligned', 0))})",
        )
        _say_where(work)


@options_from(
    **common, given=options_of(ReadArguments, leave_out=(*_NOT_OWN, "readings", "n_texts", "judge"))
)
def read(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    reading: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(READINGS)}; all by default.")
    ] = None,
    position: Position = POOLED,
    judge: JudgeOption = None,
    json: Json = False,
) -> None:
    """Read the difference as tokens, each list beside its nulls."""
    wanted = named_readings(reading or READINGS)
    check_inputs(measure)
    with judge_at_hand(judge) as at_hand, _work(where, "read", pair) as work:
        load(work, pair, measure)
        at_hand.attend(work.session)
        layers = _measure_if_needed(work, measure)
        for layer in layers:
            _read(
                work,
                _read_arguments(measure, str(layer), readings=wanted, judge=at_hand.model, **given),
            )
        state = work.shown
        failed = show.failed_data(state, layers, wanted)
        found = show.reading_data(state, layers, wanted, position)
        if failed and not found:
            kind = getattr(errors, failed[0]["error"], AdlError)
            raise kind(f"no reading was computed: {failed[0]['why']}")
        if json:
            print_json(_data(work, readings=found, failed_readings=failed))
            return
        show.readings(state, layers, wanted, position)
        _say_where(work)


@options_from(**common, given=options_of(SteerArguments, leave_out=_NOT_OWN))
def steer(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Generate with the difference added, beside the same without."""
    arguments = made(SteerArguments, {**given, **shared_with(SteerArguments, measure)})
    check_inputs(measure, arguments, is_new=where.session is None)
    with _work(where, "steer", pair) as work:
        load(work, pair, measure)
        _measure_if_needed(work, measure)
        text_ids = work.run(STEER, arguments).summary["texts"]
        _show_texts(work, text_ids, json)


@options_from(
    **common,
    given=options_of(
        AskArguments, leave_out=_NOT_OWN, positional="prompt", names={"prompt": "question"}
    ),
)
def ask(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    given: Given,
    json: Json = False,
) -> None:
    """Put the same question to base and finetuned model, and compare the answers."""
    arguments = made(AskArguments, {**given, **shared_with(AskArguments, measure)})
    arguments.question()  # refused here where it is empty
    check_inputs(measure, arguments, is_new=where.session is None)
    with _work(where, "ask", pair) as work:
        load(work, pair, measure)
        if arguments.alpha:
            _measure_if_needed(work, measure)
        found: dict[str, list[str]] = work.run(ASK, arguments).summary["texts"]
        text_ids = [text_id for ids in zip(*found.values(), strict=True) for text_id in ids]
        # A session that was gone on with has comparisons of other questions, too.
        compared = [
            recorded.body
            for recorded in work.shown.comparisons
            if recorded.body.finetuned_text in found.get("finetuned", ())
        ]
        if json:
            print_json(
                _data(
                    work,
                    texts=show.text_data(work.shown, text_ids),
                    comparisons=[comparison.model_dump(mode="json") for comparison in compared],
                )
            )
            return
        _print_texts(work, text_ids)
        for comparison in compared:
            show.comparison(comparison, kl_reference(work.shown))
        _say_where(work)


# --- parts ----------------------------------------------------------------------------------------


def _work(
    where: SessionOptions, command: str, pair: PairArguments, *, blind: bool = False
) -> AbstractContextManager[Work]:
    return working_session(where, default_name(command, pair, blind=blind), blind=blind)


def load(work: Work, pair: PairArguments, measure: MeasureArguments | None = None) -> None:
    """Load the pair, which must have the layers that are to be measured, and tell what differs."""
    work.load(pair, () if measure is None else measure.layers)
    say_mismatches(work)


def _measure_if_needed(work: Work, measure: MeasureArguments) -> list[int]:
    """Measure, or take it from the cache: either way the session says what was read.

    Returns the layers by number, each once.
    """
    layers: list[int] = work.run(MEASURE, measure).summary["layers"]
    return layers


def _read(work: Work, arguments: ReadArguments) -> None:
    """Read; report each reading that failed and go on with the others."""
    summary = work.run(READ, arguments).summary
    for reading, why in summary.get("failed", {}).items():
        say(f"note: {reading.replace('_', ' ')} was not computed: {why}")


def _read_arguments(measure: MeasureArguments, layer: str, **given: Any) -> ReadArguments:
    # The contexts are few, so the texts they are taken from need not be all that are measured on.
    shared = {name: getattr(measure, name) for name in SHARED if name != "layer"}
    return made(ReadArguments, {**given, **shared, "layer": layer})


def _data(work: Work, **found: Any) -> dict[str, Any]:
    """Return a ``--json`` answer: the session, its database and ``found``."""
    return {"session": work.session.id, "database": str(work.session.log.path), **found}


def _difference_data(work: Work, summary: Summary) -> dict[str, Any]:
    found = work.session.difference()
    assert found is not None
    _, difference = found
    sites = [
        {
            "layer": layer,
            "position": position,
            "norm": float((difference.difference[row, column] ** 2).sum() ** 0.5),
            "standard_error": float(difference.standard_error[row, column]),
            "base_norm": float(difference.base_norm[row, column]),
            "finetuned_norm": float(difference.finetuned_norm[row, column]),
            "half_cosine": float(difference.half_cosine[row, column]),
            "cosine": difference.cosine[row, column].tolist(),
        }
        for row, layer in enumerate(difference.layers)
        for column, position in enumerate(difference.positions)
    ]
    return {**summary, "sites": sites}


def _show_texts(work: Work, text_ids: list[str], json: bool) -> None:
    state = work.shown
    if json:
        print_json(_data(work, texts=show.text_data(state, text_ids)))
        return
    _print_texts(work, text_ids)
    _say_where(work)


def _print_texts(work: Work, text_ids: Sequence[str]) -> None:
    """Print texts under their prompts; a single one is printed by itself, for a script to take."""
    if len(text_ids) == 1:
        show.paragraph(work.shown.texts[text_ids[0]].text)
    else:
        show.texts(work.shown, text_ids)


def _say_where(work: Work) -> None:
    say(f"session {work.session.id} in {work.session.log.path}")
