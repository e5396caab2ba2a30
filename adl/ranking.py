"""From scores over a vocabulary to a list of tokens that a person can read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adl.records import TokenScore


def top_tokens(
    scores: np.ndarray,
    probabilities: np.ndarray | None,
    texts: Sequence[str],
    top: int,
    allowed: np.ndarray | None = None,
) -> tuple[TokenScore, ...]:
    """The ``top`` tokens with the highest ``scores`` [V], highest first, among ``allowed`` [V] bool.

    Ties go to the lower id, so that a list is the same on every machine. Tokens whose score is not
    finite are left out.
    """
    usable = np.isfinite(scores) if allowed is None else np.isfinite(scores) & allowed
    candidates = np.flatnonzero(usable)
    order = candidates[np.argsort(-scores[candidates], kind="stable")[:top]]
    return tuple(
        TokenScore(
            token_id=int(index),
            text=texts[index],
            score=float(scores[index]),
            probability=None if probabilities is None else float(probabilities[index]),
        )
        for index in order
    )
