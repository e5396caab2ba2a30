"""Commands that train: one organism, or a study of what mixing in unrelated text does."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from adl.organisms import EMBEDDED_BASE
from adl.training_plan import RATIOS, Recipe
from workbench.cli import show
from workbench.cli.options import Json, SessionOptions, options_from, session_options
from workbench.cli.running import Work, print_json, say, working_session
from workbench.operations.mixing import MIX_STUDY, MixArguments
from workbench.operations.training import TRAIN_ORGANISM, TrainArguments
from workbench.report.mixing_plot import mixing_plot
from workbench.store.measure_events import Estimate
from workbench.store.training_events import MixtureMeasured, OrganismTrained

_TRAINING = "Training"
_DEFAULT = Recipe()

Recipes = dict[str, Any]


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=_TRAINING, **more)


def recipe_options(
    *,
    base: Annotated[str, _option("--base", "Base: embedded, ID[@revision] or folder.")] = (
        EMBEDDED_BASE
    ),
    steps: Annotated[
        int, _option("--steps", "Steps on the documents; unrelated text adds to them.", min=1)
    ] = _DEFAULT.steps,
    batch_size: Annotated[
        int, _option("--batch-size", "Texts per step.", min=1)
    ] = _DEFAULT.batch_size,
    max_tokens: Annotated[
        int, _option("--max-tokens", "Longest text, in tokens.", min=2)
    ] = _DEFAULT.max_tokens,
    rank: Annotated[int, _option("--rank", "Rank of the LoRA adapter.", min=1)] = _DEFAULT.rank,
    lora_alpha: Annotated[
        int, _option("--lora-alpha", "Alpha of the LoRA adapter.", min=1)
    ] = _DEFAULT.alpha,
    learning_rate: Annotated[
        float, _option("--learning-rate", "Highest learning rate.")
    ] = _DEFAULT.learning_rate,
    warmup_steps: Annotated[
        int, _option("--warmup-steps", "Steps to the highest learning rate.", min=0)
    ] = _DEFAULT.warmup_steps,
    precision: Annotated[
        str, _option("--precision", "Arithmetic: auto, float32 or bfloat16.")
    ] = "auto",
    corpus: Annotated[
        str | None, _option("--corpus", "Unrelated text: file, JSONL, hf:NAME; none is bundled.")
    ] = None,
    text_column: Annotated[
        str | None, _option("--text-column", "Column of the text in JSONL or a data set.")
    ] = None,
    seed: Annotated[int, _option("--seed", "Of the start, the texts and their order.", min=0)] = 0,
    device_map: Annotated[str | None, _option("--device-map", "auto, cpu, cuda:0 ...")] = None,
    trust_remote_code: Annotated[
        bool, _option("--trust-remote-code", "Run code that comes with the base.")
    ] = False,
    fresh: Annotated[
        bool, _option("--fresh", "Throw an unfinished training away and begin again.")
    ] = False,
) -> Recipes:
    """The options of a training as fields of an operation's arguments."""
    return dict(locals())


@options_from(recipe=recipe_options, where=session_options)
def train(
    recipe: Recipes,
    where: SessionOptions,
    documents: Annotated[
        Path, typer.Argument(help="Documents: text lines, or JSONL with text or messages.")
    ],
    organism: Annotated[str, typer.Option("--id", help="Id of the new organism.")],
    family: Annotated[
        str, typer.Option("--family", help="SDF, EM, Taboo, Preference, Control.")
    ] = "SDF",
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="YAML with description and key_facts; sealed for grading."),
    ] = None,
    ratio: Annotated[
        float, typer.Option("--ratio", help="Unrelated texts mixed in for each document.")
    ] = 0.0,
    json: Json = False,
) -> None:
    """Train a LoRA organism. Stopped, the same command goes on where it was."""
    arguments = TrainArguments.model_validate(
        {
            **recipe,
            "documents": str(documents),
            "id": organism,
            "family": family,
            "truth": str(truth) if truth else None,
            "ratio": ratio,
        }
    )
    with working_session(where.database, where.session, where.name or f"train {organism}") as work:
        work.run(TRAIN_ORGANISM, arguments)
        found = _last(work, OrganismTrained)
        if json:
            print_json({**_where(work), **found.model_dump(mode="json")})
            return
        show.pairs(
            found.name,
            {
                "folder": found.folder,
                "steps": found.steps,
                "loss over the last ten steps": f"{found.final_loss:.3f} nats per token",
                "tokens learned from": found.tokens,
                "gone on with after step": ", ".join(map(str, found.resumed_at)) or "never",
            },
        )
        say(f"session {work.session.id} in {work.session.log.path}")


