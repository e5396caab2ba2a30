"""A mixing study as tables: every figure of each ratio as CSV, and the main ones for reading."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from adl.words import distinct_number
from workbench.store.findings import NOT_COMPUTED, Estimate, words_of
from workbench.store.training_events import MixtureMeasured

TRACE_COLUMNS = ("ratio", "steps", "loss", "trace", "norm [95%]", "alignment", "narrow")
LESSON_COLUMNS = (
    "ratio",
    "relevance",
    "steered - unsteered",
    "facts gain",
    "held-out gain",
)


def mixing_csv(found: Sequence[MixtureMeasured]) -> str:
    """Return every figure of a study's ratios, of which there is one at least, as CSV."""
    rows = [_figures(mixture) for mixture in found]
    written = io.StringIO(newline="")
    table = csv.DictWriter(written, fieldnames=list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return written.getvalue()


def trace_row(mixture: MixtureMeasured) -> Sequence[object]:
    """Return the cells of `TRACE_COLUMNS` for a ratio."""
    layer, site, narrow = mixture.trace.layers[0], mixture.trace.sites[-1], mixture.trace.narrowness
    return (
        f"1:{distinct_number(mixture.ratio)}",
        mixture.steps,
        f"{mixture.final_loss:.2f}",
        f"{mixture.trace.verdict}, {mixture.trace.breadth}",
        f"{site.norm:.3f} [{site.low:.3f}, {site.high:.3f}]",
        f"{layer.effect.alignment:.2f}" if layer.effect else NOT_COMPUTED,
        f"{narrow.index:.1f}" if narrow else NOT_COMPUTED,
    )


def lesson_row(mixture: MixtureMeasured) -> Sequence[object]:
    """Return the cells of `LESSON_COLUMNS` for a ratio."""
    relevance, random = _relevance(mixture)
    return (
        f"1:{distinct_number(mixture.ratio)}",
        f"{relevance.value:.0%} (random {random:.0%})"
        if relevance and random is not None
        else NOT_COMPUTED,
        words_of(mixture.over_unsteered, "{:+.2f}"),
        words_of(mixture.facts.gain if mixture.facts else None, "{:+.2f}"),
        words_of(mixture.held_out.gain, "{:+.2f}"),
    )


def _figures(mixture: MixtureMeasured) -> dict[str, object]:
    """Every figure of a ratio by its column; None where it was not computed."""
    effect, site = mixture.trace.layers[0].effect, mixture.trace.sites[-1]
    narrowness, facts, held_out = mixture.trace.narrowness, mixture.facts, mixture.held_out
    relevance, random = _relevance(mixture)
    return {
        "ratio": mixture.ratio,
        "steps": mixture.steps,
        "final_loss": mixture.final_loss,
        "verdict": mixture.trace.verdict,
        "breadth": mixture.trace.breadth,
        "norm": site.norm,
        "norm_low": site.low,
        "norm_high": site.high,
        "alignment": effect.alignment if effect else None,
        "random_alignment_max": max(effect.random) if effect else None,
        "narrowness": narrowness.index if narrowness else None,
        "relevance": relevance.value if relevance else None,
        "relevance_random": random,
        "similarity_steered": mixture.similarity["steered"].value,
        "similarity_unsteered": mixture.similarity["unsteered"].value,
        **_interval("over_unsteered", mixture.over_unsteered),
        "over_random": mixture.over_random.value if mixture.over_random else None,
        "facts_margin_base": facts.base.value if facts else None,
        "facts_margin": facts.finetuned.value if facts else None,
        **_interval("facts_gain", facts.gain if facts else None),
        "facts_preferred": facts.preferred["finetuned"] if facts else None,
        "held_out_base": held_out.base,
        "held_out": held_out.finetuned,
        **_interval("held_out_gain", held_out.gain),
    }


def _interval(name: str, found: Estimate | None) -> dict[str, object]:
    value, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _relevance(mixture: MixtureMeasured) -> tuple[Estimate | None, float | None]:
    """Relevance of the first reading there is: the shift lens, which has a random one beside it."""
    return (
        (mixture.relevance[0].share, mixture.relevance[0].random)
        if mixture.relevance
        else (None, None)
    )
