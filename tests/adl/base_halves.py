"""A null without finetuning, for tests of a trace: the base model over texts against it over others."""

from __future__ import annotations

import numpy as np

from adl.measures.group_statistics import GroupedMeans


def base_against_itself(means: GroupedMeans, seed: int) -> GroupedMeans:
    """Return a null without finetuning: the base model over some texts minus it over others.

    Groups are paired at random, so that half as many remain.
    """
    order = np.random.default_rng(seed).permutation(len(means.weights))
    half = len(order) // 2
    first, second = order[:half], order[half : 2 * half]
    return GroupedMeans(
        layers=means.layers,
        positions=means.positions,
        weights=np.minimum(means.weights[first], means.weights[second]),
        base=means.base[first],
        finetuned=means.base[second],
        residual_norm=means.residual_norm,
        n_texts=means.n_texts,
    )
