"""A slice of the state: one field with its empty value, the events that change it, and its redaction.

Latest      one value, that of the last event of its kinds
Growing     records in the order they came
Items       records by key
a subclass  whatever else its methods marked with `on` make of events
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from workbench.store.body import KINDS
from workbench.store.events import Event
from workbench.store.recorded import Prefix, Recorded

Value_co = TypeVar("Value_co", covariant=True)
Key = TypeVar("Key")
Item = TypeVar("Item")

Redaction = Literal["plain", "text", "naming", "items", "list", "timeline"]
"""How the names of a blind session are hidden in a slice.

    plain       not at all: no text in it is anybody's words
    text        in every text, kept as long as the value is the same object
    naming      the same, with names that are ordinary words
    items       in the values of a mapping, each looked through once
    list        in a sequence that only ever grows
    timeline    in lines that may be cut off within a name

Slices of records have ``naming`` without a word where one of their kinds of event is naming.
"""

Handler = Callable[[Any, Event], None]
"""Apply an event to a slice."""

SLICE = "slice"
"""Key of a field's slice in the metadata of the field."""


def on(*kinds: type) -> Callable[[Handler], Handler]:
    """Mark the method of a slice that takes the events whose body is of one of these classes."""

    def mark(method: Handler) -> Handler:
        method.kinds = kinds  # type: ignore[attr-defined]
        return method

    return mark