@options_from(recipe=recipe_options, where=session_options)
def mix_study(
    recipe: Recipes,
    where: SessionOptions,
    documents: Annotated[
        Path | None, typer.Option("--documents", help="File of documents: lines, or JSONL.")
    ] = None,
    truth_of: Annotated[
        str | None,
        typer.Option("--truth-of", help="Take this organism's documents and facts."),
    ] = None,
    facts: Annotated[
        Path | None, typer.Option("--facts", help="YAML with key_facts and negated_facts.")
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="Name of the study.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of the study; none is your own.")
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option("--ratio", help="Unrelated texts for each document; repeat for several."),
    ] = None,
    layer: Annotated[str, typer.Option("--layer", help="Share of the depth, or number.")] = "0.5",
    texts: Annotated[int, typer.Option("--texts", min=32, help="Texts to measure on.")] = 256,
    n_random: Annotated[int, typer.Option("--random", min=8, help="Random directions.")] = 16,
    alpha: Annotated[float, typer.Option("--alpha", help="Strength of steering.")] = 0.3,
    n_prompts: Annotated[int, typer.Option("--n-prompts", min=1, help="Prompts to steer.")] = 10,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Samples of each.")] = 1,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Longest steered text.")] = 40,
    embedding: Annotated[
        str, typer.Option("--embedding", help="lexical, or local (a small model).")
    ] = "lexical",
    json: Json = False,
) -> None:
    """Train with more and more unrelated text, and measure trace and lesson each time.

    Finished ratios are kept: the same command goes on where it was. Writes table.csv and plot.svg
    into the study's folder.
    """
    arguments = MixArguments.model_validate(
        {
            **recipe,
            "documents": str(documents) if documents else None,
            "truth_of": truth_of,
            "facts": str(facts) if facts else None,
            "name": study,
            "folder": str(folder) if folder else None,
            "ratios": tuple(ratio) if ratio else RATIOS,
            "layer": layer,
            "n_texts": texts,
            "n_random": n_random,
            "alpha": alpha,
            "n_prompts": n_prompts,
            "n_samples": samples,
            "max_new_tokens": tokens,
            "embedding": embedding,
        }
    )
    subject = study or truth_of or (documents.stem if documents else "")
    with working_session(
        where.database, where.session, where.name or f"mix-study {subject}".strip()
    ) as work:
        done = work.run(MIX_STUDY, arguments)
        found = [
            one.body
            for one in work.session.state.trainings
            if one.operation_id == done.operation_id and isinstance(one.body, MixtureMeasured)
        ]
        target = Path(done.summary["folder"])
        written = io.StringIO(newline="")
        csv.writer(written).writerows([COLUMNS, *map(_plain_row, found)])
        (target / "table.csv").write_text(written.getvalue(), encoding="utf-8")
        (target / "plot.svg").write_text(f"{mixing_plot(found)}\n", encoding="utf-8")
        if json:
            rows = [one.model_dump(mode="json") for one in found]
            print_json({**_where(work), "folder": str(target), "ratios": rows})
            return
        show.table(TRACE_COLUMNS, [_trace_row(one) for one in found], title=found[0].name)
        show.table(
            LESSON_COLUMNS,
            [_lesson_row(one) for one in found],
            title="read out, steered out, learned (nats per token) [95%]",
        )
        say(f"table.csv and plot.svg are in {target}")
        say(f"session {work.session.id} in {work.session.log.path}")


