"""Findings with their place in the log, and lists of them that only ever grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, overload

from pydantic import BaseModel

from workbench.store.record import Actor

Item = TypeVar("Item")
Body_co = TypeVar("Body_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True)
class Recorded(Generic[Body_co]):
    """A finding with its place in the log and its actor."""

    seq: int
    at: datetime
    actor: Actor
    operation_id: str | None
    body: Body_co


class Prefix(Sequence[Item]):
    """The first items of a list that only ever grows: an immutable copy that costs nothing."""

    __slots__ = ("_items", "_length")

    def __init__(self, items: list[Item], length: int) -> None:
        self._items = items
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        places = range(self._length)[index]
        if isinstance(places, range):
            return tuple(self._items[place] for place in places)
        return self._items[places]

    def __iter__(self) -> Iterator[Item]:
        for place in range(self._length):
            yield self._items[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prefix):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Prefix({list(self)!r})"
