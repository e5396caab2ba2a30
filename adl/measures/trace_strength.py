"""Strength and narrowness of the trace of a finetuning, each number with its nulls.

    module             measures                                      nulls
    group_statistics   norm of the difference, steady over texts     sides permuted, base against itself
    trace_effect       alignment of its effect with the finetuning   random directions
    narrowness         closeness of the words that rose most         words of one text and of many

A trace needs the first two: any change of the weights leaves a steady difference, and any direction
has some effect. The verdict follows from fixed limits on these numbers, each with its reason below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.difference import FirstTokens, Reach
from adl.errors import CorpusError, Stopped
from adl.measures.group_statistics import GroupedMeans, SiteStrength, grouped_means, site_strengths
from adl.measures.trace_effect import N_RANDOM, Effect, effects, random_effects
from adl.pair.protocol import ModelPair
from adl.readings.narrowness import (
    N_SCALE_TEXTS,
    N_WORDS,
    NARROW_INDEX,
    Narrowness,
    narrowness,
    topic_scale,
)
from adl.readings.narrowness import shared_words as shared_words
from adl.readings.ranking import Vocabulary, top_tokens
from adl.readings.shift_lens import Contexts, Shift, contexts_of, output_score, output_shift
from adl.records import Floats, rescale

# A difference within chance over texts is no trace, nor is one whose halves disagree.
MOST_P_PERMUTED = 0.005
LEAST_CONSISTENCY = 0.5
# Random directions reach alignments of 0.35 on small models, real finetunings 0.6 and more.
LEAST_ALIGNMENT = 0.45
MOST_P_RANDOM = 0.002
# In residual norms. Adapters of shuffled numbers leave 0.006, organisms 0.06 to 0.15.
STRONG_NORM = 0.03
# Below this KL between the sides' predictions no word rises enough to be listed.
LEAST_KL = 0.02

N_CONTEXTS = 64
N_EFFECT_CONTEXTS = 16

TraceVerdict = Literal["strong", "weak", "none found"]
"""The verdicts on a trace, the strongest first."""
Breadth = Literal["narrow", "broad", "not computed"]

DOES_NOT_MEAN: dict[TraceVerdict, str] = {
    "strong": "It does not mean that the finetuning is harmful, nor that the direction is all of it: "
    "what was learned and leaves no mark on the first tokens of unrelated text is not seen here.",
    "weak": "It does not mean that the finetuning did little: data mixed with unrelated text leaves a "
    "weaker trace of the same lesson.",
    "none found": "It does not mean that the models are the same or that the finetuning is harmless: "
    "only that this layer and these positions show nothing that random directions do not.",
}


@dataclass(frozen=True)
class TraceRequest:
    """Layers and positions to measure at, and the number of random directions."""

    layers: tuple[int, ...]
    reach: Reach = field(default_factory=FirstTokens)
    n_random: int = N_RANDOM
    seed: int = 0


@dataclass(frozen=True)
class LayerVerdict:
    """Verdict on a layer; ``site`` is pooled over positions, ``effect`` is None without a difference."""

    layer: int
    site: SiteStrength
    effect: Effect | None
    verdict: TraceVerdict
    why: str


@dataclass(frozen=True)
class TraceStrength:
    """The strength of a pair's trace.

    ``verdict`` is that of the strongest layer. ``output_kl`` is KL(finetuned || base) in nats per
    token over unrelated text. ``narrowness`` is None if not computed; ``breadth_why`` gives the
    reason.
    """

    verdict: TraceVerdict
    breadth: Breadth
    breadth_why: str
    layers: tuple[LayerVerdict, ...]
    sites: tuple[SiteStrength, ...]
    narrowness: Narrowness | None
    output_kl: float
    n_texts: int

    @property
    def does_not_mean(self) -> str:
        """The conclusions that the verdict does not allow."""
        return DOES_NOT_MEAN[self.verdict]

    @property
    def summary(self) -> str:
        """The verdict in one plain sentence."""
        best = strongest_layer(self.layers)
        if self.verdict == "none found":
            return f"No trace found: {best.why}."
        broad = {
            "narrow": "and it is narrow: the words that rose most are about one thing",
            "broad": "and it is not narrow: the words that rose most are of many things",
            "not computed": "and how narrow it is was not computed",
        }[self.breadth]
        return f"A {self.verdict} trace at layer {best.layer}, {broad}."


def measure_trace(
    pair: ModelPair,
    texts: Sequence[str],
    request: TraceRequest,
    *,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> TraceStrength:
    """Measure a pair's trace over unrelated ``texts``.

    Raises ``Stopped`` within one batch, ``CorpusError`` for too few or too short texts.
    """
    return trace_and_output(pair, texts, request, progress=progress, should_stop=should_stop)[0]


def trace_and_output(
    pair: ModelPair,
    texts: Sequence[str],
    request: TraceRequest,
    *,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> tuple[TraceStrength, Shift]:
    """Return the trace as ``measure_trace`` does, and the output shift over the contexts of ``texts``."""
    means = grouped_means(
        pair,
        texts,
        request.layers,
        request.reach,
        progress=lambda done, total: progress("difference", done, total),
        should_stop=should_stop,
    )
    sites = site_strengths(means, request.seed)
    contexts = contexts_of(pair, texts, N_CONTEXTS)
    progress("output difference", 0, 1)
    finetuning = output_shift(pair, contexts, should_stop=should_stop)
    progress("output difference", 1, 1)
    vocabulary = shared_words(pair)
    verdicts = []
    for row, layer in enumerate(means.layers):
        site = pooled_site(sites, layer)
        effect = None
        if site.norm > 0:
            null = random_effects(
                pair,
                few(contexts),
                finetuning,
                vocabulary.words,
                layer,
                float(means.residual_norm[row, means.pooled()].mean()),
                n_random=request.n_random,
                seed=request.seed,
                progress=lambda done, total, layer=layer: progress(  # type: ignore[misc]
                    f"random directions, layer {layer}", done, total
                ),
                should_stop=should_stop,
            )
            direction = pooled_direction(means, row)
            effect = effects(pair, few(contexts), null, direction[None], should_stop=should_stop)[0]
        verdict, why = judge_layer(site, effect)
        verdicts.append(LayerVerdict(layer, site, effect, verdict, why))
    if should_stop():
        raise Stopped("stopped before narrowness was measured")
    narrow, why = _narrowness(pair, finetuning, vocabulary, texts, request.seed)
    trace = TraceStrength(
        verdict=strongest_layer(verdicts).verdict,
        breadth=breadth_of(narrow),
        breadth_why=why,
        layers=tuple(verdicts),
        sites=tuple(sites),
        narrowness=narrow,
        output_kl=finetuning.kl,
        n_texts=means.n_texts,
    )
    return trace, finetuning


def judge_layer(site: SiteStrength, effect: Effect | None) -> tuple[TraceVerdict, str]:
    """Return the verdict on a layer, and the number that decided it."""
    if effect is None or site.norm == 0:
        return "none found", "the sides do not differ on average"
    if site.p_value > MOST_P_PERMUTED:
        return "none found", (
            f"with the sides permuted the difference is as long with p = {site.p_value:.3g}"
        )
    if site.consistency < LEAST_CONSISTENCY:
        return "none found", f"halves of the texts disagree (cosine {site.consistency:.2f})"
    if effect.alignment < LEAST_ALIGNMENT or effect.p_value > MOST_P_RANDOM:
        return "none found", (
            f"the direction does hardly more of what the finetuning does (alignment "
            f"{effect.alignment:.2f}, p = {effect.p_value:.2g}) than random ones"
        )
    if site.norm < STRONG_NORM:
        return "weak", f"the difference is {site.norm:.3f} of the residual norm"
    return "strong", (
        f"the difference is {site.norm:.3f} of the residual norm and its direction does what the "
        f"finetuning does (alignment {effect.alignment:.2f})"
    )


def breadth_of(narrow: Narrowness | None) -> Breadth:
    """Return ``narrow`` if the raised words are about one topic, ``broad`` if not."""
    if narrow is None:
        return "not computed"
    return "narrow" if narrow.index >= NARROW_INDEX else "broad"


def strongest_layer(verdicts: Sequence[LayerVerdict]) -> LayerVerdict:
    """Return the layer with the strongest verdict, and of those the best aligned."""
    strongest_first = get_args(TraceVerdict)
    return max(
        verdicts,
        key=lambda verdict: (
            -strongest_first.index(verdict.verdict),
            verdict.effect.alignment if verdict.effect else -1.0,
            verdict.site.norm,
        ),
    )


def pooled_site(sites: Sequence[SiteStrength], layer: int) -> SiteStrength:
    """Return the site of a layer that is pooled over positions, or its only one."""
    return [site for site in sites if site.layer == layer][-1]


def pooled_direction(means: GroupedMeans, row: int) -> Floats:
    """Return the unit direction [width] of the layer at ``row``; all pooled positions count the same."""
    share = (means.weights / means.weights.sum()).astype(np.float32)
    rows = np.einsum("g,gpw->pw", share, means.difference[:, row][:, means.pooled()])
    return rescale(rescale(rows, 1.0).mean(axis=0), 1.0)


def few(contexts: Contexts) -> Contexts:
    """Return the first batches of contexts: a mean over many directions needs fewer."""
    count, base, finetuned = 0, [], []
    for base_batch, finetuned_batch in zip(contexts.base, contexts.finetuned, strict=True):
        if count >= N_EFFECT_CONTEXTS:
            break
        base.append(base_batch)
        finetuned.append(finetuned_batch)
        count += len(base_batch)
    return Contexts(tuple(base), tuple(finetuned))


def _narrowness(
    pair: ModelPair, finetuning: Shift, vocabulary: Vocabulary, texts: Sequence[str], seed: int
) -> tuple[Narrowness | None, str]:
    """Return the narrowness, and the reason for it or for its absence."""
    if finetuning.kl < LEAST_KL:
        return None, f"predictions differ by {finetuning.kl:.3g} nats: hardly a word was raised"
    found = top_tokens(output_score(finetuning, vocabulary.words), vocabulary, N_WORDS)
    try:
        scale = topic_scale(pair, vocabulary, texts[:N_SCALE_TEXTS])
    except CorpusError as exc:
        # The verdict on strength does not need it.
        return None, str(exc)
    narrow = narrowness(pair, "base", found, scale, seed)
    if narrow is None:
        return None, "fewer than three words rose"
    return narrow, (
        f"the words that rose most are {narrow.index:.1f} times as far from words of many texts as "
        f"words of one text are; narrow is {NARROW_INDEX:g} and more"
    )
