"""The event of a measured trace: how strong it is, how narrow, and what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from adl.measures.trace_strength import Breadth, TraceVerdict
from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Figure,
    Heading,
    Line,
    Measure,
    Row,
    Rows,
)
from workbench.store.record import Record

_WORDS_SHOWN = 40


class TraceSite(Record):
    """The difference at one site beside its nulls (``adl.measures.group_statistics.SiteStrength``)."""

    layer: int
    position: str
    norm: float
    low: float
    high: float
    consistency: float
    split_half_norm: float
    p_value: float


class TraceEffect(Record):
    """The effect of the direction, beside random ones (``adl.measures.trace_effect.Effect``)."""

    layer: int
    alpha: float
    alignment: float
    random: tuple[float, ...]
    z: float
    p_value: float


class TraceLayer(Record):
    """The verdict on one layer and the number that decided it."""

    layer: int
    effect: TraceEffect | None
    verdict: TraceVerdict
    why: str


class TraceNarrowness(Record):
    """The closeness of the words raised most (``adl.readings.narrowness.Narrowness``)."""

    index: float
    low: float
    high: float
    closeness: float
    one_text: float
    many_texts: float
    words: tuple[str, ...]


class TraceMeasured(Measure, label="trace strength"):
    """The strength and breadth of a pair's trace (``adl.measures.trace_strength.TraceStrength``)."""

    kind: Literal["trace_measured"] = "trace_measured"
    verdict: TraceVerdict
    breadth: Breadth
    breadth_why: str
    summary: str
    does_not_mean: str
    layers: tuple[TraceLayer, ...]
    sites: tuple[TraceSite, ...]
    narrowness: TraceNarrowness | None
    output_kl: float
    n_texts: int
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return one_line(self.summary)

    def _texts(self) -> Iterator[str]:
        yield from (self.summary, self.breadth_why)
        yield " ".join(self.narrowness.words if self.narrowness else ())

    def short(self) -> str:
        """The verdict, and the breadth if it is known."""
        known = self.breadth != NOT_COMPUTED
        return f"{self.verdict}, {self.breadth}" if known else self.verdict

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The verdicts, norms beside their nulls, effects among random ones, and the words."""
        figures: list[Figure] = [
            Line(self.summary),
            *(Line(f"Layer {layer.layer}: {layer.verdict}; {layer.why}.") for layer in self.layers),
            Line(f"Breadth: {self.breadth}; {self.breadth_why.rstrip('.')}."),
            Line(self.does_not_mean, muted=True),
            self._norms(),
            self._effects(),
        ]
        if self.narrowness:
            found = self.narrowness
            figures += [
                Heading(
                    f"Words that rose most; closeness index {found.index:.1f} "
                    f"[{found.low:.1f}, {found.high:.1f}]"
                ),
                Line(" ".join(found.words[:_WORDS_SHOWN])),
            ]
        return figures

    def _norms(self) -> Rows:
        most = max((max(site.high, site.split_half_norm) for site in self.sites), default=0.0)
        # The mean over positions first, in each layer: it is what the verdict is about.
        ordered = sorted(self.sites, key=lambda site: (site.layer, "-" not in site.position))
        return Rows(
            f"Norm beside its null, in residual norms, over {number_of(self.n_texts, 'text')} "
            "(con.: consistency)",
            ("layer", "position", "norm [95%]", "con.", "base against itself", "p"),
            tuple(map(_site, ordered)),
            most or 1.0,
        )

    def _effects(self) -> Rows:
        effects = [layer.effect for layer in self.layers if layer.effect]
        return Rows(
            "What it does, aligned with what the finetuning does",
            ("layer", "alignment", "random at most", "z", "p", "alpha"),
            tuple(map(_effect, effects)),
        )


def _site(site: TraceSite) -> Row:
    norm = f"{site.norm:.4f} [{site.low:.4f}, {site.high:.4f}]"
    null, p_value = f"{site.split_half_norm:.4f}", f"{site.p_value:.4f}"
    label = f"layer {site.layer}, {site.position}, con. {site.consistency:.2f}"
    return Row(
        (str(site.layer), site.position, norm, f"{site.consistency:.2f}", null, p_value),
        (
            Bar(label, site.norm, norm),
            Bar("  base against itself", site.split_half_norm, f"{null}; p {p_value}", muted=True),
        ),
    )


def _effect(effect: TraceEffect) -> Row:
    alignment, random = f"{effect.alignment:.2f}", f"{max(effect.random):.2f}"
    z, p_value, alpha = f"{effect.z:.1f}", f"{effect.p_value:.2g}", f"{effect.alpha:g}"
    return Row(
        (str(effect.layer), alignment, random, z, p_value, alpha),
        (
            Bar(
                f"layer {effect.layer}",
                effect.alignment,
                f"{alignment}; random at most {random}",
                effect.random,
            ),
            Line(f"  z {z}, p {p_value}, alpha {alpha}", muted=True),
        ),
    )