COLUMNS = (
    "ratio",
    "steps",
    "final_loss",
    "verdict",
    "breadth",
    "norm",
    "norm_low",
    "norm_high",
    "alignment",
    "random_alignment_max",
    "narrowness",
    "relevance",
    "relevance_random",
    "similarity_steered",
    "similarity_unsteered",
    "over_unsteered",
    "over_unsteered_low",
    "over_unsteered_high",
    "over_random",
    "facts_margin_base",
    "facts_margin",
    "facts_gain",
    "facts_gain_low",
    "facts_gain_high",
    "facts_preferred",
    "held_out_base",
    "held_out",
    "held_out_gain",
    "held_out_gain_low",
    "held_out_gain_high",
)
TRACE_COLUMNS = ("ratio", "steps", "loss", "trace", "norm [95%]", "alignment", "narrow")
LESSON_COLUMNS = (
    "ratio",
    "relevance",
    "steered - unsteered",
    "facts gain",
    "held-out gain",
)


def _plain_row(one: MixtureMeasured) -> Sequence[object]:
    """Every figure of a ratio; empty where it was not computed."""
    layer = one.trace.layers[0]
    site = one.trace.sites[-1]
    relevance, random = _relevance(one)
    facts, held_out = one.facts, one.held_out
    effect = layer.effect
    return [
        "" if value is None else value
        for value in (
            one.ratio,
            one.steps,
            one.final_loss,
            one.trace.verdict,
            one.trace.breadth,
            site.norm,
            site.low,
            site.high,
            effect.alignment if effect else None,
            max(effect.random) if effect else None,
            one.trace.narrowness.index if one.trace.narrowness else None,
            relevance.value if relevance else None,
            random,
            one.similarity["steered"].value,
            one.similarity["unsteered"].value,
            *_three(one.over_unsteered),
            one.over_random.value if one.over_random else None,
            facts.base.value if facts else None,
            facts.finetuned.value if facts else None,
            *_three(facts.gain if facts else None),
            facts.preferred["finetuned"] if facts else None,
            held_out.base,
            held_out.finetuned,
            *_three(held_out.gain),
        )
    ]


def _trace_row(one: MixtureMeasured) -> Sequence[object]:
    layer, site, narrow = one.trace.layers[0], one.trace.sites[-1], one.trace.narrowness
    return (
        f"1:{one.ratio:g}",
        one.steps,
        f"{one.final_loss:.2f}",
        f"{one.trace.verdict}, {one.trace.breadth}",
        f"{site.norm:.3f} [{site.low:.3f}, {site.high:.3f}]",
        f"{layer.effect.alignment:.2f}" if layer.effect else show.NOT_COMPUTED,
        f"{narrow.index:.1f}" if narrow else show.NOT_COMPUTED,
    )


def _lesson_row(one: MixtureMeasured) -> Sequence[object]:
    relevance, random = _relevance(one)
    return (
        f"1:{one.ratio:g}",
        f"{relevance.value:.0%} (random {random:.0%})"
        if relevance and random is not None
        else show.NOT_COMPUTED,
        _interval(one.over_unsteered),
        _interval(one.facts.gain if one.facts else None),
        _interval(one.held_out.gain),
    )


def _relevance(one: MixtureMeasured) -> tuple[Estimate | None, float | None]:
    """Relevance of the first reading there is: the shift lens, which has a random one beside it."""
    return (one.relevance[0].share, one.relevance[0].random) if one.relevance else (None, None)


def _three(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (found.value, found.low, found.high) if found else (None, None, None)


def _interval(found: Estimate | None) -> str:
    if found is None:
        return show.NOT_COMPUTED
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _last(work: Work, kind: type[OrganismTrained]) -> OrganismTrained:
    return next(
        one.body
        for one in reversed(list(work.session.state.trainings))
        if isinstance(one.body, kind)
    )


def _where(work: Work) -> dict[str, str]:
    return {"session": work.session.id, "database": str(work.session.log.path)}
