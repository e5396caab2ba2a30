"""Logit lens: a residual vector read through the final norm and the unembedding.

Source: nostalgebraist 2020; applied to activation differences by Minder et al. 2025, who read the
difference and its negative. On small models it mostly shows the same rare tokens for every vector:
its null stands beside it for that reason.
"""

from __future__ import annotations

import numpy as np

from adl.pair.protocol import ModelPair
from adl.readings.ranking import Vocabulary, top_tokens
from adl.records import Floats, Side, TokenScore


def logit_lens(
    pair: ModelPair, side: Side, vectors: Floats, vocabulary: Vocabulary, top: int
) -> list[tuple[TokenScore, ...]]:
    """The ``top`` most probable tokens of each of ``vectors`` [n, width], scored by log-prob."""
    found = []
    for vector in vectors:
        row = pair.unembed(side, vector[None])[0].astype(np.float64)
        found.append(top_tokens(row, vocabulary, top, np.exp(row)))
    return found
