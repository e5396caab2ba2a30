"""Mixing unrelated text into a finetuning: its effect on the trace, and its cost.

    split_data        documents to train on, documents held out, unrelated texts to mix in and others
                      to measure on: no text is in two of them
    measure_mixture   measures of one organism so trained: strength of its trace, relevance of
                      readings, similarity of steered texts, and memorisation

Source: Minder et al. 2025 (arXiv 2510.13900), mitigation: a share of unrelated text weakens the
trace, and too much of it weakens what is learned, too. There an LLM judges how much was learned; here
the likelihood of the facts against their negations does, and that of documents held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.difference import measure_difference
from adl.errors import CorpusError, Stopped, TrainingError
from adl.generation.steering import (
    STEERING_TEMPERATURE,
    SteeringVector,
    require_draws,
    sample_seeds,
    samples,
    steering_requests,
)
from adl.measures.memorisation import FactMargins, HeldOutGain, fact_margins, held_out_gain
from adl.measures.relevance import TOKENS, Relevance, token_relevance
from adl.measures.similarity import ComparedText, Embed, Kind, Similarity, steered_similarity
from adl.measures.trace_strength import (
    TraceRequest,
    TraceStrength,
    shared_words,
    trace_and_output,
)
from adl.nulls import RANDOM, null_vector
from adl.organisms.training_plan import n_unrelated
from adl.pair.protocol import ModelPair, resolve_layer
from adl.readings.ranking import Scores, Vocabulary, top_tokens
from adl.readings.shift_lens import (
    Shift,
    contexts_of,
    output_score,
    shift_score,
    steering_shifts,
)
from adl.records import (
    DEFAULT_LAYER,
    POOLED,
    ActivationDifference,
    GenerationPlan,
    Side,
    Site,
    rescale,
)
from adl.text.corpus import CorpusSource
from adl.text.documents import Document
from adl.text.prompts import everyday_prompts
from adl.words import number_of

# Enough to measure a loss, few enough not to weaken the training.
HELD_OUT_SHARE = 0.1
FEWEST_TO_MEASURE = 64


@dataclass(frozen=True)
class MixingData:
    """The texts of a study. ``unrelated`` is in order: a ratio takes its first texts."""

    documents: tuple[Document, ...] = field(repr=False)
    held_out: tuple[Document, ...] = field(repr=False)
    unrelated: tuple[str, ...] = field(repr=False)
    measured_on: tuple[str, ...] = field(repr=False)

    def mixed_in(self, ratio: float) -> tuple[str, ...]:
        """Return the unrelated texts of one ratio."""
        return self.unrelated[: n_unrelated(len(self.documents), ratio)]


def split_data(
    documents: Sequence[Document], source: CorpusSource, ratios: Sequence[float], seed: int
) -> MixingData:
    """Divide documents and corpus for a study.

    A tenth of the different documents is held out, each once, with its copies.

    Raises ``CorpusError`` for too few texts, ``TrainingError`` for too few documents.
    """
    # Copies stand on one side, or what is trained on would be held out, too.
    distinct = tuple(dict.fromkeys(documents))
    held = max(1, round(HELD_OUT_SHARE * len(distinct)))
    if len(distinct) - held < 1:
        are = ", all the same, are" if len(documents) > 1 else " is"
        raise TrainingError(
            f"{number_of(len(documents), 'document')}{are} too few to hold one out",
            "Give two or more that differ.",
        )
    chosen = sorted(Random(f"{seed}:held out").sample(range(len(distinct)), held))
    held_out = tuple(distinct[index] for index in chosen)
    unseen = set(held_out)
    kept = tuple(document for document in documents if document not in unseen)
    texts = source.open().texts(seed)
    wanted = n_unrelated(len(kept), max(ratios))
    # Each text is in it once: none that is mixed in is measured on.
    measured_on = texts[wanted:]
    if len(measured_on) < FEWEST_TO_MEASURE:
        raise CorpusError(
            f"a ratio of {max(ratios):g} beside {len(kept)} documents takes {wanted} unrelated texts "
            f"and {FEWEST_TO_MEASURE} more to measure on, and {texts.description} has "
            f"{len(texts)}",
            "Name a larger corpus, or give smaller ratios.",
        )
    return MixingData(
        documents=kept,
        held_out=held_out,
        unrelated=texts[:wanted],
        measured_on=measured_on,
    )


@dataclass(frozen=True)
class MixtureRequest:
    """The settings of the measures of each organism.

    ``words`` are the relevant words; ``facts`` with their ``negations`` may be empty. Steering is by
    ``alpha`` and the shift lens by ``lens_alpha`` at every ratio, so that nothing but the organism
    differs between them. Raises ``PromptError`` for several samples at temperature 0.
    """

    words: tuple[str, ...] = field(repr=False)
    facts: tuple[str, ...] = field(repr=False, default=())
    negations: tuple[str, ...] = field(repr=False, default=())
    layer: str = DEFAULT_LAYER
    n_texts: int = 256
    n_random: int = 16
    alpha: float = 0.3
    lens_alpha: float = 0.2
    n_prompts: int = 10
    n_samples: int = 1
    max_new_tokens: int = 40
    temperature: float = STEERING_TEMPERATURE
    side: Side = "finetuned"
    batch_size: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        require_draws(self.n_samples, self.temperature)


@dataclass(frozen=True)
class ListRelevance:
    """Relevance of one reading's list, and of the same reading of a random direction."""

    reading: str
    side: str
    found: Relevance
    random: float | None
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class MixtureMeasures:
    """The measures of one organism; ``texts`` are steered texts, raw and untrusted."""

    trace: TraceStrength
    relevance: tuple[ListRelevance, ...]
    similarity: Similarity
    facts: FactMargins | None
    held_out: HeldOutGain
    texts: tuple[ComparedText, ...]


