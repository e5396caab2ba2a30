"""The texts of a training and their order: narrow documents and unrelated text.

    Recipe        the numbers that decide a training, with the defaults of the bundled organisms
    presentations which text is shown when: indices, a pure function of the recipe and the counts

A ratio of unrelated text adds to the narrow documents and takes none of them away: whatever the ratio,
each narrow document is shown as often as without it, and the steps grow. Mixing at a fixed number of
steps instead would show each narrow document less often, and a weaker trace could come from that
alone. Source of the ratios: Minder et al. 2025 (arXiv 2510.13900), the section on mitigation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

from adl.errors import CorpusError, TrainingError
from adl.text.corpus import ChosenTexts, CorpusSource
from adl.text.documents import Document, documents_sha256

Precision = Literal["auto", "float32", "bfloat16"]
RATIOS = (0.0, 0.1, 0.5, 1.0, 2.0)
"""Unrelated texts for each narrow document, as in the paper."""


@dataclass(frozen=True)
class Recipe:
    """A LoRA finetuning. ``steps`` counts the steps of the narrow documents alone.

    With a ``ratio`` of unrelated text there are ``1 + ratio`` times as many, see ``total_steps``.
    ``max_tokens`` cuts each text. ``precision`` is that of the arithmetic; the adapter and its
    optimizer are float32 in any case. Raises ``TrainingError`` for numbers that make no training.
    """

    rank: int = 4
    alpha: int = 16
    learning_rate: float = 8e-4
    warmup_steps: int = 8
    clip: float = 1.0
    batch_size: int = 8
    max_tokens: int = 160
    steps: int = 70
    ratio: float = 0.0
    seed: int = 0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        """Raise ``TrainingError`` for settings out of range."""
        for name in ("rank", "alpha", "batch_size", "steps"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}", "Give 1 or more.")
        if self.max_tokens < 2:
            raise TrainingError(
                f"max_tokens is {self.max_tokens}",
                "Give 2 or more: the first token is not predicted.",
            )
        if not (math.isfinite(self.ratio) and self.ratio >= 0):
            raise TrainingError(
                f"the ratio of unrelated text is {self.ratio:g}",
                "Give 0 or more: 0.5 mixes in one unrelated text for two documents.",
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0) or self.clip <= 0:
            raise TrainingError(
                f"learning rate {self.learning_rate:g} and clip {self.clip:g}",
                "Both are numbers above 0.",
            )
        if self.warmup_steps < 0 or self.seed < 0:
            raise TrainingError(
                f"{self.warmup_steps} warm-up steps and seed {self.seed}", "Neither is below 0."
            )

    @property
    def narrow_shown(self) -> int:
        """Number of presentations of narrow documents."""
        return self.steps * self.batch_size

    @property
    def unrelated_shown(self) -> int:
        """Number of presentations of unrelated texts."""
        return round(self.ratio * self.narrow_shown)

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole training; the last batch may be smaller."""
        return -(-(self.narrow_shown + self.unrelated_shown) // self.batch_size)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step from 0: linear warm-up, then linear decay to 0."""
        warmup = min(self.warmup_steps, self.total_steps - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * (self.total_steps - step) / (self.total_steps - warmup)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for records."""
        return asdict(self)


def n_unrelated(n_narrow: int, ratio: float) -> int:
    """Return the number of unrelated texts of a ratio for ``n_narrow`` documents."""
    return max(1, round(ratio * n_narrow)) if ratio > 0 else 0


def unrelated_texts(source: CorpusSource, n_narrow: int, ratio: float, seed: int) -> ChosenTexts:
    """Choose the unrelated texts to mix in. Raises ``CorpusError`` if there are too few."""
    wanted = n_unrelated(n_narrow, ratio)
    found = source.open().texts(seed, wanted)
    if len(found) < wanted:
        raise CorpusError(
            f"a ratio of {ratio:g} beside {n_narrow} documents takes {wanted} unrelated texts, and "
            f"{found.description} has {len(found)}",
            "Name a larger corpus, or give a smaller ratio.",
        )
    return found


def presentations(n_narrow: int, n_mixed: int, recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    """Return the texts of each step: indices below ``n_narrow`` are documents, the rest unrelated.

    Documents come in rounds of all of them, each round in a new order, and so do unrelated texts;
    where in the training a text of either kind stands is drawn over the whole of it.
    """
    if n_narrow < 1:
        raise TrainingError("there is no document to train on", "Give at least one.")
    if recipe.unrelated_shown and n_mixed < 1:
        raise TrainingError("there is no unrelated text to mix in", "Give a corpus, or ratio 0.")
    kinds = [True] * recipe.narrow_shown + [False] * recipe.unrelated_shown
    Random(f"{recipe.seed}:kinds").shuffle(kinds)
    narrow = _rounds(n_narrow, Random(f"{recipe.seed}:narrow"))
    mixed = _rounds(n_mixed, Random(f"{recipe.seed}:unrelated"))
    order = [next(narrow) if is_narrow else n_narrow + next(mixed) for is_narrow in kinds]
    size = recipe.batch_size
    return tuple(tuple(order[first : first + size]) for first in range(0, len(order), size))


def _rounds(count: int, random: Random) -> Iterator[int]:
    while True:
        order = list(range(count))
        random.shuffle(order)
        yield from order


def data_sha256(documents: Sequence[Document], unrelated: Sequence[str]) -> str:
    """Return the SHA-256 over all texts of a training, in order."""
    digest = hashlib.sha256(documents_sha256(documents).encode())
    digest.update(documents_sha256([Document(text) for text in unrelated]).encode())
    return digest.hexdigest()
