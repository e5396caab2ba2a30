"""Commands that work on a pair: audit, diff, read, steer, ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from adl.readings import READINGS, Reading
from adl.records import POOLED, Side
from workbench.cli import show
from workbench.cli.judging import JudgeOption, judge_at_hand
from workbench.cli.mismatch import say_mismatches
from workbench.cli.options import (
    Json,
    Position,
    SessionOptions,
    measure_arguments,
    options_from,
    pair_arguments,
    session_options,
)
from workbench.cli.running import Work, print_json, say, working_session
from workbench.operations.generating import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.measuring import MEASURE, MeasureArguments
from workbench.operations.pairs import LOAD, PairArguments
from workbench.operations.reading import READ, ReadArguments
from workbench.operations.running import Summary

Alphas = Annotated[
    list[float] | None,
    typer.Option("--alpha", help="Strength in residual norms; repeat for several, 0 is unsteered."),
]
PromptFile = Annotated[
    Path | None, typer.Option("--prompts", help="File of prompts: lines, or JSONL.")
]
Prompts = Annotated[list[str] | None, typer.Option("--prompt", help="A prompt; may be repeated.")]
NPrompts = Annotated[int | None, typer.Option("--n-prompts", min=1, help="Use so many prompts.")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Samples of each.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, help="Longest text, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy.")]
SideOption = Annotated[Side, typer.Option("--side", help="Which model generates.")]
Source = Annotated[str, typer.Option("--source", help="difference, or a null: random, split_half.")]

Blind = Annotated[bool, typer.Option("--blind", help="Hide every name of the pair.")]

common = options_from(pair=pair_arguments, measure=measure_arguments, where=session_options)


@common
def audit(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    n_prompts: NPrompts = None,
    prompts: PromptFile = None,
    tokens: Tokens = 40,
    judge: JudgeOption = None,
    blind: Blind = False,
    json: Json = False,
) -> None:
    """Measure, read and steer in one go, and keep it all in a session."""
    with judge_at_hand(judge) as at_hand, _work(where, "audit", pair, blind=blind) as work:
        at_hand.attend(work.session)
        _load(work, pair)
        layers = work.run(MEASURE, measure).summary["layers"]
        for layer in layers:
            work.run(READ, _read_arguments(measure, layer, judge=at_hand.model))
        steered = work.run(
            STEER,
            SteerArguments(
                layer=str(layers[0]),
                seed=measure.seed,
                n_prompts=n_prompts,
                prompt_file=str(prompts) if prompts else None,
                max_new_tokens=tokens,
            ),
        )
        state = work.shown
        text_ids: list[str] = steered.summary["texts"]
        if json:
            print_json(
                _data(
                    work,
                    readings=show.reading_data(state, layers),
                    texts=show.text_data(state, text_ids),
                )
            )
            return
        show.readings(state, layers)
        show.texts(state, text_ids)
        _say_where(work)


@common
def diff(
    pair: PairArguments, measure: MeasureArguments, where: SessionOptions, json: Json = False
) -> None:
    """Measure the mean activation difference on unrelated text."""
    with _work(where, "diff", pair) as work:
        _load(work, pair)
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
                        f"{site[name]:.4g}"
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
            title=f"difference over {data['n_texts']} texts ({_left_out(data)})",
        )
        _say_where(work)


@common
def read(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    reading: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(READINGS)}; all by default.")
    ] = None,
    position: Position = POOLED,
    top: Annotated[int, typer.Option("--top", min=1, help="Tokens kept of each list.")] = 100,
    judge: JudgeOption = None,
    json: Json = False,
) -> None:
    """Read the difference as tokens, each list beside its nulls."""
    wanted = _readings(reading)
    with judge_at_hand(judge) as at_hand, _work(where, "read", pair) as work:
        at_hand.attend(work.session)
        _load(work, pair)
        layers = _measure_if_needed(work, measure)
        for layer in layers:
            work.run(READ, _read_arguments(measure, layer, wanted, top, at_hand.model))
        state = work.shown
        if json:
            print_json(_data(work, readings=show.reading_data(state, layers, wanted, position)))
            return
        show.readings(state, layers, wanted, position)
        _say_where(work)


@common
def steer(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    alpha: Alphas = None,
    prompt: Prompts = None,
    prompts: PromptFile = None,
    n_prompts: NPrompts = None,
    position: Position = POOLED,
    side: SideOption = "finetuned",
    source: Source = "difference",
    samples: Samples = 1,
    temperature: Temperature = 1.1,
    tokens: Tokens = 60,
    json: Json = False,
) -> None:
    """Generate with the difference added, beside the same without."""
    arguments = SteerArguments.model_validate(
        {
            "prompts": tuple(prompt or ()),
            "prompt_file": str(prompts) if prompts else None,
            "n_prompts": n_prompts,
            "alphas": tuple(alpha or ()),
            "layer": _one_layer(measure),
            "position": position,
            "side": side,
            "source": source,
            "n_samples": samples,
            "seed": measure.seed,
            "temperature": temperature,
            "max_new_tokens": tokens,
        }
    )
    with _work(where, "steer", pair) as work:
        _load(work, pair)
        _measure_if_needed(work, measure)
        text_ids = work.run(STEER, arguments).summary["texts"]
        _show_texts(work, text_ids, json)


@common
def ask(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    prompt: Annotated[str | None, typer.Argument(help="What to ask both models.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="System turn.")] = None,
    prefill: Annotated[str, typer.Option("--prefill", help="Begins the answer.")] = "",
    raw: Annotated[str | None, typer.Option("--raw", help="Plain text, no chat template.")] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Steer the answers; 0 does not.")] = 0.0,
    position: Position = POOLED,
    samples: Samples = 1,
    temperature: Temperature = 1.0,
    tokens: Tokens = 120,
    json: Json = False,
) -> None:
    """Put the same question to base and finetuned model, and compare the answers."""
    arguments = AskArguments.model_validate(
        {
            "prompt": prompt,
            "system": system,
            "prefill": prefill,
            "raw": raw,
            "alpha": alpha,
            "layer": _one_layer(measure),
            "position": position,
            "n_samples": samples,
            "seed": measure.seed,
            "temperature": temperature,
            "max_new_tokens": tokens,
        }
    )
    with _work(where, "ask", pair) as work:
        _load(work, pair)
        if alpha:
            _measure_if_needed(work, measure)
        found: dict[str, list[str]] = work.run(ASK, arguments).summary["texts"]
        text_ids = [text_id for ids in zip(*found.values(), strict=True) for text_id in ids]
        # A session that was gone on with has comparisons of other questions, too.
        compared = [
            one.body
            for one in work.shown.comparisons
            if one.body.finetuned_text in found["finetuned"]
        ]
        if json:
            print_json(
                _data(
                    work,
                    texts=show.text_data(work.shown, text_ids),
                    comparisons=[one.model_dump(mode="json") for one in compared],
                )
            )
            return
        show.texts(work.shown, text_ids)
        for one in compared:
            show.comparison(one)
        _say_where(work)


# --- parts ----------------------------------------------------------------------------------------


def _work(where: SessionOptions, command: str, pair: PairArguments, *, blind: bool = False) -> Any:
    subject = "" if blind else pair.organism or pair.adapter or pair.finetuned or ""
    name = where.name or f"{command} {Path(subject).name}".strip()
    return working_session(where.database, where.session, name, pair if blind else None)


def _load(work: Work, pair: PairArguments) -> None:
    work.run(LOAD, pair)
    say_mismatches(work)


def _measure_if_needed(work: Work, measure: MeasureArguments) -> list[int]:
    """Measure, or take it from the cache: either way the session says what was read.

    Returns the layers by number, each once.
    """
    layers: list[int] = work.run(MEASURE, measure).summary["layers"]
    return layers


def _one_layer(measure: MeasureArguments) -> str:
    """The layer to steer at. Raises ``BadParameter`` for several: all but one would be ignored."""
    if len(measure.layers) > 1:
        raise typer.BadParameter("--layer may be given once here: there is one layer to steer at")
    return measure.layers[0]


def _read_arguments(
    measure: MeasureArguments,
    layer: int,
    readings: tuple[Reading, ...] = READINGS,
    top: int = 100,
    judge: str | None = None,
) -> ReadArguments:
    return ReadArguments(
        readings=readings,
        layer=str(layer),
        top=top,
        corpus=measure.corpus,
        text_column=measure.text_column,
        seed=measure.seed,
        judge=judge,
    )


def _readings(names: list[str] | None) -> tuple[Reading, ...]:
    given = [name.replace("-", "_") for name in names or READINGS]
    unknown = [name for name in given if name not in READINGS]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is not a reading; there are: {', '.join(READINGS)}"
        )
    return tuple(reading for reading in READINGS if reading in given)


def _data(work: Work, **found: Any) -> dict[str, Any]:
    """What every ``--json`` answer has, and what this one found."""
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


def _left_out(data: Mapping[str, Any]) -> str:
    unaligned = data.get("n_unaligned", 0)
    said = f"{data['n_skipped'] - unaligned} too short"
    return f"{said}, {unaligned} cut otherwise by either side" if unaligned else said


def _show_texts(work: Work, text_ids: list[str], json: bool) -> None:
    state = work.shown
    if json:
        print_json(_data(work, texts=show.text_data(state, text_ids)))
        return
    show.texts(state, text_ids)
    _say_where(work)


def _say_where(work: Work) -> None:
    say(f"session {work.session.id} in {work.session.log.path}")
