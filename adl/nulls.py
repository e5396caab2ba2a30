"""Null vectors: vectors that hold no finetuning, to read beside the difference.

A null lacks the finetuning only if it is read on the base model: the finetuned one shows its domain
with any vector. Where a reading compares the two models, its null compares base with base moved by a
random direction as large as the difference.

``random``: a direction drawn uniformly, at the same norm; the effect of any vector of that size.
``split_half``: the base model's mean over half of the texts minus its mean over the other half; the
effect of the choice of texts. Every reading rescales its vector to the residual norm, so all are
compared at the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adl.records import ActivationDifference, Floats, Site

Null = str
RANDOM: Null = "random"
SPLIT_HALF: Null = "split_half"
NULLS: tuple[Null, ...] = (RANDOM, SPLIT_HALF)
DIFFERENCE = "difference"
SOURCE_HELP: Mapping[str, str] = {
    DIFFERENCE: "the mean of finetuned minus the mean of base",
    "negative": "the difference turned around: what it makes less likely",
    RANDOM: "a null: a random direction of the same norm",
    SPLIT_HALF: "a null: base against itself on two halves of the texts",
    "base": "the mean activations of base alone",
    "finetuned": "the mean activations of finetuned alone",
}
"""The vectors that lists are read from, in the order in which they are shown, each in words."""

SOURCES: tuple[str, ...] = tuple(SOURCE_HELP)


def source_order(source: str) -> int:
    """Return the place of a source among ``SOURCES``; one that is not there comes last."""
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def source_in_words(source: str) -> str:
    """Return what a list was read from, in words; every null is read on base."""
    plain = source.replace("_", " ")
    return f"{plain} (null, read on base)" if source in NULLS else plain


def side_in_words(source: str, side: str) -> str:
    """Return the side of a list, in words: for a null, that of the list which it stands beside."""
    return f"beside {side}" if source in NULLS else f"on {side}"


def random_direction(width: int, seed: int) -> Floats:
    """Return a unit vector [width], uniform over directions; the same for the same seed."""
    vector = np.random.default_rng(seed).standard_normal(width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def null_vector(
    difference: ActivationDifference, site: Site, null: Null, seed: int
) -> Floats | None:
    """Return the [width] vector of a null at a site; None without it (split-half of one text).

    Raises ``ValueError`` for a null that does not exist.
    """
    if null == RANDOM:
        # One direction per site: the same one everywhere would be one draw shown many times.
        place = [seed, site.layer, _position_index(difference.positions, site.position)]
        return _drawn(difference, place)
    if null == SPLIT_HALF:
        vector = difference.vector(site, "split_half_null")
        return vector if np.linalg.norm(vector) > 0 else None
    raise ValueError(f"{null!r} is not a null: {', '.join(NULLS)}")


def moving_vector(difference: ActivationDifference, site: Site, seed: int) -> Floats:
    """Return a random unit vector [width] that no null at the site reads."""
    return _drawn(
        difference, [seed, site.layer, _position_index(difference.positions, site.position), 1]
    )


def _drawn(difference: ActivationDifference, place: Sequence[int]) -> Floats:
    entropy = int(np.random.SeedSequence(place).generate_state(1)[0])
    return random_direction(difference.difference.shape[-1], entropy)


def _position_index(positions: Sequence[str], position: str) -> int:
    """Return the index of a position; one past the end for the pooled position."""
    return positions.index(position) if position in positions else len(positions)
