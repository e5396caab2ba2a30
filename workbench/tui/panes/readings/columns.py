"""The columns of a table of token lists, and statistics of their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from adl.nulls import DIFFERENCE, NULLS
from workbench.store.events import ReadToken
from workbench.tui.panes.readings.index import (
    CHOSEN,
    TOP,
    Choice,
    Group,
    Index,
    Scale,
    Taken,
)

Name = TypeVar("Name")

#: Ranks of readings are fused into it: it has no size that could be compared with a null's.
FUSED = "consensus"


@dataclass(frozen=True)
class Column:
    """One list, or that there is none: ``taken`` is None where it was not computed."""

    position: str
    source: str
    taken: Taken | None
    tokens: tuple[ReadToken, ...]
    starred: bool

    @property
    def scale(self) -> float | None:
        """The scale of its list."""
        return None if self.taken is None else self.taken.body.scale

    def word(self, token: ReadToken) -> str:
        """The text of a token, with the rest of the word that it begins."""
        return token.text if self.taken is None else self.taken.body.word(token)


@dataclass(frozen=True)
class Table:
    """The lists shown at once, with their nulls.

    ``highest`` is the highest score in it: all bars are drawn against it, so that they can be
    compared across columns.
    """

    group: Group
    scale: Scale
    columns: tuple[Column, ...]
    nulls: tuple[Column, ...]
    highest: float

    @property
    def rows(self) -> int:
        """The length of the longest list, at least 1 for a placeholder."""
        return max((1, *(len(column.tokens) for column in self.columns)))

    def token(self, row: int, column: int) -> ReadToken | None:
        """The token in a cell, if one is there."""
        if not 0 <= column < len(self.columns):
            return None
        tokens = self.columns[column].tokens
        return tokens[row] if 0 <= row < len(tokens) else None

    def share(self, token: ReadToken) -> float:
        """Return the length of the token's bar, 0 to 1.

        Of the highest score in sight; where scores are log-probabilities, their ratio to it.
        """
        if not math.isfinite(token.score):
            return 0.0
        if self.highest <= 0:
            return math.exp(max(-60.0, min(0.0, token.score - self.highest)))
        return max(0.0, min(1.0, token.score / self.highest))

    def raised_by(self, null: Column, token: ReadToken) -> bool:
        """True if the token is among a null's top tokens with at least half its score.

        Tokens that a list lowers never count.
        """
        for other in null.tokens[:TOP]:
            if other.text == token.text:
                if self.highest > 0:
                    return token.score > 0 and other.score >= token.score / 2
                return other.score >= token.score - math.log(2)
        return False

    def shared_with(self, column: Column, null: Column) -> int:
        """Return how many top tokens of a list a null raises too."""
        return sum(self.raised_by(null, token) for token in column.tokens[:TOP])


def table_of(index: Index, group: Group, choice: Choice) -> Table:
    """Return the table of a group with the chosen scale."""
    scale = index.scale(group, choice)
    positions = index.positions(group)

    def column(position: str, source: str, taken: Taken | None) -> Column:
        starred = taken is not None and index.is_chosen(group._replace(source=source), taken)
        return Column(position, source, taken, tokens_of(taken, choice), starred)

    lists = {position: index.find(group, position, scale) for position in positions}
    first = next(iter(lists.values()), None)
    first_scale = None if first is None else first.body.scale
    compared = {}
    for source in (DIFFERENCE, *NULLS):
        beside = index.control(group, source, first_scale)
        if beside is not None and source != group.source:
            compared[source] = column(beside.body.position, source, beside)
    nulls = tuple(null for source, null in compared.items() if source in NULLS)
    columns = []
    for position, taken in lists.items():
        columns.append(column(position, group.source, taken))
        if choice.beside:
            others = compared.values() if group.source in NULLS else nulls
            columns += [other for other in others if other.position == position]
    return Table(group, scale, tuple(columns), nulls, _highest(columns))


def tokens_of(taken: Taken | None, choice: Choice) -> tuple[ReadToken, ...]:
    """The tokens of a list: whole words, with those struck in their places, or everything."""
    if taken is None:
        return ()
    if choice.unfiltered:
        return taken.body.unfiltered
    if not choice.struck:
        return taken.body.tokens
    tokens: list[ReadToken] = list(taken.body.tokens)
    for struck in taken.body.struck:
        tokens.insert(struck.rank - 1, struck)
    return tuple(tokens)


def step(names: Sequence[Name], current: Name, by: int) -> Name:
    """The next or previous of some names, around the end."""
    if current not in names:
        return names[0] if names else current
    return names[(names.index(current) + by) % len(names)]


def scale_after(index: Index, table: Table, by: int) -> Scale:
    """The next larger or smaller scale; the ends are the ends."""
    scales = index.scales(table.group)
    if not scales:
        return CHOSEN
    current = table.columns[0].scale if table.columns else None
    at = scales.index(current) if current in scales else 0
    return scales[max(0, min(len(scales) - 1, at + by))]


def _highest(columns: Sequence[Column]) -> float:
    scores = [token.score for column in columns for token in column.tokens[:1]]
    finite = [score for score in scores if math.isfinite(score)]
    return max(finite, default=0.0)
