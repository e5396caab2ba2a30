"""Which events of a timeline are shown and which of them a search finds, kept up as events come."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.store.body import GROUPS, KINDS
from workbench.store.state import TimelineEntry

ALL = "all"
ACTORS = (ALL, "human", "agent", "system")
CHOICES = (ALL, *GROUPS)


@dataclass(frozen=True)
class Filter:
    """Which events are shown: one actor's or all, one group of kinds or all, with growth or not."""

    actor: str = ALL
    group: str = ALL
    growth: bool = False

    def admits(self, entry: TimelineEntry) -> bool:
        """True if the event is shown."""
        kind = KINDS[entry.kind]
        if kind.is_piece and not self.growth:
            return False
        if self.actor not in {ALL, entry.actor.kind}:
            return False
        return self.group in {ALL, kind.group}


class TimelineIndex:
    """The places of a growing timeline that pass a filter, and the rows among them that are found.

    Taking a longer timeline costs as much as it has new events; only another filter or another
    search looks at all of them again.
    """

    def __init__(self) -> None:
        self.filter = Filter()
        self.query = ""
        self._timeline: Sequence[TimelineEntry] = ()
        self._session = ""
        self._taken = 0
        self._shown: list[int] = []
        self._found: list[int] = []

    def __len__(self) -> int:
        return len(self._shown)

    @property
    def found(self) -> Sequence[int]:
        """The rows that the search finds, in order."""
        return self._found

    def take(self, timeline: Sequence[TimelineEntry], session_id: str) -> bool:
        """Take the timeline as it is now; whether that changes what is shown.

        A shorter one, as in a replay that goes back, loses its last rows.
        """
        before = len(self._shown)
        if session_id != self._session:
            self._session = session_id
            self._clear()
        elif len(timeline) < self._taken:
            self._taken = len(timeline)
            del self._shown[bisect_left(self._shown, self._taken) :]
            del self._found[bisect_left(self._found, len(self._shown)) :]
        self._timeline = timeline
        return self._read_on() or len(self._shown) != before

    def choose(self, chosen: Filter) -> None:
        """Show what passes another filter."""
        self.filter = chosen
        self._clear()
        self._read_on()

    def search(self, query: str) -> None:
        """Find the events whose line has ``query`` in it, in small or capital letters."""
        self.query = query.lower()
        self._found = [row for row in range(len(self._shown)) if self._matches(row)]

    def place(self, row: int) -> int:
        """Where in the timeline the row stands."""
        return self._shown[row]

    def row(self, place: int) -> int:
        """The row of that place, or else the nearest before it, or the first."""
        return max(0, bisect_right(self._shown, place) - 1)

    def next_found(self, row: int, step: int) -> int | None:
        """The next found row after (or before) ``row``, round the end; None if none is found."""
        if not self._found:
            return None
        at = bisect_right(self._found, row) if step > 0 else bisect_left(self._found, row) - 1
        return self._found[at % len(self._found)]

    def _clear(self) -> None:
        self._taken = 0
        self._shown.clear()
        self._found.clear()

    def _read_on(self) -> bool:
        """Look at what was not looked at yet; whether any of it is shown."""
        before = len(self._shown)
        for place in range(self._taken, len(self._timeline)):
            if self.filter.admits(self._timeline[place]):
                self._shown.append(place)
                if self._matches(len(self._shown) - 1):
                    self._found.append(len(self._shown) - 1)
        self._taken = len(self._timeline)
        return len(self._shown) != before

    def _matches(self, row: int) -> bool:
        if not self.query:
            return False
        return self.query in self._timeline[self._shown[row]].description.lower()
