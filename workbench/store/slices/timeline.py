"""The timeline: every event in one line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Self

from workbench.store.body import EventBody
from workbench.store.events import Actor, Event
from workbench.store.recorded import Prefix
from workbench.store.slices.operations import operation_id
from workbench.store.slices.slice import Slice, on


class TimelineEntry(NamedTuple):
    """One event in one line; ``description`` may hold text of a model.

    ``operation_id`` is the operation that recorded the event, and ``text_id`` the generated text
    that it names (of several the first), each None without one.
    """

    seq: int
    at: datetime
    actor: Actor
    kind: str
    description: str
    operation_id: str | None = None
    text_id: str | None = None


class Timeline(Slice[Sequence[TimelineEntry]]):
    """An entry for each event."""

    def __init__(self) -> None:
        super().__init__("timeline")
        self._entries: list[TimelineEntry] = []

    @on(EventBody)
    def _append(self, event: Event) -> None:
        body = event.body
        self._entries.append(
            TimelineEntry(
                event.seq,
                event.at,
                event.actor,
                body.kind,
                body.describe(),
                operation_id(event),
                body.shown_text,
            )
        )

    def value(self) -> Prefix[TimelineEntry]:
        """The entries so far; the list itself is shared and goes on growing."""
        return Prefix(self._entries, len(self._entries))

    def copy(self) -> Self:
        """Another with a list of its own."""
        twin = type(self)()
        twin._entries = list(self._entries)
        return twin