class Slice(ABC, Generic[Value_co]):
    """One field of a session's state.

    Attributes
    ----------
    handlers
        What to call with an event, by the class of its body or a base of it.
    redaction
        How it is redacted in a blind session.
    later
        True if sessions were recorded before the field existed: empty, it is no part of a digest.

    """

    _marked: ClassVar[Mapping[type, Handler]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        marked = [method for method in vars(cls).values() if hasattr(method, "kinds")]
        cls._marked = MappingProxyType(
            {**cls._marked, **{kind: method for method in marked for kind in method.kinds}}
        )

    def __init__(self, redaction: Redaction, *, later: bool = False) -> None:
        self.redaction = redaction
        self.later = later
        self.handlers: Mapping[type, Handler] = self._marked

    def kinds(self) -> list[str]:
        """Names of the kinds of event that change it."""
        return [name for name, kind in KINDS.items() if issubclass(kind, tuple(self.handlers))]

    def take(self, event: Event) -> None:
        """Apply an event, if it is of a kind that changes the slice."""
        for kind, handle in self.handlers.items():
            if isinstance(event.body, kind):
                handle(self, event)

    @abstractmethod
    def value(self) -> Value_co:
        """The field after the events so far; never changed afterwards."""

    @abstractmethod
    def copy(self) -> Self:
        """A slice that goes on from here independently."""


def part(of: Slice[Item]) -> Item:
    """The dataclass field of a state that a slice fills; ``of`` has seen no event."""
    field: Any = dataclasses.field(default_factory=of.value, metadata={SLICE: of})
    return field  # type: ignore[no-any-return]


def slices_of(state: type) -> Mapping[str, Slice[Any]]:
    """The slices of a state, by the names of its fields. Raises ``TypeError`` for one without."""
    slices: dict[str, Slice[Any]] = {}
    for item in dataclasses.fields(state):
        if SLICE not in item.metadata:
            raise TypeError(f"{state.__name__}.{item.name} has no slice: declare it with `part`")
        slices[item.name] = item.metadata[SLICE]
    return MappingProxyType(slices)


def recorded(event: Event) -> Recorded[Any]:
    """The event's body with its place in the log."""
    return Recorded(event.seq, event.at, event.actor, event.operation_id, event.body)


def _redaction_of(kinds: Iterable[type], otherwise: Redaction) -> Redaction:
    """The redaction of records of these kinds of event: as closed as the events themselves."""
    kept = tuple(kinds)
    named = any(kind.is_naming for kind in KINDS.values() if issubclass(kind, kept))
    return "naming" if named else otherwise


class Latest(Slice[Value_co]):
    """The value of the last event of its kinds; ``take`` gets it from an event, by class of body."""

    def __init__(
        self,
        empty: Value_co,
        redaction: Redaction,
        take: Mapping[type, Callable[[Event], Any]],
        *,
        later: bool = False,
    ) -> None:
        super().__init__(redaction, later=later)
        self._value: Any = empty
        self._take = take
        self.handlers = {kind: _setting(get) for kind, get in take.items()}

    def value(self) -> Value_co:
        """The value, or the empty one before any event."""
        value: Value_co = self._value
        return value

    def copy(self) -> Self:
        """Another with the value."""
        return type(self)(self._value, self.redaction, self._take, later=self.later)


def _setting(get: Callable[[Event], Any]) -> Handler:
    def set_value(latest: Latest[Any], event: Event) -> None:
        latest._value = get(event)

    return set_value


class Growing(Slice[Sequence[Recorded[Any]]]):
    """Every event of these kinds, in order; redacted as a list, or as naming if one of them is."""

    def __init__(
        self, *kinds: type, redaction: Redaction | None = None, later: bool = False
    ) -> None:
        super().__init__(redaction or _redaction_of(kinds, "list"), later=later)
        self._kinds = kinds
        self._items: list[Recorded[Any]] = []
        self._prefix = Prefix(self._items, 0)
        self.handlers = dict.fromkeys(kinds, Growing._append)

    def _append(self, event: Event) -> None:
        self._items.append(recorded(event))

    def value(self) -> Prefix[Recorded[Any]]:
        """The records so far; the list itself is shared and goes on growing."""
        if len(self._prefix) != len(self._items):
            self._prefix = Prefix(self._items, len(self._items))
        return self._prefix

    def copy(self) -> Self:
        """Another with a list of its own."""
        twin = type(self)(*self._kinds, redaction=self.redaction, later=self.later)
        twin._items = list(self._items)
        twin._prefix = Prefix(twin._items, len(twin._items))
        return twin


class Items(Slice[Mapping[Key, Item]], Generic[Key, Item]):
    """Items by key. An immutable copy is made only when one was changed since the last.

    ``put`` and ``drop`` give the key of an event's record, by the class of its body. With
    ``latest_last`` an item that is put again moves to the end. They are redacted one by one, or as
    naming if a kind of event that they are made of is; one that only drops them is no such kind.
    """

    def __init__(
        self,
        redaction: Redaction | None = None,
        *,
        put: Mapping[type, Callable[[Event], Any]] = MappingProxyType({}),
        drop: Mapping[type, Callable[[Event], Any]] = MappingProxyType({}),
        latest_last: bool = False,
        later: bool = False,
    ) -> None:
        kinds = (*self._marked, *put)
        super().__init__(redaction or _redaction_of(kinds, "items"), later=later)
        self.items: dict[Key, Item] = {}
        self._copy: Mapping[Key, Item] | None = None
        self.handlers = {
            **self._marked,
            **{kind: _putting(key, latest_last) for kind, key in put.items()},
            **{kind: _dropping(key) for kind, key in drop.items()},
        }

    def put(self, key: Key, item: Item) -> None:
        """Add or replace an item."""
        self.items[key] = item
        self._copy = None

    def drop(self, key: Key) -> None:
        """Remove an item, if it is there."""
        if self.items.pop(key, None) is not None:
            self._copy = None

    def value(self) -> Mapping[Key, Item]:
        """The items, by key in the order they were first put."""
        if self._copy is None:
            self._copy = MappingProxyType(dict(self.items))
        return self._copy

    def copy(self) -> Self:
        """Another with a dict of its own."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self), items=dict(self.items))
        return twin


def _putting(key: Callable[[Event], Any], latest_last: bool) -> Handler:
    def put(items: Items[Any, Any], event: Event) -> None:
        name = key(event)
        if latest_last:
            items.drop(name)
        items.put(name, recorded(event))

    return put


def _dropping(key: Callable[[Event], Any]) -> Handler:
    return lambda items, event: items.drop(key(event))
