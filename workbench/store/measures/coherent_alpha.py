"""The event of a search for the strongest coherent steering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Bar, Figure, Line, Measure, Row, Rows, Sample
from workbench.store.record import LATER, Record


class CoherenceRate(Record):
    """Share of an alpha's texts that are coherent; ``llm`` is None where no LLM judged any.

    ``n_llm`` counts those that an LLM gave a readable verdict on; 0 in older sessions.
    """

    alpha: float
    n: int
    plain: float
    llm: float | None
    n_llm: Annotated[int, LATER] = 0


class CoherenceVerdict(Record):
    """The verdicts on one text; ``faults`` are those found without an LLM."""

    text_id: str
    alpha: float
    prompt_index: int
    coherent: bool
    faults: tuple[str, ...]
    surprise: float | None
    repetition: float
    words: int
    llm: bool | None


class CoherentAlphaFound(Measure, label="coherent alpha", searched=(), pointers={"texts": True}):
    """The strongest coherent alpha (``adl.measures.coherent_alpha.CoherentAlpha``).

    ``limits`` are those that unsteered texts set, and ``agreement`` is that of both judges:
    ``n``, ``share`` and Cohen's ``kappa``. ``judge`` names the LLM, empty where none judged.
    """

    kind: Literal["coherent_alpha_found"] = "coherent_alpha_found"
    side: str
    layer: int
    position: str
    source: str
    alpha: float
    reached_end: bool
    prompt_mean: float
    by_prompt: tuple[float, ...]
    llm_alpha: float | None
    rates: tuple[CoherenceRate, ...]
    limits: dict[str, float]
    agreement: dict[str, float | None]
    texts: tuple[CoherenceVerdict, ...]
    judge: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        judged = "" if self.llm_alpha is None else f", {self.llm_alpha:g} by the LLM judge"
        return one_line(
            f"coherent alpha of {self.source} on {self.side}, layer {self.layer}: "
            f"{self.alpha:g}{judged}"
        )

    def short(self) -> str:
        """The alpha."""
        return f"alpha {self.alpha:g}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The alpha, the share of coherent texts by alpha, and a text of a few alphas."""
        beyond = "; the strongest tried still passes" if self.reached_end else ""
        figures: list[Figure] = [
            Line(
                f"Steered with {self.source}, layer {self.layer}, position {self.position}, on the "
                f"{self.side} model: coherent up to alpha {self.alpha:g}{beyond}."
            ),
            Line(
                f"Strongest coherent alpha by prompt (mean {self.prompt_mean:.3g}): "
                + ", ".join(f"{alpha:g}" for alpha in self.by_prompt)
            ),
        ]
        if self.llm_alpha is not None:
            share = self.agreement.get("share")
            agreed = "" if share is None else f" The two judges agree on {share:.0%} of texts."
            figures.append(
                Line(f"By the LLM judge ({self.judge}): alpha {self.llm_alpha:g}.{agreed}")
            )
        figures.append(
            Rows(
                "Share of coherent texts by alpha",
                ("alpha", "texts", "coherent", "by LLM judge"),
                tuple(map(self._rate, self.rates)),
            )
        )
        for alpha in dict.fromkeys((0.0, self.alpha, *(rate.alpha for rate in self.rates[-1:]))):
            verdict = next((text for text in self.texts if text.alpha == alpha), None)
            if verdict is not None:
                faults = ", ".join(verdict.faults) or "coherent"
                figures.append(Sample(f"Alpha {alpha:g}: {faults}", verdict.text_id))
        return figures

    def _rate(self, rate: CoherenceRate) -> Row:
        by_llm = NOT_COMPUTED if rate.llm is None else f"{rate.llm:.0%}"
        if 0 < rate.n_llm < rate.n:
            by_llm += f" of the {rate.n_llm} read"
        judged = "" if rate.llm is None else f", {by_llm} by LLM"
        here = " ◀" if rate.alpha == self.alpha else ""
        return Row(
            (
                f"{rate.alpha:g}",
                str(rate.n),
                f"{rate.plain:.0%}",
                by_llm,
            ),
            (
                Bar(
                    f"alpha {rate.alpha:g}",
                    rate.plain,
                    f"{rate.plain:.0%} of {rate.n}{judged}{here}",
                ),
            ),
        )
