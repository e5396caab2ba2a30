"""Trace strength: norm, consistency, effect and words of the difference, beside their nulls."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import Field

from adl.difference import FirstTokens, parse_positions
from adl.measures.group_statistics import FEWEST_GROUPS, N_FLIPS, N_GROUPS
from adl.measures.trace_effect import ALPHA, N_RANDOM
from adl.measures.trace_strength import (
    LEAST_ALIGNMENT,
    LEAST_CONSISTENCY,
    MOST_P_PERMUTED,
    MOST_P_RANDOM,
    N_CONTEXTS,
    N_EFFECT_CONTEXTS,
    STRONG_NORM,
    LayerVerdict,
    TraceRequest,
    TraceStrength,
    measure_trace,
)
from adl.pair.protocol import resolve_layers
from adl.pair.self_checks import DIFFERENCE, require
from adl.readings.narrowness import NARROW_INDEX, Narrowness
from adl.records import DEFAULT_LAYER
from adl.text.corpus import BosPolicy, CorpusSource
from workbench.operations.running import Arguments, Command, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    Bos,
    CorpusName,
    Layers,
    RandomDirections,
    TextColumn,
)
from workbench.store.measures.trace import (
    TraceEffect,
    TraceLayer,
    TraceMeasured,
    TraceNarrowness,
    TraceSite,
)


class TraceArguments(Arguments):
    """Layers and positions to measure, and the unrelated text."""

    layers: Layers = Field((DEFAULT_LAYER,), min_length=1)
    positions: str = Field("5", description="First tokens to read (5), or offsets around the turn.")
    n_texts: int = Field(256, ge=FEWEST_GROUPS, description="Unrelated texts.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    bos: Bos = BosPolicy.AUTO
    n_random: RandomDirections = Field(N_RANDOM, ge=8)
    seed: int = Field(0, ge=0, description="Random seed for texts, directions and permutations.")


def trace_strength(context: Context, arguments: TraceArguments) -> Summary:
    """Measure how strong and how narrow the trace is, each number beside its nulls."""
    pair = context.pair
    require(pair.provenance, DIFFERENCE)
    layers = resolve_layers(arguments.layers, pair.provenance.n_layers)
    reach = parse_positions(arguments.positions)
    if isinstance(reach, FirstTokens):
        reach = FirstTokens(reach.k, arguments.bos)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    found = measure_trace(
        pair,
        texts,
        TraceRequest(layers, reach, arguments.n_random, arguments.seed),
        progress=context.progress,
        should_stop=context.should_stop,
    )
    settings = {
        "texts": texts.sha256,
        "seed": arguments.seed,
        "alpha": ALPHA,
        "groups": N_GROUPS,
        "permutations": N_FLIPS,
        "contexts": [N_CONTEXTS, N_EFFECT_CONTEXTS],
        "limits": {
            "p_permuted": MOST_P_PERMUTED,
            "consistency": LEAST_CONSISTENCY,
            "alignment": LEAST_ALIGNMENT,
            "p_random": MOST_P_RANDOM,
            "strong_norm": STRONG_NORM,
            "narrow_index": NARROW_INDEX,
        },
    }
    context.record(trace_event(found, settings))
    return {"verdict": found.verdict, "breadth": found.breadth, "summary": found.summary}


TRACE = Operation(
    "trace_strength",
    "Measure the trace's strength",
    TraceArguments,
    trace_strength,
    needs=("pair",),
    finds=TraceMeasured,
    command=Command("trace"),
)


def trace_event(found: TraceStrength, settings: dict[str, object]) -> TraceMeasured:
    """Return the event of a measured trace."""
    return TraceMeasured(
        verdict=found.verdict,
        breadth=found.breadth,
        breadth_why=found.breadth_why,
        summary=found.summary,
        does_not_mean=found.does_not_mean,
        layers=tuple(_layer(layer) for layer in found.layers),
        sites=tuple(TraceSite(**asdict(site)) for site in found.sites),
        narrowness=_narrowness(found.narrowness) if found.narrowness else None,
        output_kl=found.output_kl,
        n_texts=found.n_texts,
        settings=settings,
    )


def _layer(verdict: LayerVerdict) -> TraceLayer:
    return TraceLayer(
        layer=verdict.layer,
        effect=TraceEffect(**asdict(verdict.effect)) if verdict.effect else None,
        verdict=verdict.verdict,
        why=verdict.why,
    )


def _narrowness(found: Narrowness) -> TraceNarrowness:
    return TraceNarrowness(
        index=found.index,
        low=found.low,
        high=found.high,
        closeness=found.closeness,
        one_text=found.scale.one_text,
        many_texts=found.scale.many_texts,
        words=found.words,
    )
