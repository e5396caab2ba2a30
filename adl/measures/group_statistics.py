"""Norm and consistency of the difference over groups of texts, against nulls.

Texts are dealt to groups, and each group has its own mean difference. All statistics are computed
from the inner products of these, [groups, groups] for each site:

    norm           root of the mean inner product of different groups: the squared norm without the
                   share that noise adds to it, 0 if there is only noise
    interval       2.5th to 97.5th percentile of the norm over groups drawn with replacement
    consistency    mean cosine of the mean differences of two random halves of the groups
    permuted sides the sides of a group swapped at random (its difference's sign flipped): p-value of
                   a mean difference as long as the observed one
    split halves   base against itself: mean over one random half minus mean over the other half

A token that becomes an attention sink in a single text has a residual a hundred times longer than
any other, and would dominate every statistic: a group's difference over three times as long as the
median group's is shortened to that length. Swapping sides changes no length, so the test stays exact.

Source of the permutation test: Fisher's sign-flip test; with the sides the same model, swapping them
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.difference import Reach, paired_batches, sums_that_fit
from adl.errors import CorpusError, Stopped
from adl.pair.protocol import ModelPair
from adl.records import POOLED, Floats

Exact = NDArray[np.float64]

N_GROUPS = 32
# With n groups, all signs alike come up twice in 2^n flips: 8 groups that agree in all would not be
# told from chance at the p that a trace is held to.
FEWEST_GROUPS = 12
N_FLIPS = 1999
N_RESAMPLES = 1000
N_SPLITS = 200
LONGEST = 3.0


@dataclass(frozen=True)
class GroupedMeans:
    """Mean residuals of each side over each group of texts.

    ``base`` and ``finetuned`` are [groups, layers, positions, width], ``weights`` [groups] the numbers
    of texts, ``residual_norm`` [layers, positions] the mean norm of the finetuned
    side's residuals.
    """

    layers: tuple[int, ...]
    positions: tuple[str, ...]
    weights: Exact
    base: Floats
    finetuned: Floats
    residual_norm: Floats
    n_texts: int

    @property
    def difference(self) -> Floats:
        """Mean difference of each group [groups, layers, positions, width], sinks shortened."""
        return shortened(self.finetuned - self.base)

    @property
    def base_deviation(self) -> Floats:
        """Base mean of each group [groups, layers, positions, width] less their median, sinks shortened."""
        centre = np.median(self.base, axis=0).astype(np.float32)
        return shortened(self.base - centre)

    def pooled(self) -> list[int]:
        """Return the columns of the pooled positions: all but position 0, if there are others."""
        rest = [index for index, label in enumerate(self.positions) if label != "0"]
        return rest or list(range(len(self.positions)))


@dataclass(frozen=True)
class SiteStrength:
    """Norm and consistency of the difference at one site, with their nulls.

    ``norm``, ``low``, ``high`` (95% interval) and ``split_half_norm`` (95th percentile of the base
    model against itself) are in units of the residual norm. ``p_value`` is of the sign-flip test.
    """

    layer: int
    position: str
    norm: float
    low: float
    high: float
    consistency: float
    split_half_norm: float
    p_value: float


def grouped_means(
    pair: ModelPair,
    texts: Sequence[str],
    layers: Sequence[int],
    reach: Reach,
    *,
    n_groups: int = N_GROUPS,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> GroupedMeans:
    """Run both sides over ``texts`` in ``n_groups`` groups, each a batch; copies of a text count once.

    Raises ``Stopped`` within one batch, and ``CorpusError`` for fewer than ``FEWEST_GROUPS``
    groups, whose signs cannot be flipped in enough ways.
    """
    texts = list(dict.fromkeys(texts))
    batches = paired_batches(pair, texts, reach, max(1, len(texts) // n_groups))
    counts: list[int] = []
    rows: dict[str, list[Exact]] = {"base": [], "finetuned": [], "finetuned_norm": []}
    for base, finetuned in batches:
        if should_stop():
            raise Stopped(f"stopped after {sum(counts)} of {len(texts)} texts")
        sums = sums_that_fit(
            pair, base, finetuned, tuple(layers), np.zeros(len(base), dtype=np.int64)
        )
        counts.append(len(base))
        for name, found in rows.items():
            found.append(getattr(sums, name)[0])
        progress(batches.used + batches.skipped, len(texts))
    if len(counts) < FEWEST_GROUPS:
        raise CorpusError(
            f"{sum(counts)} texts make {len(counts)} groups, too few to tell a difference from chance",
            f"Use at least {FEWEST_GROUPS} different texts.",
        )
    weights = np.asarray(counts, dtype=np.float64)
    shape = (-1, 1, 1, 1)
    return GroupedMeans(
        layers=tuple(layers),
        positions=batches.positions,
        weights=weights,
        base=(np.stack(rows["base"]) / weights.reshape(shape)).astype(np.float32),
        finetuned=(np.stack(rows["finetuned"]) / weights.reshape(shape)).astype(np.float32),
        residual_norm=(np.sum(rows["finetuned_norm"], axis=0) / weights.sum()).astype(np.float32),
        n_texts=int(weights.sum()),
    )


def site_strengths(means: GroupedMeans, seed: int = 0) -> list[SiteStrength]:
    """Return the strength at every layer and position, and pooled over positions, layer by layer."""
    found = []
    difference, deviation = means.difference, means.base_deviation
    for row, layer in enumerate(means.layers):
        places = {label: [index] for index, label in enumerate(means.positions)}
        if len(means.pooled()) > 1:
            places[POOLED] = means.pooled()
        for label, columns in places.items():
            inner, base = (
                _inner_products(array[:, row, columns], means.residual_norm[row, columns])
                for array in (difference, deviation)
            )
            rng = np.random.default_rng([seed, row, min(columns)])
            found.append(strength_of(layer, label, inner, base, means.weights, rng))
    return found


def shortened(rows: Floats) -> Floats:
    """Return ``rows`` [groups, ..., width] with lengths capped at three times the median group's."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    most = LONGEST * np.median(lengths, axis=0)
    share = np.minimum(1, most / np.where(lengths > 0, lengths, 1))
    return np.asarray(rows * share, dtype=np.float32)


