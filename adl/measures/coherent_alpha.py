"""The strongest steering that leaves texts coherent, per prompt and on average.

Several alphas are tried at a time: the texts of a prompt at every alpha are one batch, with the
unsteered texts that calibrate coherence. The first round spans the range; each further
one divides the step between the strongest alpha that passed and the first that did not.

    pass     at least 75% of an alpha's texts are coherent
    alpha    the strongest that passes after isotonic regression (Ayer et al. 1955): where a stronger
             alpha does better, both get their mean, so that neither a few unlucky texts nor a
             loop of probable words decides alone

Source: Minder et al. 2025 (arXiv 2510.13900), appendix on steering: a binary search in 0..100 with
12 steps of 10 samples, by an LLM judge. Their alpha, too, is in units of the residual norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adl.callbacks import ShouldStop, never_stop
from adl.errors import PromptError
from adl.generation.steering import Sample, samples
from adl.measures.coherence import (
    Agreement,
    Coherence,
    CoherenceJudge,
    CoherenceLimits,
    JudgedText,
    TextFeatures,
    agreement,
    calibrate,
    judge,
    text_features,
)
from adl.pair.protocol import ModelPair
from adl.records import GeneratedText, Side
from adl.text.prompts import Prompt

FIRST_ALPHAS = (0.1, 0.2, 0.3, 0.45, 0.7, 1.0)
ALPHAS_PER_ROUND = 3
PASS_SHARE = 0.75

MOST_UNREAD = 1 / 3
"""An alpha with more of the LLM's verdicts unreadable than this is left out of its alpha."""


@dataclass(frozen=True)
class JudgedSample:
    """One text of the search with both verdicts; ``llm`` is None without an LLM's verdict."""

    sample: Sample
    text: GeneratedText
    features: TextFeatures
    plain: Coherence
    llm: bool | None = None


@dataclass(frozen=True)
class AlphaRate:
    """Share of the ``n`` texts at an alpha that are coherent by each judge.

    ``llm`` is the share of the ``n_llm`` texts that an LLM gave a readable verdict on, None without any.
    """

    alpha: float
    n: int
    plain: float
    llm: float | None
    n_llm: int = 0


@dataclass(frozen=True)
class CoherentAlpha:
    """The result of a search.

    ``alpha`` is over the texts of all prompts, by the judge without an LLM; 0 if not even the weakest
    alpha passes. ``llm_alpha`` is the same by the LLM judge, over the alphas of which it read two thirds
    of the texts; None without any. ``reached_end`` is True if the strongest
    alpha tried still passes, so that the true one may be higher. ``by_prompt`` has the alpha of each
    prompt; the paper reports their mean, ``prompt_mean``.
    """

    alpha: float
    reached_end: bool
    by_prompt: tuple[float, ...]
    rates: tuple[AlphaRate, ...]
    limits: CoherenceLimits
    samples: tuple[JudgedSample, ...]
    llm_alpha: float | None
    agreement: Agreement

    @property
    def prompt_mean(self) -> float:
        """Mean of the coherent alphas of the prompts."""
        return sum(self.by_prompt) / len(self.by_prompt)


Generate = Callable[[Sequence[Sample]], Sequence[GeneratedText]]
"""Generates every sample wanted, in order; raises ``Stopped`` if it was stopped."""


@dataclass(frozen=True)
class AlphaSearch:
    """Settings of a search: alphas of the first round, further rounds, and seeds of the samples.

    Raises ``PromptError`` for alphas that are not above 0 and without a seed.
    """

    alphas: tuple[float, ...] = FIRST_ALPHAS
    rounds: int = 2
    per_round: int = ALPHAS_PER_ROUND
    seeds: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) <= 0:
            raise PromptError(f"{self.alphas} are not alphas above 0", "Give one or more.")
        if not self.seeds:
            raise PromptError("no sample was requested", "Request at least one per prompt.")


