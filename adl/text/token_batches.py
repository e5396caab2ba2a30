"""Texts cut to the exact tokens at which activations are read, and batched.

Two layouts. *First tokens*: positions 0..k-1 of each text. *Chat positions*: offsets around the
start of the assistant's turn, rows padded on the left so that an offset is the same column in
every row of a batch.

Nothing here knows a tokenizer: callers hand in functions from text to token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice, pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from adl.errors import CorpusError, SiteError
from adl.records import Ids

Tokenise = Callable[[str], list[int]]
"""Token ids of a plain text, without any special token added."""

ChatIds = Callable[[str], tuple[list[int], int]]
"""A text put through the chat template: token ids, and the index of the assistant's first token.

That is the token after the generation prompt; it may lie one past the end of the ids.
"""


class BosPolicy(StrEnum):
    """Policy for the beginning-of-text token of plain text."""

    AUTO = "auto"
    """As the model's tokenizer does by default."""
    ALWAYS = "always"
    NEVER = "never"


def text_start(
    policy: BosPolicy, bos_id: int | None, before_text: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the token ids to put before each text; ``before_text`` are those of the tokenizer.

    Raises ``CorpusError`` if a token is always wanted and the tokenizer has none.
    """
    match policy:
        case BosPolicy.NEVER:
            return ()
        case BosPolicy.AUTO:
            return before_text
        case BosPolicy.ALWAYS:
            if before_text:
                return before_text
            if bos_id is None:
                raise CorpusError(
                    "The BOS policy is 'always', but this tokenizer has no beginning-of-text token",
                    "Use the policy 'auto' or 'never'.",
                )
            return (bos_id,)


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of several texts, and the columns at which activations are read.

    ``ids`` and ``mask`` are [texts, tokens], int64 and bool; the mask is False where a row is padding.
    ``columns`` [k] index the token axis and ``positions`` [k] are their labels. ``rows`` [texts], if
    given, are the places of the texts among those that were put in.
    """

    ids: Ids
    mask: NDArray[np.bool_]
    positions: tuple[str, ...]
    columns: tuple[int, ...]
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for wrong shapes and types."""
        if self.ids.shape != self.mask.shape or self.ids.ndim != 2:
            raise ValueError(f"ids {self.ids.shape} and mask {self.mask.shape} must be [B, T]")
        if self.ids.dtype != np.int64 or self.mask.dtype != np.bool_:
            raise ValueError(f"ids are {self.ids.dtype}, mask {self.mask.dtype}: want int64, bool")
        if self.rows and len(self.rows) != len(self):
            raise ValueError(f"{len(self.rows)} rows named for {len(self)} texts")
        if len(self.positions) != len(self.columns):
            raise ValueError(f"columns {self.columns} for positions {self.positions}")
        if not all(0 <= column < self.ids.shape[1] for column in self.columns):
            raise ValueError(f"columns {self.columns} lie outside {self.ids.shape[1]} tokens")
        if not self.mask[:, list(self.columns)].all():
            raise ValueError("a column falls on padding")

    def __len__(self) -> int:
        """Count the texts."""
        return int(self.ids.shape[0])


def first_tokens(
    texts: Iterable[str], tokenise: Tokenise, k: int, before: tuple[int, ...] = ()
) -> Iterator[tuple[Ids, int]]:
    """Yield (exactly the first k token ids, int64 [k]; the text's place) of the texts long enough.

    Tokens ``before`` the text count as positions. Raises ``SiteError`` if k is less than 1.
    """
    _require_positive(k)
    for row, text in enumerate(texts):
        ids = begun(tokenise(text), before)
        if len(ids) >= k:
            yield np.asarray(ids[:k], dtype=np.int64), row


@dataclass
class TokenBatches:
    """Batches of texts, made lazily, with a count of those left out.

    ``used``, ``skipped`` and ``longest`` (tokens of the longest text) describe the latest pass.
    Iterating again starts over.
    """

    texts: Sequence[str] = field(repr=False)
    batch_size: int
    positions: tuple[str, ...]
    _cut: Callable[[str], _Cut] = field(repr=False)
    _need: str = field(repr=False)
    used: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    longest: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Refuse a batch size that would never end."""
        if self.batch_size < 1:
            raise CorpusError(f"A batch of {self.batch_size} texts is empty", "Use 1 or more.")

    def __iter__(self) -> Iterator[TokenBatch]:
        """Yield the batches; raises ``CorpusError`` at the end if every text was too short."""
        for (batch,) in _walk(self):
            yield batch


@dataclass
class PairedTokenBatches:
    """The same texts cut for either side of a pair: row i of both batches is the same text.

    A text too short for one side's tokenizer is left out on both. Counts are those of ``base``,
    which are the same as those of ``finetuned`` but for ``longest``. ``unaligned`` texts were left
    out before, because the sides cut them differently.
    """

    base: TokenBatches
    finetuned: TokenBatches
    unaligned: int = 0

    def __post_init__(self) -> None:
        """Refuse sides that could not line up."""
        sides = (self.base, self.finetuned)
        if len({(side.positions, side.batch_size, len(side.texts)) for side in sides}) != 1:
            raise ValueError("both sides need the same texts, positions and batch size")

    @property
    def used(self) -> int:
        """Texts that went into batches."""
        return self.base.used

    @property
    def skipped(self) -> int:
        """Texts too short for one side or both, and unaligned ones."""
        return self.base.skipped + self.unaligned

    @property
    def positions(self) -> tuple[str, ...]:
        """Labels of the columns."""
        return self.base.positions

    def __iter__(self) -> Iterator[tuple[TokenBatch, TokenBatch]]:
        """Yield (base, finetuned); raises ``CorpusError`` at the end if no text was usable."""
        # Not `yield from`: the type of a pair is not that of any number of sides.
        for base, finetuned in _walk(self.base, self.finetuned):  # noqa: UP028
            yield base, finetuned


def _walk(*sides: TokenBatches) -> Iterator[tuple[TokenBatch, ...]]:
    for side in sides:
        side.used = side.skipped = side.longest = 0
    rows = _usable(sides)
    while group := list(islice(rows, sides[0].batch_size)):
        places = tuple(row for row, _ in group)
        yield tuple(
            _lined_up([cuts[index] for _, cuts in group], side.positions, places)
            for index, side in enumerate(sides)
        )
    if not sides[0].used:
        longest = min(side.longest for side in sides)
        raise CorpusError(
            f"All {sides[0].skipped} texts are too short: {sides[0]._need}, "
            f"and the longest text has {longest}",
            "Use longer texts, or fewer positions.",
        )


def _usable(sides: Sequence[TokenBatches]) -> Iterator[tuple[int, list[_Cut]]]:
    for row, texts in enumerate(zip(*(side.texts for side in sides), strict=True)):
        cuts = [side._cut(text) for side, text in zip(sides, texts, strict=True)]
        fits = all(cut.ids is not None for cut in cuts)
        for side, cut in zip(sides, cuts, strict=True):
            side.longest = max(side.longest, cut.length)
            side.used += fits
            side.skipped += not fits
        if fits:
            yield row, cuts


def first_token_batches(
    texts: Sequence[str],
    tokenise: Tokenise,
    k: int,
    batch_size: int,
    before: tuple[int, ...] = (),
) -> TokenBatches:
    """Return batches of exactly the first k tokens of each text, labelled "0" .. "k-1".

    Texts with fewer tokens (those ``before`` counted) are skipped. Raises ``SiteError`` if k is less
    than 1.
    """
    _require_positive(k)

    def cut(text: str) -> _Cut:
        ids = begun(tokenise(text), before)
        return _Cut(len(ids), ids[:k] if len(ids) >= k else None, tuple(range(k)))

    return TokenBatches(
        texts, batch_size, tuple(str(position) for position in range(k)), cut, f"{k} tokens needed"
    )


def chat_label(offset: int) -> str:
    """Return the label of a position so many tokens from the assistant's first one."""
    return f"chat{offset:+d}"


def chat_token_batches(
    texts: Sequence[str], chat_ids: ChatIds, offsets: Sequence[int], batch_size: int
) -> TokenBatches:
    """Return batches read at ``offsets`` from the assistant's first token, labelled "chat-3" etc.

    -1 is the last token of the generation prompt, 0 the first of the assistant's turn. Tokens after
    the last offset are cut off, and texts that do not reach every offset are skipped. Raises
    ``SiteError`` if the offsets are none, or not rising.
    """
    wanted = tuple(offsets)
    if not wanted or any(a >= b for a, b in pairwise(wanted)):
        raise SiteError(
            f"Chat positions {wanted} are not one or more rising offsets",
            "For example -3, -2, -1, 0, 1.",
        )

    def cut(text: str) -> _Cut:
        ids, start = chat_ids(text)
        end = start + wanted[-1] + 1
        reached = start + wanted[0] >= 0 and len(ids) >= end
        columns = tuple(start + offset for offset in wanted)
        return _Cut(len(ids), ids[:end] if reached else None, columns)

    return TokenBatches(
        texts,
        batch_size,
        tuple(map(chat_label, wanted)),
        cut,
        f"tokens at {wanted[0]:+d} to {wanted[-1]:+d} around the assistant's turn needed",
    )


@dataclass(frozen=True)
class _Cut:
    """A text's tokens up to the last one needed (None if it is too short), and where it is read."""

    length: int
    ids: list[int] | None
    columns: tuple[int, ...]


def left_padded(
    rows: Sequence[Sequence[int]],
    columns: Sequence[int] = (-1,),
    positions: tuple[str, ...] = (),
    places: tuple[int, ...] = (),
) -> TokenBatch:
    """Return rows of token ids padded on the left, so that all end in the last column.

    ``columns`` are read; negative ones count from the end. ``positions`` are their labels, by
    default the columns themselves. Raises ``ValueError`` for no rows, or for one without tokens.
    """
    if not rows or not all(map(len, rows)):
        raise ValueError("every row needs at least one token")
    width = max(map(len, rows))
    ids: Ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = row
        mask[index, width - len(row) :] = True
    counted = tuple(column % width for column in columns)
    return TokenBatch(ids, mask, positions or tuple(map(str, counted)), counted, places)


def _lined_up(
    cuts: Sequence[_Cut], positions: tuple[str, ...], places: tuple[int, ...]
) -> TokenBatch:
    # Every row ends at its last column, so lining up the ends lines up all columns.
    rows = [cut.ids or [] for cut in cuts]
    columns = [column - len(rows[0]) for column in cuts[0].columns]
    return left_padded(rows, columns, positions, places)


def common_start(rows: Sequence[Sequence[int]]) -> int:
    """Return the number of ids that all rows begin with."""
    alike = (len(set(column)) == 1 for column in zip(*rows, strict=False))
    return sum(takewhile(bool, alike))


def begun(ids: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return ``before`` and ``ids``, or ``ids`` alone if they already begin with ``before``."""
    return list(ids) if list(ids[: len(before)]) == list(before) else [*before, *ids]


def _require_positive(k: int) -> None:
    if k < 1:
        raise SiteError(f"{k} is not a number of first tokens", "Use 1 position or more.")
