"""Null differences: vectors that hold no finetuning, to read beside the one that may.

``random``: a direction drawn uniformly, at the same norm; what any vector of that size would show.
``split_half``: the base model's mean over half of the texts minus its mean over the other half;
what the choice of texts alone would show. Every reading rescales its vector to the residual norm,
so all are compared at the same size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adl.records import ActivationDifference, Floats, Site

Control = str
RANDOM: Control = "random"
SPLIT_HALF: Control = "split_half"
CONTROLS: tuple[Control, ...] = (RANDOM, SPLIT_HALF)


def random_direction(width: int, seed: int) -> Floats:
    """A unit vector [width], uniform over directions; the same for the same seed."""
    vector = np.random.default_rng(seed).standard_normal(width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def control_vector(
    difference: ActivationDifference, site: Site, control: Control, seed: int
) -> Floats | None:
    """The [width] null vector of a kind at a site; None where it cannot be had (one text only)."""
    if control == RANDOM:
        # One direction per site: the same one everywhere would be one draw shown many times.
        place = [seed, site.layer, difference_index(difference.positions, site.position)]
        entropy = int(np.random.SeedSequence(place).generate_state(1)[0])
        return random_direction(difference.difference.shape[-1], entropy)
    if control == SPLIT_HALF:
        vector = difference.vector(site, "split_half_null")
        return vector if np.linalg.norm(vector) > 0 else None
    raise ValueError(f"{control!r} is not a control: {', '.join(CONTROLS)}")


def difference_index(positions: Sequence[str], position: str) -> int:
    """The place of a position; one past the end for the pooled one."""
    return positions.index(position) if position in positions else len(positions)