def strength_of(
    layer: int,
    position: str,
    inner: Exact,
    base: Exact,
    weights: Exact,
    rng: np.random.Generator,
) -> SiteStrength:
    """Return the strength at a site from inner products [groups, groups] of differences and base means."""
    n = len(inner)
    share = weights / weights.sum()
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) * weights
    low, high = np.percentile(_norms(inner, drawn), [2.5, 97.5])
    signs = rng.choice([-1.0, 1.0], size=(N_FLIPS, n)) * share
    flipped = _quadratic(inner, signs, signs)
    observed = share @ inner @ share
    # A zero difference is as long flipped as not: its p-value is 1.
    as_long = int((flipped >= observed * (1 - 1e-9)).sum())
    first, second = _halves(n, weights, rng)
    lengths = np.sqrt(_quadratic(inner, first, first) * _quadratic(inner, second, second))
    cosine = _quadratic(inner, first, second) / np.where(lengths > 0, lengths, 1)
    against_itself = np.sqrt(np.maximum(_quadratic(base, first - second, first - second), 0))
    return SiteStrength(
        layer=layer,
        position=position,
        norm=float(_norms(inner, weights[None])[0]),
        low=float(low),
        high=float(high),
        consistency=float(cosine.mean()),
        split_half_norm=float(np.percentile(against_itself, 95)),
        p_value=(1 + as_long) / (1 + N_FLIPS),
    )


def _inner_products(rows: Floats, scale: Floats) -> Exact:
    """Return inner products [groups, groups] of rows [groups, positions, width], mean over positions."""
    single = rows.astype(np.float64) / scale[None, :, None]
    products: Exact = np.einsum("gpw,hpw->gh", single, single) / rows.shape[1]
    return products


def _norms(inner: Exact, weights: Exact) -> Exact:
    """Return roots [m] of the mean products of two different groups, by weights [m, groups].

    0 for a negative mean and for a single group.
    """
    squares = weights**2
    products = _quadratic(inner, weights, weights) - squares @ inner.diagonal()
    pairs = weights.sum(axis=1) ** 2 - squares.sum(axis=1)
    found: Exact = np.sqrt(np.maximum(products, 0) / np.where(pairs > 0, pairs, 1))
    return found


def _halves(n: int, weights: Exact, rng: np.random.Generator) -> tuple[Exact, Exact]:
    """Return weights [splits, groups] of both halves in random splits, each summing to 1."""
    ranks = rng.random((N_SPLITS, n)).argsort(axis=1)
    chosen = ranks < n // 2
    halves = []
    for half in (chosen, ~chosen):
        shares = half * weights
        halves.append(shares / shares.sum(axis=1, keepdims=True))
    return halves[0], halves[1]


def _quadratic(inner: Exact, left: Exact, right: Exact) -> Exact:
    products: Exact = ((left @ inner) * right).sum(axis=1)
    return products
