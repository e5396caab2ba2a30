"""The rows of a timeline, with operations folded, and the events that a search finds in them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workbench.operations.generation import ASK
from workbench.store.body import GROUPS, KINDS, kinds_of
from workbench.store.state import TimelineEntry

#: How an operation ends.
ENDINGS = frozenset({"operation_finished", "operation_failed", "operation_stopped"})

ALL, MINE = "all", "mine"
ACTORS = (ALL, "human", "agent", "system")
CHOICES = (ALL, MINE, *GROUPS)

#: What a person contributes by hand, beside the questions of `ASK`.
_BY_HAND = (
    kinds_of("hypotheses") | kinds_of("notes") | {"agent_messaged", "approval_given", "grade_given"}
)
_ASKING = f"{ASK.name} started"


def is_piece(entry: TimelineEntry) -> bool:
    """True for a piece of a growing text, which the finished text has whole."""
    return KINDS[entry.kind].is_piece


@dataclass(frozen=True)
class Filter:
    """The events to show: one actor's or all, one group of kinds or all, with growth or not."""

    actor: str = ALL
    group: str = ALL
    growth: bool = False

    def admits(self, entry: TimelineEntry) -> bool:
        """True if the event is shown."""
        if is_piece(entry) and not self.growth:
            return False
        if self.actor not in {ALL, entry.actor.kind}:
            return False
        if self.group == MINE:
            asked = entry.kind == "operation_started" and entry.description == _ASKING
            return entry.actor.kind == "human" and (asked or entry.kind in _BY_HAND)
        return self.group in {ALL, KINDS[entry.kind].group}


#: Where an event is listed: (place of its operation's first event, its own place).
Key = tuple[int, int]


@dataclass
class Inside:
    """The events of one operation after its first, by their place in the timeline."""

    places: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def findings(self, timeline: Sequence[TimelineEntry]) -> list[int]:
        """The places of those that are neither growth nor the operation's end."""
        return [
            place
            for place in self.places
            if timeline[place].kind not in ENDINGS and not is_piece(timeline[place])
        ]

    def only_finding(self, timeline: Sequence[TimelineEntry]) -> int | None:
        """The place of the one finding of an operation that finished; None if it has not just one."""
        findings = self.findings(timeline)
        done = self.kinds["operation_finished"] > 0
        return findings[0] if done and len(findings) == 1 else None


