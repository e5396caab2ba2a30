"""Strength of what a finetuned model learned, without an LLM judge.

    fact_margins    log-probability of each fact less that of its negation, on each side
    held_out_gain   fall of the loss on unseen documents of the same kind

A stand-in for the paper's alignment with false facts (Minder et al. 2025, arXiv 2510.13900), which an
LLM judges from answers. Answers of a model may lag behind its probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import ShouldStop, never_stop
from adl.errors import CorpusError, Stopped
from adl.measures.intervals import Interval, mean_interval, paired_difference
from adl.measures.teacher_forcing import scored_batches, scored_texts
from adl.pair.protocol import ModelPair
from adl.records import SIDES, Side
from adl.text.documents import Document

MAX_TOKENS = 160
BATCH_SIZE = 8

PerText = NDArray[np.float64]


@dataclass(frozen=True)
class FactMargins:
    """Log-probability of a fact less that of its negation, in nats per token, over ``n`` facts.

    ``gain`` is the finetuned side's margin less the base's, fact by fact; above 0, the facts were
    learned. ``preferred`` is the share of facts more probable than their negation.
    """

    base: Interval
    finetuned: Interval
    gain: Interval
    preferred: dict[Side, float]


@dataclass(frozen=True)
class HeldOutGain:
    """Cross-entropy of unseen documents in nats per token, and its fall by finetuning."""

    base: float
    finetuned: float
    gain: Interval


def fact_margins(
    pair: ModelPair,
    facts: Sequence[str],
    negations: Sequence[str],
    seed: int = 0,
    *,
    should_stop: ShouldStop = never_stop,
) -> FactMargins:
    """Compare each fact with its negation.

    Raises ``CorpusError`` for lists of different length or none, ``Stopped`` within one batch.
    """
    if not facts or len(facts) != len(negations):
        raise CorpusError(
            f"{len(facts)} facts have {len(negations)} negations",
            "Give one negation for each fact, in the same order.",
        )
    true = _losses(pair, [Document(text) for text in facts], should_stop)
    false = _losses(pair, [Document(text) for text in negations], should_stop)
    margins = {side: false[side] - true[side] for side in SIDES}
    return FactMargins(
        base=mean_interval(margins["base"], seed),
        finetuned=mean_interval(margins["finetuned"], seed),
        gain=paired_difference(margins["finetuned"], margins["base"], seed),
        preferred={side: float((margins[side] > 0).mean()) for side in SIDES},
    )


def held_out_gain(
    pair: ModelPair,
    documents: Sequence[Document],
    seed: int = 0,
    *,
    should_stop: ShouldStop = never_stop,
) -> HeldOutGain:
    """Compare both sides on documents (of chats: the answers) that were not trained on.

    Raises ``CorpusError`` if none can be scored, ``Stopped`` within one batch.
    """
    losses = _losses(pair, documents, should_stop)
    return HeldOutGain(
        base=float(losses["base"].mean()),
        finetuned=float(losses["finetuned"].mean()),
        gain=paired_difference(losses["base"], losses["finetuned"], seed),
    )


def _losses(
    pair: ModelPair, documents: Sequence[Document], should_stop: ShouldStop
) -> dict[Side, PerText]:
    """Return mean -log p per token of each text [texts], by side.

    Raises ``CorpusError`` if a text cannot be scored on both sides.
    """
    texts = scored_texts(pair, documents, limit=len(documents), max_tokens=MAX_TOKENS)
    if texts.n_skipped:
        raise CorpusError(
            f"{texts.n_skipped} of {len(documents)} texts cannot be scored on both sides",
            "They are empty, or the sides' tokenizers write them differently.",
        )
    found: dict[Side, PerText] = {}
    for side in SIDES:
        own = texts.base if side == "base" else texts.finetuned
        rows = []
        for batch in scored_batches(own, BATCH_SIZE):
            if should_stop():
                raise Stopped("stopped while facts and documents were scored")
            rows.append(pair.token_losses(side, batch) / batch.scored.sum(axis=1))
        found[side] = np.concatenate(rows).astype(np.float64)
    return found
