"""Events of measures: how strong a trace is, what it does, and how its findings compare.

Each is one finding of an operation, whole in itself: the figures, the nulls beside them, and the
settings that decided them. Figures stand in units that their record in ``adl`` names.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from workbench.store.record import Record


class Estimate(Record):
    """A value with its 95% interval over ``n`` units (``adl.measures.intervals.Interval``)."""

    value: float
    low: float
    high: float
    n: int


class Measure(Record):
    """What one of the measures of a trace found."""


# --- trace strength -------------------------------------------------------------------------


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
    """What the direction does, beside random ones (``adl.measures.trace_effect.Effect``)."""

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
    verdict: Literal["strong", "weak", "none found"]
    why: str


class TraceNarrowness(Record):
    """How close the words raised most are (``adl.measures.narrowness.Narrowness``)."""

    index: float
    low: float
    high: float
    closeness: float
    one_text: float
    many_texts: float
    words: tuple[str, ...]


class TraceMeasured(Measure):
    """The strength and breadth of a pair's trace (``adl.measures.trace_strength.TraceStrength``)."""

    kind: Literal["trace_measured"] = "trace_measured"
    verdict: Literal["strong", "weak", "none found"]
    breadth: Literal["narrow", "broad", "not computed"]
    breadth_why: str
    summary: str
    does_not_mean: str
    layers: tuple[TraceLayer, ...]
    sites: tuple[TraceSite, ...]
    narrowness: TraceNarrowness | None
    output_kl: float
    n_texts: int
    settings: dict[str, Any] = Field(default_factory=dict)


# --- coherent alpha -------------------------------------------------------------------------


class CoherenceRate(Record):
    """Share of an alpha's texts that are coherent; ``llm`` is None where no LLM judged any."""

    alpha: float
    n: int
    plain: float
    llm: float | None


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


class CoherentAlphaFound(Measure):
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


# --- against what the finetuning was made of -----------------------------------------------------


class RelevanceShare(Record):
    """Share of one list's first tokens that are relevant; None for a list without tokens.

    ``seq`` is the event that has the list. ``over_random`` is the share less that of the same
    reading of a random direction, None where there is none.
    """

    seq: int
    reading: str
    source: str
    side: str
    layer: int
    position: str
    share: Estimate | None
    over_random: Estimate | None
    relevant: tuple[str, ...]


class RelevanceMeasured(Measure):
    """Token relevance against named documents or words (``adl.measures.relevance``).

    ``against`` says what they are, and ``words`` which count as relevant.
    """

    kind: Literal["relevance_measured"] = "relevance_measured"
    against: str
    documents_sha256: str | None
    words: tuple[str, ...]
    shares: tuple[RelevanceShare, ...]
    settings: dict[str, Any] = Field(default_factory=dict)


class SimilarityMeasured(Measure):
    """Similarity of generated texts to named documents (``adl.measures.similarity.Similarity``).

    ``by_kind`` is by kind of text: steered, unsteered, random. ``embedding`` says by what.
    """

    kind: Literal["similarity_measured"] = "similarity_measured"
    against: str
    documents_sha256: str
    embedding: str
    alpha: float
    by_kind: dict[str, Estimate]
    over_unsteered: Estimate | None
    over_random: Estimate | None
    documents: float
    n_documents: int
    texts: dict[str, tuple[str, ...]]
    settings: dict[str, Any] = Field(default_factory=dict)


class CausalChange(Record):
    """The rise of cross-entropy by one change on one corpus (``adl.measures.causal.CausalEffect``)."""

    corpus: Literal["finetuning", "unrelated"]
    change: Literal["replace", "remove"]
    positions: str
    base: float
    left: float
    effect: Estimate
    random: tuple[float, ...]
    p_value: float | None


class CausalEffectMeasured(Measure):
    """What becomes of cross-entropy with the difference's component changed."""

    kind: Literal["causal_effect_measured"] = "causal_effect_measured"
    against: str
    documents_sha256: str
    layer: int
    position: str
    effects: tuple[CausalChange, ...]
    n_texts: dict[str, int]
    n_skipped: dict[str, int]
    settings: dict[str, Any] = Field(default_factory=dict)


MeasureBody = (
    TraceMeasured
    | CoherentAlphaFound
    | RelevanceMeasured
    | SimilarityMeasured
    | CausalEffectMeasured
)


def measure_line(body: MeasureBody) -> str:
    """What was found, in one line of our own words and numbers."""
    match body:
        case TraceMeasured():
            return body.summary
        case CoherentAlphaFound():
            judged = "" if body.llm_alpha is None else f", {body.llm_alpha:g} by the LLM judge"
            return (
                f"coherent alpha of {body.source} on {body.side}, layer {body.layer}: "
                f"{body.alpha:g}{judged}"
            )
        case RelevanceMeasured():
            shares = [one.share.value for one in body.shares if one.share]
            best = f", at most {max(shares):.0%}" if shares else ""
            return f"token relevance of {len(body.shares)} lists{best}"
        case SimilarityMeasured():
            over = body.over_unsteered
            more = f", {over.value:+.3f} over unsteered" if over else ""
            return f"steered texts are {body.by_kind['steered'].value:.3f} like the documents{more}"
        case CausalEffectMeasured():
            said = ", ".join(
                f"{one.corpus} {one.effect.value:+.4f}"
                for one in body.effects
                if (one.change, one.positions)
                == (body.effects[0].change, body.effects[0].positions)
            )
            return f"causal effect at layer {body.layer} ({body.effects[0].change}): {said} nats"