class TimelineIndex:
    """The rows of a growing timeline: events that pass a filter, with operations folded.

    An operation is the row of its first event. The events that it recorded are listed right below
    that row while it is unfolded, and not at all otherwise. Where the filter leaves the first event
    out, the others are rows of their own.

    Taking a longer timeline costs as much as it has new events; only another filter or another
    search looks at all of them again.
    """

    def __init__(self) -> None:
        self.filter = Filter()
        self.query = ""
        self._timeline: Sequence[TimelineEntry] = ()
        self._session = ""
        self._unfolded: set[int] = set()
        self._in_texts: set[int] = set()
        self._clear()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def found(self) -> Sequence[Key]:
        """The events that the search finds, also those in folded operations, in order."""
        return self._found

    @property
    def n_events(self) -> int:
        """The number of events that the rows represent."""
        return self._n_events

    def take(self, timeline: Sequence[TimelineEntry], session_id: str) -> bool:
        """Take the timeline as it is now; True if that changes the rows.

        A shorter one, as in a replay that goes back, loses its last rows.
        """
        changed = False
        if session_id != self._session:
            self._session = session_id
            self._unfolded.clear()
            self._in_texts.clear()
            self._clear()
            changed = True
        elif len(timeline) < self._taken:
            self._clear()
            changed = True
        self._timeline = timeline
        return self._read_on() or changed

    def choose(self, chosen: Filter) -> None:
        """Show what passes another filter."""
        self.filter = chosen
        self._clear()
        self._read_on()

    def search(self, query: str, in_texts: Iterable[int] = ()) -> None:
        """Find the events whose line has ``query`` in it, in small or capital letters.

        ``in_texts`` are places of events whose whole text has it.
        """
        self.query = query.lower()
        self._in_texts = set(in_texts)
        self._clear()
        self._read_on()

    def find_also(self, places: Iterable[int]) -> None:
        """Add events whose whole text was found to have the query."""
        for place in places:
            if self.query and place < self._taken:
                self._in_texts.add(place)
                key = self._key(place)
                at = bisect_left(self._found, key)
                listed = key[0] != place or self.filter.admits(self._timeline[place])
                if listed and self._found[at : at + 1] != [key]:
                    self._found.insert(at, key)

    # --- operations -------------------------------------------------------------------------

    def inside(self, place: int) -> Inside | None:
        """The events inside the operation that starts at ``place``; None for any other event."""
        return self._inside.get(place)

    def head(self, place: int) -> int:
        """The place of the operation's first event if the event is inside one, else its own."""
        return self._key(place)[0]

    def is_unfolded(self, place: int) -> bool:
        """True if the operation that starts at ``place`` shows its events."""
        return place in self._unfolded

    @property
    def unfolded(self) -> list[int]:
        """The places of the operations that show their events."""
        return sorted(self._unfolded)

    def unfold(self, place: int) -> None:
        """List the events of the operation that starts at ``place`` below it."""
        if place not in self._unfolded:
            self._unfolded.add(place)
            keys = [(place, inner) for inner in self._listed_inside(place)]
            if place in self._inside and keys:
                at = bisect_right(self._rows, (place, place))
                self._rows[at:at] = keys

    def fold(self, place: int) -> None:
        """Hide the events of the operation that starts at ``place``."""
        if place in self._unfolded:
            self._unfolded.discard(place)
            if place in self._inside:
                first = bisect_right(self._rows, (place, place))
                last = bisect_left(self._rows, (place + 1, 0))
                del self._rows[first:last]

    def _listed_inside(self, head: int) -> list[int]:
        inside = self._inside.get(head, Inside()).places
        return [place for place in inside if self._shows_growth(place)]

    def _shows_growth(self, place: int) -> bool:
        return self.filter.growth or not is_piece(self._timeline[place])

    # --- rows -------------------------------------------------------------------------------

    def place(self, row: int) -> int:
        """The place in the timeline of the event that the row shows."""
        return self._rows[row][1]

    def row(self, place: int) -> int:
        """The row of that event, or else the nearest before it, or the first."""
        return max(0, bisect_right(self._rows, self._key(place)) - 1)

    def next_found(self, row: int, step: int, *, here: bool = False) -> int | None:
        """The place of the next found event after (or before) a row, round the end; None if none.

        ``here`` counts the event of the row itself.
        """
        if not self._found:
            return None
        key = self._rows[row] if row < len(self._rows) else (0, 0)
        after = bisect_left if here or step < 0 else bisect_right
        at = after(self._found, key) - (step < 0)
        return self._found[at % len(self._found)][1]

    def number_found(self, row: int) -> int:
        """The number of the found event that the row shows, from 1; 0 if it shows none."""
        if row >= len(self._rows):
            return 0
        at = bisect_left(self._found, self._rows[row])
        return at + 1 if self._found[at : at + 1] == [self._rows[row]] else 0

    def _key(self, place: int) -> Key:
        return self._heads.get(self._timeline[place].operation_id, place), place

    def _clear(self) -> None:
        self._taken = 0
        self._n_events = 0
        self._rows: list[Key] = []
        self._found: list[Key] = []
        self._heads: dict[str | None, int] = {}
        self._inside: dict[int, Inside] = {}

    def _read_on(self) -> bool:
        """Add the new events; return True if that changes the rows or their text."""
        changed = False
        for place in range(self._taken, len(self._timeline)):
            entry = self._timeline[place]
            head = self._heads.get(entry.operation_id) if entry.operation_id else None
            if head is not None:
                inside = self._inside[head]
                inside.places.append(place)
                inside.kinds[entry.kind] += 1
                shown = head in self._unfolded and (self.filter.growth or not is_piece(entry))
            else:
                shown = self.filter.admits(entry)
                head = place
                if shown and entry.kind == "operation_started" and entry.operation_id:
                    self._heads[entry.operation_id] = place
                    self._inside[place] = Inside()
            if shown:
                self._insert(self._rows, (head, place))
            if not is_piece(entry) or self.filter.growth:
                listed = shown or head != place
                changed = changed or listed
                self._n_events += listed
                if listed and self._matches(place, entry):
                    self._insert(self._found, (head, place))
        self._taken = len(self._timeline)
        return changed

    @staticmethod
    def _insert(keys: list[Key], key: Key) -> None:
        if not keys or key > keys[-1]:
            keys.append(key)
        else:
            insort(keys, key)

    def _matches(self, place: int, entry: TimelineEntry) -> bool:
        if not self.query:
            return False
        return place in self._in_texts or self.query in entry.description.lower()
