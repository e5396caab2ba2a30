"""Alignment of texts that the two sides' tokenizers cut differently.

A position is a place in the text: the end of a token that ends at the same character on both sides.

    base        Un|believ|able| cakes|.          ends 2 8 12 18 19
    finetuned   Unbeliev|able| cak|es|.          ends 8 12 16 18 19      read at 8, 12, 18, 19

Up to there both sides have read the same text, so that the difference is one of models and not of
texts. A text is left out if its first token is not the same on both sides (the first token is an
attention sink, and a sink against no sink is a hundred times the difference of interest), or if too
few ends agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from adl.errors import CorpusError
from adl.records import Side
from adl.text.token_batches import TokenBatch

FURTHEST = 4
"""Tokens per position within which common ends must lie: later ones are not the start of a text."""


@dataclass(frozen=True)
class SideTokens:
    """A text on one side: ``ids``, the character at which each ends, and the tokens ``before`` it."""

    ids: Sequence[int]
    ends: Sequence[int]
    before: tuple[int, ...] = ()


@dataclass(frozen=True)
class Place:
    """The tokens of a text up to the last position, and the columns of its positions, by side."""

    base_ids: tuple[int, ...]
    base_columns: tuple[int, ...]
    finetuned_ids: tuple[int, ...]
    finetuned_columns: tuple[int, ...]


def places(base: SideTokens, finetuned: SideTokens, k: int) -> Place | None:
    """Return the first k positions at which both sides end a token; None without enough of them.

    Begin-of-text tokens are the first positions if both sides have equally many; else they precede
    the text and are no position.
    """
    both = len(base.before) if len(base.before) == len(finetuned.before) else 0
    last = [_last_by_end(side.ends) for side in (base, finetuned)]
    wanted = max(0, k - both)
    common = sorted(set(last[0]) & set(last[1]))[:wanted]
    if len(common) < wanted:
        return None
    columns = [[known[end] for end in common] for known in last]
    if not both and any(row[0] for row in columns):
        return None
    if common and max(row[-1] for row in columns) >= FURTHEST * k:
        return None
    found = []
    for side, row in zip((base, finetuned), columns, strict=True):
        shifted = [*range(min(both, k)), *(column + len(side.before) for column in row)]
        ids = [*side.before, *side.ids][: shifted[-1] + 1]
        found += [tuple(ids), tuple(shifted)]
    return Place(*found)


def _last_by_end(ends: Sequence[int]) -> dict[int, int]:
    """Return the last token index by the character it ends at: tokens may be parts of a character."""
    return {end: index for index, end in enumerate(ends)}


@dataclass
class AlignedTokenBatches:
    """Batches of texts read at the same characters; row i of both sides is the same text.

    A batch holds texts with the same columns. ``used`` counts texts in batches, ``skipped`` the
    others: too short, or ``unaligned``. Iterating again starts over.
    """

    texts: Sequence[str] = field(repr=False)
    batch_size: int
    k: int
    tokens: Callable[[Side, str], SideTokens] = field(repr=False)
    used: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    unaligned: int = field(default=0, init=False)

    @property
    def positions(self) -> tuple[str, ...]:
        """Labels of the positions, "0" .. "k-1"."""
        return tuple(map(str, range(self.k)))

    def __iter__(self) -> Iterator[tuple[TokenBatch, TokenBatch]]:
        """Yield (base, finetuned); raises ``CorpusError`` at the end if no text was usable."""
        self.used = self.skipped = self.unaligned = 0
        waiting: dict[object, list[tuple[int, Place]]] = {}
        for row, text in enumerate(self.texts):
            found = self._place(text)
            if found is None:
                continue
            layout = found.base_columns, found.finetuned_columns
            group = waiting.setdefault(layout, [])
            group.append((row, found))
            if len(group) == self.batch_size:
                yield self._batch(waiting.pop(layout))
        for group in waiting.values():
            yield self._batch(group)
        if not self.used:
            raise CorpusError(
                f"no text can be read at the same {self.k} places on both sides: of "
                f"{len(self.texts)} texts, {self.unaligned} are cut into tokens that do not line up "
                f"and {self.skipped - self.unaligned} are too short",
                "Use longer texts, fewer positions, or chat positions, which are lined up by the turn.",
            )

    def _place(self, text: str) -> Place | None:
        base, finetuned = self.tokens("base", text), self.tokens("finetuned", text)
        found = places(base, finetuned, self.k)
        if found is None:
            self.skipped += 1
            long_enough = all(
                len(side.ids) + len(side.before) >= self.k for side in (base, finetuned)
            )
            self.unaligned += long_enough
        return found

    def _batch(self, group: Sequence[tuple[int, Place]]) -> tuple[TokenBatch, TokenBatch]:
        self.used += len(group)
        rows = tuple(row for row, _ in group)
        first = group[0][1]
        return (
            self._side([place.base_ids for _, place in group], first.base_columns, rows),
            self._side([place.finetuned_ids for _, place in group], first.finetuned_columns, rows),
        )

    def _side(
        self, ids: Sequence[Sequence[int]], columns: tuple[int, ...], rows: tuple[int, ...]
    ) -> TokenBatch:
        # All rows have the same columns and end at the last one: no padding is needed.
        array = np.asarray(ids, dtype=np.int64)
        return TokenBatch(array, np.ones_like(array, dtype=np.bool_), self.positions, columns, rows)