def measure_mixture(
    pair: ModelPair,
    data: MixingData,
    embed: Embed,
    request: MixtureRequest,
    *,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> MixtureMeasures:
    """Measure one organism. Raises ``Stopped`` within one batch or one token."""
    texts = data.measured_on[: request.n_texts]
    layer = resolve_layer(request.layer, pair.provenance.n_layers)
    trace, output = trace_and_output(
        pair,
        texts,
        TraceRequest((layer,), n_random=request.n_random, seed=request.seed),
        progress=progress,
        should_stop=should_stop,
    )
    difference = measure_difference(
        pair,
        texts,
        (layer,),
        progress=lambda done, total: progress("difference", done, total),
        should_stop=should_stop,
    )
    relevance = _relevance(pair, difference, output, texts, layer, request, should_stop)
    compared = _steered(pair, difference, layer, request, progress, should_stop)
    progress("what was learned", 0, 1)
    facts = None
    if request.facts:
        facts = fact_margins(
            pair, request.facts, request.negations, request.seed, should_stop=should_stop
        )
    held_out = held_out_gain(pair, data.held_out, request.seed, should_stop=should_stop)
    progress("what was learned", 1, 1)
    narrow = [document.text for document in data.documents]
    return MixtureMeasures(
        trace=trace,
        relevance=relevance,
        similarity=steered_similarity(compared, narrow, embed, request.seed),
        facts=facts,
        held_out=held_out,
        texts=tuple(compared),
    )


def _relevance(
    pair: ModelPair,
    difference: ActivationDifference,
    output: Shift,
    texts: Sequence[str],
    layer: int,
    request: MixtureRequest,
    should_stop: ShouldStop,
) -> tuple[ListRelevance, ...]:
    """Return the relevance of the shift lens on base and of the output difference."""
    site = Site(layer, POOLED)
    size = request.lens_alpha * difference.residual_norm(layer)
    random = null_vector(difference, site, RANDOM, request.seed)
    assert random is not None  # only the split half may be missing
    vectors = np.stack([rescale(vector, size) for vector in (difference.vector(site), random)])
    contexts = contexts_of(pair, texts)
    vocabulary = shared_words(pair)
    shifts = steering_shifts(pair, "base", contexts, layer, vectors, should_stop=should_stop)
    shared = pair.shared_vocabulary()
    if shared is not None:
        keep = shared[0]
        shifts = [
            Shift(shift.log_shift[keep], shift.before[keep], shift.after[keep], shift.kl)
            for shift in shifts
        ]
    steered, null = (
        _list_relevance(shift_score(shift, vocabulary.words), vocabulary, request)
        for shift in shifts
    )
    beyond = _list_relevance(output_score(output, vocabulary.words), vocabulary, request)
    lists = (
        ("shift_lens", "base", steered, null),
        ("output_difference", "finetuned", beyond, None),
    )
    return tuple(
        ListRelevance(reading, side, found[0], other[0].share.value if other else None, found[1])
        for reading, side, found, other in lists
        if found is not None
    )


def _list_relevance(
    scores: Scores, vocabulary: Vocabulary, request: MixtureRequest
) -> tuple[Relevance, tuple[str, ...]] | None:
    tokens = top_tokens(scores, vocabulary, TOKENS)
    found = token_relevance(tokens, request.words)
    return None if found is None else (found, tuple(token.text for token in tokens))


def _steered(
    pair: ModelPair,
    difference: ActivationDifference,
    layer: int,
    request: MixtureRequest,
    progress: StageProgress,
    should_stop: ShouldStop,
) -> list[ComparedText]:
    """Return texts steered by the difference, by a random direction, and unsteered, on the same prompts."""
    site = Site(layer, POOLED)
    random = null_vector(difference, site, RANDOM, request.seed)
    assert random is not None  # only the split half may be missing
    vectors: dict[Kind, tuple[SteeringVector, float]] = {
        "unsteered": (SteeringVector.at(difference, site), 0.0),
        "steered": (SteeringVector.at(difference, site), request.alpha),
        "random": (SteeringVector.of(difference, site, random, RANDOM), request.alpha),
    }
    prompts = everyday_prompts()[: request.n_prompts]
    plan = GenerationPlan(request.side, layer, request.temperature, request.max_new_tokens)
    compared: list[ComparedText] = []
    for place, (kind, (vector, alpha)) in enumerate(vectors.items()):
        progress("steered texts", place, len(vectors))
        seeds = sample_seeds(request.seed, request.n_samples, request.temperature)
        wanted = samples(len(prompts), (alpha,), seeds)
        requests = steering_requests(pair, request.side, prompts, wanted, vector)
        for first in range(0, len(requests), request.batch_size):
            part = slice(first, first + request.batch_size)
            done = pair.generate(plan, requests[part], should_stop=should_stop)
            if should_stop():
                raise Stopped("stopped while texts were generated")
            compared += [
                ComparedText(kind, row.prompt_index, text.text)
                for row, text in zip(wanted[part], done, strict=True)
            ]
    progress("steered texts", len(vectors), len(vectors))
    return compared
