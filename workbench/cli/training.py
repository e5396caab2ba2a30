"""Commands that train: one organism, or a study of what mixing in unrelated text does."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from adl.words import plain_number
from workbench.cli import show
from workbench.cli.derived import Given, made, options_of
from workbench.cli.options import Json, SessionOptions, options_from, session_options
from workbench.cli.output import print_json, say
from workbench.cli.running import Work, working_session
from workbench.operations.inputs import check_inputs
from workbench.operations.mixing import MIX_STUDY, MixArguments
from workbench.operations.training import TRAIN_ORGANISM, RecipeArguments, TrainArguments
from workbench.private_files import new_text
from workbench.report.mixing_plot import mixing_plot
from workbench.store.findings import Estimate
from workbench.store.training_events import MixtureMeasured, OrganismTrained

_TRAINING = dict.fromkeys(RecipeArguments.model_fields, "Training")
_TRAIN_NAMES = {"max_tokens": "max-tokens"}
_MIX_NAMES = {**_TRAIN_NAMES, "name": "study"}


@options_from(
    given=options_of(TrainArguments, positional="documents", names=_TRAIN_NAMES, panels=_TRAINING),
    where=session_options,
)
def train(given: Given, where: SessionOptions, json: Json = False) -> None:
    """Train a LoRA organism. Stopped, the same command goes on where it was."""
    arguments = made(TrainArguments, given, **_TRAIN_NAMES)
    check_inputs(arguments)
    with working_session(where, f"train {arguments.id}") as work:
        work.begin()
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


@options_from(
    given=options_of(MixArguments, leave_out=("temperature",), names=_MIX_NAMES, panels=_TRAINING),
    where=session_options,
)
def mix_study(given: Given, where: SessionOptions, json: Json = False) -> None:
    """Train with more and more unrelated text, and measure trace and lesson each time.

    Finished ratios are kept: the same command goes on where it was. Writes table.csv and plot.svg
    into the study's folder.
    """
    arguments = made(MixArguments, given, **_MIX_NAMES)
    documents = Path(arguments.documents).stem if arguments.documents else ""
    subject = arguments.name or arguments.truth_of or documents
    check_inputs(arguments)
    with working_session(where, f"mix-study {subject}".strip()) as work:
        work.begin()
        done = work.run(MIX_STUDY, arguments)
        found = [
            recorded.body
            for recorded in work.session.state.trainings
            if recorded.operation_id == done.operation_id
            and isinstance(recorded.body, MixtureMeasured)
        ]
        target = Path(done.summary["folder"])
        written = io.StringIO(newline="")
        csv.writer(written).writerows([COLUMNS, *map(_plain_row, found)])
        plotted = f"{mixing_plot(found)}\n"
        for name, text in (("table.csv", written.getvalue()), ("plot.svg", plotted)):
            with new_text(target / name, replace=True) as file:
                file.write(text)
        if json:
            rows = [mixture.model_dump(mode="json") for mixture in found]
            print_json({**_where(work), "folder": str(target), "ratios": rows})
            return
        show.table(TRACE_COLUMNS, [_trace_row(mixture) for mixture in found], title=found[0].name)
        show.table(
            LESSON_COLUMNS,
            [_lesson_row(mixture) for mixture in found],
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


def _plain_row(mixture: MixtureMeasured) -> Sequence[object]:
    """Every figure of a ratio; empty where it was not computed."""
    layer = mixture.trace.layers[0]
    site = mixture.trace.sites[-1]
    relevance, random = _relevance(mixture)
    facts, held_out = mixture.facts, mixture.held_out
    effect = layer.effect
    return [
        "" if value is None else value
        for value in (
            mixture.ratio,
            mixture.steps,
            mixture.final_loss,
            mixture.trace.verdict,
            mixture.trace.breadth,
            site.norm,
            site.low,
            site.high,
            effect.alignment if effect else None,
            max(effect.random) if effect else None,
            mixture.trace.narrowness.index if mixture.trace.narrowness else None,
            relevance.value if relevance else None,
            random,
            mixture.similarity["steered"].value,
            mixture.similarity["unsteered"].value,
            *_three(mixture.over_unsteered),
            mixture.over_random.value if mixture.over_random else None,
            facts.base.value if facts else None,
            facts.finetuned.value if facts else None,
            *_three(facts.gain if facts else None),
            facts.preferred["finetuned"] if facts else None,
            held_out.base,
            held_out.finetuned,
            *_three(held_out.gain),
        )
    ]


def _trace_row(mixture: MixtureMeasured) -> Sequence[object]:
    layer, site, narrow = mixture.trace.layers[0], mixture.trace.sites[-1], mixture.trace.narrowness
    return (
        f"1:{plain_number(mixture.ratio)}",
        mixture.steps,
        f"{mixture.final_loss:.2f}",
        f"{mixture.trace.verdict}, {mixture.trace.breadth}",
        f"{site.norm:.3f} [{site.low:.3f}, {site.high:.3f}]",
        f"{layer.effect.alignment:.2f}" if layer.effect else show.NOT_COMPUTED,
        f"{narrow.index:.1f}" if narrow else show.NOT_COMPUTED,
    )


def _lesson_row(mixture: MixtureMeasured) -> Sequence[object]:
    relevance, random = _relevance(mixture)
    return (
        f"1:{plain_number(mixture.ratio)}",
        f"{relevance.value:.0%} (random {random:.0%})"
        if relevance and random is not None
        else show.NOT_COMPUTED,
        _interval(mixture.over_unsteered),
        _interval(mixture.facts.gain if mixture.facts else None),
        _interval(mixture.held_out.gain),
    )


def _relevance(mixture: MixtureMeasured) -> tuple[Estimate | None, float | None]:
    """Relevance of the first reading there is: the shift lens, which has a random one beside it."""
    return (
        (mixture.relevance[0].share, mixture.relevance[0].random)
        if mixture.relevance
        else (None, None)
    )


def _three(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (found.value, found.low, found.high) if found else (None, None, None)


def _interval(found: Estimate | None) -> str:
    if found is None:
        return show.NOT_COMPUTED
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _last(work: Work, kind: type[OrganismTrained]) -> OrganismTrained:
    return next(
        recorded.body
        for recorded in reversed(list(work.session.state.trainings))
        if isinstance(recorded.body, kind)
    )


def _where(work: Work) -> dict[str, str]:
    return {"session": work.session.id, "database": str(work.session.log.path)}
