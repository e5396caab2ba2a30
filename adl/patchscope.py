"""Patchscope: put a vector in the place of a token's residual and see what the model says next.

The prompts ask for the last word again ("man -> man ... ?"), so a model that reads the patched
residual as a word is led to say it. A sweep runs every scale, position and prompt in batches.

    patchscope            next-token probabilities of the finetuned model, as in the paper
    patchscope contrast   finetuned minus base for the same vector: what the prompts, the vector's
                          size and common tokens do to both models alike drops out

Sources: Ghandeharioun et al. 2024 (patchscopes); Minder et al. 2025 (arXiv 2510.13900) for the
prompts, the scales and the cut to tokens in the top 16,384 of every prompt. The contrast is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adl.difference import Progress, ignore_progress
from adl.errors import Stopped
from adl.pair import ModelPair, ShouldStop, never_stop
from adl.ranking import Mask, Scores, among, candidates
from adl.records import SIDES, Floats, Side

IDENTITY_PROMPTS = (
    "man -> man\n1135 -> 1135\nhello -> hello\n?",
    "bear -> bear\n42 -> 42\nblue -> blue\n?",
    "921 -> 921\ntarget -> target\nanna -> anna\n?",
)
SCALES = (
    *(round(0.5 + 0.1 * step, 1) for step in range(16)),
    *(3.0, 4.0, 5.0, 10.0),
    *(20.0 * step for step in range(1, 11)),
)
# A token must be among so many most probable ones after every prompt.
SHARED_TOP = 16_384

# The contrast reads best where the patched vector is smaller than a residual, and best of all as
# the mean over a few such scales: no single one is best for every model (docs/figures.md).
CONTRAST_SCALES = (0.3, 0.4, 0.5, 0.6)

VECTORS_AT_ONCE = 64


@dataclass(frozen=True)
class Patched:
    """What follows the identity prompts when vectors stand in for the last token.

    ``log_prob`` and ``prob`` [sides, n, V] are means over prompts, for the sides in ``sides``;
    ``common`` [n, V] marks tokens in the top 16,384 of every prompt on the last side;
    ``agreement`` [n] is the mean overlap of the top 20 between prompts on the last side.
    """

    sides: tuple[Side, ...]
    log_prob: Floats
    prob: Floats
    common: Mask
    agreement: Floats


def patched_prompts(
    pair: ModelPair,
    layer: int,
    vectors: Floats,
    *,
    sides: Sequence[Side] = SIDES,
    prompts: Sequence[str] = IDENTITY_PROMPTS,
) -> Patched:
    """Patch each of ``vectors`` [n, width] into every prompt on every side.

    Both sides' rows are over the shared vocabulary. Keep n small: n x V numbers come back.
    """
    shared = pair.shared_vocabulary()
    columns = dict(zip(SIDES, shared, strict=True)) if shared is not None else {}
    log_prob, prob = [], []
    per_prompt: list[Floats] = []
    for side in sides:
        per_prompt = []
        for prompt in prompts:
            rows = pair.patched_log_probs(side, _ids(pair, side, prompt), layer, vectors)
            per_prompt.append(rows[:, columns[side]] if columns else rows)
        log_prob.append(np.mean(per_prompt, axis=0))
        prob.append(np.mean(np.exp(per_prompt), axis=0))
    common = np.all([_top_mask(rows, SHARED_TOP) for rows in per_prompt], axis=0)
    return Patched(tuple(sides), np.stack(log_prob), np.stack(prob), common, _agreement(per_prompt))


@dataclass(frozen=True)
class SweepPoint:
    """One scale and position of a sweep: the scores [V] to rank by, and how far prompts agree."""

    scale: float
    position: str
    patchscope: Scores
    contrast: Scores
    probability: Scores
    agreement: float


def sweep(
    pair: ModelPair,
    layer: int,
    vectors: Floats,
    positions: Sequence[str],
    words: Mask,
    *,
    scales: Sequence[float] = SCALES,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[list[SweepPoint]]:
    """Every scale for every one of ``vectors`` [n, width] (at residual norm); by scale, position.

    ``contrast`` is among the candidate words (see ``adl.ranking``). Raises ``Stopped`` within one
    batch of being asked to.
    """
    per_batch = max(1, VECTORS_AT_ONCE // len(vectors))
    points: list[list[SweepPoint]] = []
    for first in range(0, len(scales), per_batch):
        if should_stop():
            raise Stopped(f"stopped after {first} of {len(scales)} scales")
        batch = scales[first : first + per_batch]
        scaled = np.concatenate([vectors * scale for scale in batch]).astype(np.float32)
        patched = patched_prompts(pair, layer, scaled)
        for row, scale in enumerate(batch):
            points.append(
                [
                    _point(patched, row * len(vectors) + column, scale, position, words)
                    for column, position in enumerate(positions)
                ]
            )
        progress(first + len(batch), len(scales))
    return points


def _point(patched: Patched, row: int, scale: float, position: str, words: Mask) -> SweepPoint:
    base, finetuned = (patched.log_prob[patched.sides.index(side), row] for side in SIDES)
    probability = patched.prob[patched.sides.index("finetuned"), row].astype(np.float64)
    return SweepPoint(
        scale=scale,
        position=position,
        patchscope=among(np.log(probability + 1e-30), patched.common[row]),
        contrast=(finetuned - base).astype(np.float64),
        probability=probability,
        agreement=float(patched.agreement[row]),
    )


def mean_contrast(points: Sequence[SweepPoint], words: Mask) -> tuple[Scores, Scores]:
    """The contrast averaged over points, among the words probable there: (scores, probability)."""
    probability: Scores = np.mean([point.probability for point in points], axis=0)
    contrast: Scores = np.mean([point.contrast for point in points], axis=0)
    return among(contrast, candidates(probability, words)), probability


def _ids(pair: ModelPair, side: Side, prompt: str) -> list[int]:
    return pair.bos(side).begun(pair.tokenise(side, prompt))


def _top_mask(rows: Floats, count: int) -> Mask:
    if rows.shape[1] <= count:
        return np.ones_like(rows, dtype=bool)
    threshold = np.partition(rows, -count, axis=1)[:, -count][:, None]
    return np.asarray(rows >= threshold)


def _agreement(per_prompt: Sequence[Floats], top: int = 20) -> Floats:
    """[n] mean share of the top tokens that two prompts have in common."""
    tops = [np.argsort(-rows, axis=1, kind="stable")[:, :top] for rows in per_prompt]
    pairs = [(one, other) for i, one in enumerate(tops) for other in tops[i + 1 :]]
    if not pairs:
        return np.ones(len(tops[0]), dtype=np.float32)
    shares = [
        [len(set(a) & set(b)) / top for a, b in zip(one, other, strict=True)]
        for one, other in pairs
    ]
    agreement: Floats = np.mean(shares, axis=0).astype(np.float32)
    return agreement
