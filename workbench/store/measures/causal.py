"""The event of a causal effect: cross-entropy with the difference's component changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.measures.causal import Corpus
from adl.pair.protocol import ComponentChange
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Estimate,
    Figure,
    Line,
    Measure,
    Row,
    Rows,
)
from workbench.store.record import Record

_CHANGES = {"replace": "as in base", "remove": "removed"}


class CausalChange(Record):
    """The rise of cross-entropy by one change on one corpus (``adl.measures.causal.CausalEffect``)."""

    corpus: Corpus
    change: ComponentChange
    positions: str
    base: float
    left: float
    effect: Estimate
    random: tuple[float, ...]
    p_value: float | None


class CausalEffectMeasured(Measure, label="causal effect", searched=(), of_truth=True):
    """The cross-entropy with the difference's component changed."""

    kind: Literal["causal_effect_measured"] = "causal_effect_measured"
    against: str
    documents_sha256: str
    layer: int
    position: str
    effects: tuple[CausalChange, ...]
    n_texts: dict[str, int]
    n_skipped: dict[str, int]
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        first = self.effects[0]
        effects = ", ".join(
            f"{found.corpus} {found.effect.value:+.4f}"
            for found in self.effects
            if (found.change, found.positions) == (first.change, first.positions)
        )
        return one_line(f"causal effect at layer {self.layer} ({first.change}): {effects} nats")

    def short(self) -> str:
        """The effect of the first change on the finetuning's texts."""
        return f"{self.effects[0].effect.value:+.4f} nats" if self.effects else NOT_COMPUTED

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Each change's effect among those of random directions."""
        read = ", ".join(
            f"{count} {corpus}"
            + (f" ({left} left out)" if (left := self.n_skipped.get(corpus)) else "")
            for corpus, count in self.n_texts.items()
        )
        return [
            Line(
                f"Layer {self.layer}, position {self.position}, against {self.against}; "
                f"texts: {read}."
            ),
            Line(
                "Above zero, the text costs the finetuned model more once the component is as in base, "
                "or removed.",
                muted=True,
            ),
            Rows(
                "Rise of cross-entropy, nats per token",
                ("text", "change", "at", "base", "finetuned", "effect [95%]", "random", "p"),
                tuple(map(_row, self.effects)),
            ),
        ]


def _row(found: CausalChange) -> Row:
    where = "" if found.positions == "all" else f", {found.positions}"
    effect = found.effect.words("{:+.4f}")
    p_value = "" if found.p_value is None else f"{found.p_value:.3f}"
    nulls = f"{min(found.random):+.4f} to {max(found.random):+.4f}" if found.random else ""
    left, base = f"{found.left:.3f}", f"{found.base:.3f}"
    return Row(
        (found.corpus, found.change, found.positions, base, left, effect, nulls, p_value),
        (
            Bar(
                f"{found.corpus}, {_CHANGES[found.change]}{where}",
                found.effect.value,
                effect,
                found.random,
                "{:+.4f}",
            ),
            Line(
                f"  cross-entropy base {base}, finetuned {left}" + (p_value and f"; p {p_value}"),
                muted=True,
            ),
        ),
    )
