"""Patchscope: next-token predictions with a vector in the place of a token's residual.

The prompts ask for the last word again ("man -> man ... ?"), so a model that reads the patched
residual as a word predicts that word. A sweep runs every scale, position and prompt in batches.

    patchscope            next-token probabilities of the finetuned model, as in the paper
    patchscope contrast   finetuned minus base for the same vector: effects of the prompts, of the
                          vector's size and of common tokens on both models cancel

Nulls are read on the base model alone, since the finetuned one shows its domain whatever the vector:
the contrast of a null is base against base moved by a random direction as large as the difference.

Sources: Ghandeharioun et al. 2024 (patchscopes); Minder et al. 2025 (arXiv 2510.13900) for the
prompts, the scales and the cut to tokens in the top 16,384 of every prompt. The contrast is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import Stopped
from adl.pair.protocol import ModelPair
from adl.readings.ranking import Mask, Scores, among, candidates, highest
from adl.readings.reading import BY_JUDGE, SHOWN_TOKENS, Reader, Reading, Step
from adl.records import SIDES, Floats, Side, TokenReadout

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
# A token must be among this many most probable tokens after every prompt.
SHARED_TOP = 16_384
# Agreement of prompts is the share that they have in common of this many most probable tokens.
AGREEING_TOP = 20

# The contrast is most readable if the patched vector is smaller than a residual, and best as the
# mean over a few such scales: no single scale is best for every model (docs/figures.md).
CONTRAST_SCALES = (0.3, 0.4, 0.5, 0.6)

# The rule takes the smallest scale with this agreement: from there on the vector decides the next
# token, not the prompt. Much larger scales leave the range of residuals.
PROMPT_AGREEMENT = 0.75

VECTORS_AT_ONCE = 64
# Of the log-probabilities [vectors, V] of a batch several copies are held at a time.
NUMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Patched:
    """Predictions after the identity prompts with vectors in the place of the last token.

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

    All rows are over the shared vocabulary. Keep n small: n x V numbers are returned.
    """
    shared = pair.shared_vocabulary()
    columns = dict(zip(SIDES, shared, strict=True)) if shared is not None else {}
    n_tokens = len(shared[0]) if shared is not None else len(pair.token_texts(sides[0]))
    shape = (len(sides), len(vectors), n_tokens)
    log_prob, prob = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    common = np.ones(shape[1:], dtype=bool)
    tops: list[list[set[int]]] = []
    for index, side in enumerate(sides):
        for prompt in prompts:
            rows = pair.patched_log_probs(side, _ids(pair, side, prompt), layer, vectors)
            rows = rows[:, columns[side]] if columns else rows
            log_prob[index] += rows / len(prompts)
            if index == len(sides) - 1:
                common &= _top_mask(rows, SHARED_TOP)
                tops.append([set(highest(row, AGREEING_TOP).tolist()) for row in rows])
            prob[index] += np.exp(rows) / len(prompts)
    return Patched(tuple(sides), log_prob, prob, common, _agreement(tops))


@dataclass(frozen=True)
class SweepPoint:
    """One scale of a sweep: scores and probabilities [V], and the agreement of the prompts."""

    scale: float
    patchscope: Scores
    contrast: Scores
    probability: Scores
    agreement: float


def sweep(
    pair: ModelPair,
    layer: int,
    vector: Floats,
    *,
    moved_by: Floats | None = None,
    scales: Sequence[float] = SCALES,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Iterator[SweepPoint]:
    """Yield the point of every scale of ``vector`` [width] (at residual norm), as it is ready.

    With ``moved_by`` [width] it is the sweep of a null: base takes the place of finetuned, and base
    with that added to ``vector`` at every scale the place of base. Raises ``Stopped`` within one
    batch of ``should_stop`` returning True.
    """
    n_tokens = max(len(pair.token_texts(side)) for side in SIDES)
    at_once = max(1, min(VECTORS_AT_ONCE, NUMBERS_AT_ONCE // n_tokens))
    at_once = at_once if moved_by is None else max(1, at_once // 2)
    for first in range(0, len(scales), at_once):
        if should_stop():
            raise Stopped(f"stopped after {first} of {len(scales)} scales")
        batch = scales[first : first + at_once]
        scaled = np.stack([vector * scale for scale in batch]).astype(np.float32)
        if moved_by is None:
            patched = patched_prompts(pair, layer, scaled)
        else:
            patched = _patched_null(pair, layer, scaled, scaled + moved_by)
        progress(first + len(batch), len(scales))
        for row, scale in enumerate(batch):
            yield _point(patched, row, scale)


def _patched_null(pair: ModelPair, layer: int, vectors: Floats, moved: Floats) -> Patched:
    """Patch ``vectors`` and ``moved`` into base, in the places of finetuned and base."""
    n = len(vectors)
    both = patched_prompts(pair, layer, np.concatenate([moved, vectors]), sides=("base",))
    return Patched(
        SIDES,
        np.stack([both.log_prob[0, :n], both.log_prob[0, n:]]),
        np.stack([both.prob[0, :n], both.prob[0, n:]]),
        both.common[n:],
        both.agreement[n:],
    )


def _point(patched: Patched, row: int, scale: float) -> SweepPoint:
    base, finetuned = (patched.log_prob[patched.sides.index(side), row] for side in SIDES)
    probability = patched.prob[patched.sides.index("finetuned"), row].astype(np.float64)
    return SweepPoint(
        scale=scale,
        patchscope=among(np.log(probability + 1e-30), patched.common[row]),
        contrast=(finetuned - base).astype(np.float64),
        probability=probability,
        agreement=float(patched.agreement[row]),
    )


class MeanContrast:
    """The running mean of the contrast over points of a sweep."""

    def __init__(self) -> None:
        self._count = 0
        self._contrast: Scores = np.zeros(1)
        self._probability: Scores = np.zeros(1)
        self._agreement = 0.0

    def add(self, point: SweepPoint) -> None:
        """Add a point."""
        self._count += 1
        self._contrast = self._contrast + point.contrast
        self._probability = self._probability + point.probability
        self._agreement += point.agreement

    @classmethod
    def of(cls, point: SweepPoint) -> MeanContrast:
        """Return the contrast of a single point."""
        mean = cls()
        mean.add(point)
        return mean

    @property
    def probability(self) -> Scores:
        """Mean probabilities [V] on the finetuned side."""
        return self._probability / self._count

    @property
    def agreement(self) -> float:
        """Mean agreement of the prompts, from 0 to 1."""
        return self._agreement / self._count

    def scores(self, words: Mask) -> Scores:
        """Return scores [V]: the mean contrast of probable words, -inf elsewhere."""
        return among(self._contrast / self._count, candidates(self.probability, words))


def _ids(pair: ModelPair, side: Side, prompt: str) -> list[int]:
    return pair.bos(side).begun(pair.tokenise(side, prompt))


def _top_mask(rows: Floats, count: int) -> Mask:
    if rows.shape[1] <= count:
        return np.ones_like(rows, dtype=bool)
    threshold = np.partition(rows, -count, axis=1)[:, -count][:, None]
    return np.asarray(rows >= threshold)


def _agreement(tops: Sequence[Sequence[set[int]]]) -> Floats:
    """Return the mean share [n] of top tokens that two prompts have in common; ``tops`` by prompt."""
    pairs = list(combinations(tops, 2))
    if not pairs:
        return np.ones(len(tops[0]), dtype=np.float32)
    shares = [
        [len(a & b) / AGREEING_TOP for a, b in zip(first, second, strict=True)]
        for first, second in pairs
    ]
    agreement: Floats = np.mean(shares, axis=0).astype(np.float32)
    return agreement


# --- the readings -------------------------------------------------------------------------------


def _steps(reader: Reader) -> Iterator[Step]:
    """Both readings share a sweep: one step per vector."""
    vectors = reader.vectors() if reader.open & {PATCHSCOPE.name, PATCHSCOPE_CONTRAST.name} else []
    for index, (source, position, vector) in enumerate(vectors):
        lists = _lists(reader, index, len(vectors), source, position, vector)
        yield (PATCHSCOPE.name, PATCHSCOPE_CONTRAST.name), lists


def _lists(
    reader: Reader, index: int, n_vectors: int, source: str, position: str, vector: Floats
) -> Iterator[TokenReadout]:
    """Yield the lists of one vector. Of each point of the sweep only its token lists are kept."""
    contrasting = PATCHSCOPE_CONTRAST.name in reader.open and source not in SIDES
    mean = MeanContrast()
    contrasts: dict[float, TokenReadout] = {}
    patched: dict[float, TokenReadout] = {}
    for point in sweep(
        reader.pair,
        reader.request.layer,
        vector,
        moved_by=reader.moved_by(source),
        scales=sorted({*SCALES, *CONTRAST_SCALES}),
        progress=lambda done, of: reader.progress("patchscope", index * of + done, n_vectors * of),
        should_stop=reader.should_stop,
    ):
        if contrasting:
            contrasts[point.scale] = _contrast(reader, source, position, MeanContrast.of(point))
            if point.scale in CONTRAST_SCALES:
                mean.add(point)
        if PATCHSCOPE.name in reader.open and point.scale in SCALES:
            patched[point.scale] = _patchscope(reader, source, position, point)
    if contrasting:
        yield from _contrasts(reader, source, contrasts, _contrast(reader, source, position, mean))
    if patched:
        chosen, rule = _chosen_scale(reader, source, patched)
        for scale, readout in patched.items():
            yield _cut(readout, chosen=scale == chosen, rule=rule)


def _contrasts(
    reader: Reader, source: str, lists: Mapping[float, TokenReadout], mean: TokenReadout
) -> Iterator[TokenReadout]:
    asked = source == "difference"
    tokens = {scale: readout.tokens for scale, readout in lists.items()}
    chosen = reader.judged(PATCHSCOPE_CONTRAST.name, tokens) if asked else None
    for scale, readout in lists.items():
        yield _cut(replace(readout, scale=scale), chosen=scale == chosen, rule=BY_JUDGE)
    rule = reader.by_rule("mean over scales 0.3 to 0.6", asked=asked)
    yield replace(mean, chosen=chosen is None, chosen_by=rule if chosen is None else "")


def _contrast(reader: Reader, source: str, position: str, mean: MeanContrast) -> TokenReadout:
    words = reader.vocabulary.words
    return reader.ranked(
        PATCHSCOPE_CONTRAST.name,
        source,
        "finetuned",
        mean.scores(words),
        position=position,
        unfiltered=mean.scores(np.ones_like(words)),
        probability=mean.probability,
        statistics={"agreement": mean.agreement},
    )


def _patchscope(reader: Reader, source: str, position: str, point: SweepPoint) -> TokenReadout:
    return reader.ranked(
        PATCHSCOPE.name,
        source,
        "finetuned",
        among(point.patchscope, reader.vocabulary.words),
        position=position,
        scale=point.scale,
        unfiltered=point.patchscope,
        probability=point.probability,
        statistics={"agreement": point.agreement},
    )


def _chosen_scale(
    reader: Reader, source: str, lists: Mapping[float, TokenReadout]
) -> tuple[float, str]:
    """Return the scale to show first and the rule that chose it."""
    asked = source == "difference"
    if asked:
        tokens = {scale: readout.unfiltered for scale, readout in lists.items()}
        scale = reader.judged(PATCHSCOPE.name, tokens)
        if scale is not None:
            return scale, BY_JUDGE
    agreement = {scale: readout.statistics["agreement"] for scale, readout in lists.items()}
    agreeing = [scale for scale, agreed in agreement.items() if agreed >= PROMPT_AGREEMENT]
    best = max(agreement, key=lambda scale: agreement[scale])
    if not agreeing:
        rule = "no scale has agreeing prompts: the one that agrees most"
        return best, reader.by_rule(rule, asked=asked)
    return agreeing[0], reader.by_rule("first scale at which the prompts agree", asked=asked)


def _cut(readout: TokenReadout, *, chosen: bool, rule: str) -> TokenReadout:
    """Return the list of one scale: whole if it is the chosen one, else its first tokens."""
    return replace(
        readout,
        chosen=chosen,
        chosen_by=rule if chosen else "",
        tokens=readout.tokens if chosen else readout.tokens[:SHOWN_TOKENS],
        unfiltered=readout.unfiltered[:SHOWN_TOKENS],
    )


PATCHSCOPE_CONTRAST = Reading(
    name="patchscope_contrast",
    family="patchscope",
    title="Patchscope contrast",
    label="contrast",
    short="contrast",
    description="patched into finetuned, against base",
    help="the answers of finetuned to identity prompts with the difference patched in, against base.",
    steps=_steps,
    list_without_scale="mean",
)
PATCHSCOPE = Reading(
    name="patchscope",
    family="patchscope",
    title="Patchscope",
    label="patchscope",
    short="patch",
    description="patched into identity prompts",
    help="the answers of finetuned to identity prompts with the difference patched in.",
    steps=_steps,
)