def search_coherent_alpha(
    pair: ModelPair,
    side: Side,
    prompts: Sequence[Prompt],
    generate: Generate,
    search: AlphaSearch = AlphaSearch(),
    *,
    llm: CoherenceJudge | None = None,
    should_stop: ShouldStop = never_stop,
) -> CoherentAlpha:
    """Return the strongest coherent alpha; ``generate`` makes the texts, steered as wanted.

    Raises ``Stopped`` within one batch of texts or judgements, and ``CorpusError`` for too few
    unsteered texts to calibrate on.
    """
    judged: list[JudgedSample] = []
    limits: CoherenceLimits | None = None
    alphas: tuple[float, ...] = (0.0, *sorted(set(search.alphas)))
    for _round in range(1 + search.rounds):
        wanted = samples(len(prompts), alphas, search.seeds)
        texts = generate(wanted)
        features = text_features(
            pair,
            side,
            texts,
            should_stop=should_stop,
        )
        if limits is None:
            limits = calibrate(
                [feature for feature, row in zip(features, wanted, strict=True) if row.alpha == 0]
            )
        verdicts = _by_llm(llm, prompts, wanted, texts)
        judged += [
            JudgedSample(row, text, feature, judge(feature, limits), verdict)
            for row, text, feature, verdict in zip(wanted, texts, features, verdicts, strict=True)
        ]
        alphas = _between(judged, search)
        if not alphas:
            break
    assert limits is not None  # the first round always runs
    return found_alpha(judged, limits, len(prompts))


def rates_of(judged: Sequence[JudgedSample]) -> list[AlphaRate]:
    """Return the shares of coherent texts by alpha, from 0 upwards."""
    rates = []
    for alpha in sorted({row.sample.alpha for row in judged}):
        of_alpha = [row for row in judged if row.sample.alpha == alpha]
        read = [row.llm for row in of_alpha if row.llm is not None]
        rates.append(
            AlphaRate(
                alpha=alpha,
                n=len(of_alpha),
                plain=sum(row.plain.coherent for row in of_alpha) / len(of_alpha),
                llm=sum(read) / len(read) if read else None,
                n_llm=len(read),
            )
        )
    return rates


def strongest(shares: Sequence[tuple[float, float, int]]) -> float:
    """Return the strongest alpha that passes, of (alpha, share, texts) in rising order; 0 for none."""
    pools: list[tuple[float, float, int]] = []
    for alpha, share, n in shares:
        if alpha == 0:
            continue
        pools.append((alpha, share, n))
        while len(pools) > 1 and pools[-1][1] > pools[-2][1]:
            (_, weaker, n_weaker), (last, stronger, n_stronger) = pools[-2:]
            both = n_weaker + n_stronger
            pools[-2:] = [(last, (weaker * n_weaker + stronger * n_stronger) / both, both)]
    return max((alpha for alpha, share, _ in pools if share >= PASS_SHARE), default=0.0)


def _by_llm(
    llm: CoherenceJudge | None,
    prompts: Sequence[Prompt],
    wanted: Sequence[Sample],
    texts: Sequence[GeneratedText],
) -> Sequence[bool | None]:
    if llm is None:
        return [None] * len(texts)
    return llm(
        [
            JudgedText(prompts[row.prompt_index].text, text.text)
            for row, text in zip(wanted, texts, strict=True)
        ]
    )


def _between(judged: Sequence[JudgedSample], search: AlphaSearch) -> tuple[float, ...]:
    """Return alphas between the strongest that passes and the next; none if all pass."""
    shares = [(rate.alpha, rate.plain, rate.n) for rate in rates_of(judged)]
    best = strongest(shares)
    above = min((alpha for alpha, _, _ in shares if alpha > best), default=None)
    if above is None:
        return ()
    step = (above - best) / (search.per_round + 1)
    return tuple(round(best + step * (index + 1), 6) for index in range(search.per_round))


def found_alpha(
    judged: Sequence[JudgedSample], limits: CoherenceLimits, n_prompts: int
) -> CoherentAlpha:
    """Return the result of a search over its judged texts."""
    rates = rates_of(judged)
    alpha = strongest([(rate.alpha, rate.plain, rate.n) for rate in rates])
    by_llm = [
        (rate.alpha, rate.llm, rate.n_llm)
        for rate in rates
        if rate.alpha and rate.llm is not None and rate.n - rate.n_llm <= MOST_UNREAD * rate.n
    ]
    by_prompt = []
    for index in range(n_prompts):
        own = rates_of([row for row in judged if row.sample.prompt_index == index])
        by_prompt.append(strongest([(rate.alpha, rate.plain, rate.n) for rate in own]))
    return CoherentAlpha(
        alpha=alpha,
        reached_end=alpha == rates[-1].alpha,
        by_prompt=tuple(by_prompt),
        rates=tuple(rates),
        limits=limits,
        samples=tuple(judged),
        llm_alpha=strongest(by_llm) if by_llm else None,
        agreement=agreement([row.plain.coherent for row in judged], [row.llm for row in judged]),
    )
