"""Every event of the session, with its actor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, Static

from adl.words import number_of, whole_number
from workbench.display import clean_line, clean_lines, shorten
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.operations.notes import NOTE, looked_at
from workbench.store.errors import StoreError
from workbench.store.events import Event
from workbench.store.state import SessionState, TimelineEntry
from workbench.tui import keys
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.event_fields import as_flow, as_text, event_fields
from workbench.tui.on_screen import described
from workbench.tui.panes.timeline.filter import (
    ACTORS,
    ALL,
    CHOICES,
    Filter,
    TimelineIndex,
    is_piece,
)
from workbench.tui.panes.timeline.render import operation_line
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows

_WHO = {"human": "you", "agent": "agent", "system": "\u00b7"}
_ACTOR_WORDS = {ALL: "everybody", "human": "you", "agent": "agent", "system": "program"}

#: Cells from which on the fields of the selected event are shown below the list.
_ROOM_FOR_FIELDS = (60, 18)
#: Characters of a text, and items of a list, among those fields.
_SHORT = (300, 6)


class TimelinePane(Pane):
    """Operations and events; an operation unfolds, an event is shown in the pane that has it."""

    TITLE: ClassVar[str] = "Timeline"
    SHORT: ClassVar[str] = "Time"
    HELP: ClassVar[str] = """
Every recorded event in order: its number, time (UTC), actor and content.
An operation (▸) is one line with its result; Enter or → unfolds the events inside it, ← folds them
again. A dot marks evidence. The line on top shows the filter: actor, kind (*mine* are your marks,
hypotheses, notes and questions), and the number of lines and events left. Pieces of growing texts
are hidden, because the finished text contains them.

Enter on an event shows it in the pane that has it. `{search}` searches the lines and the whole texts,
also inside folded operations, for words or their beginnings; `#12` goes to event 12.
"""
    LOOKS: ClassVar[frozenset[str]] = frozenset(
        {"search", "actor", "kind", "growth", "detail", "copy", "find", "reset", "unfold", "fold"}
    )
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("timeline")
    DEFAULT_CSS = """
    TimelinePane #shown { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    TimelinePane #search { display: none; border: none; height: 1; padding: 0;
        background: $surface; }
    TimelinePane.-searching #search { display: block; }
    TimelinePane #fields { display: none; height: 8; border-top: solid $panel-lighten-2; }
    TimelinePane.-roomy #fields { display: block; }
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._index = TimelineIndex()
        self._marked: set[int] = set()
        self._fields_of: int | None = None
        # The operation that the search unfolded, to be folded when the search goes on.
        self._peeked: int | None = None
        # Up to which event the whole texts were searched.
        self._searched = 0

    def compose(self) -> ComposeResult:
        """The filter, the events, and the fields of one."""
        yield Static(id="shown")
        yield Rows(self._row)
        yield Input(placeholder="search, or #number", id="search", select_on_focus=True)
        yield Static(id="fields")

    def focus_pane(self) -> None:
        """Focus the list."""
        self._rows.focus()

    @property
    def _rows(self) -> Rows:
        return self.query_one(Rows)

    # --- what is shown ----------------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Follow the newest event, unless the cursor was moved away from it."""
        if state.evidence is not before.evidence:
            self._marked = {mark.body.of_seq for mark in state.evidence.values()}
            self._rows.refresh()
        entry = self._entry_of(before)
        at_end = self._rows.cursor >= self._rows.count - 1
        if self._index.take(state.timeline, state.session_id):
            self._search_new_texts()
            self._rows.set_count(len(self._index), follow=True)
            if entry is not None and not at_end and entry.seq <= len(state.timeline):
                # Events of an unfolded operation may have come in above the cursor.
                self._rows.cursor = self._index.row(entry.seq - 1)
        self._show_filter()
        self._show_fields()

    def reveal(self, seq: int) -> bool:
        """Select any event; clear the filter if it hides the event."""
        if not 0 < seq <= len(self.state.timeline):
            return False
        entry = self.state.timeline[seq - 1]
        if not self._index.filter.admits(entry):
            head = self.state.timeline[self._index.head(seq - 1)]
            growth = self._index.filter.growth or is_piece(entry)
            if not self._index.filter.admits(head) or growth != self._index.filter.growth:
                self._choose(Filter(growth=growth))
        self._stand_on(seq - 1)
        return True

    def _stand_on(self, place: int) -> int | None:
        """Select an event; return the place of the operation unfolded for it, else None."""
        head = self._index.head(place)
        folded = head != place and not self._index.is_unfolded(head)
        if folded:
            self._index.unfold(head)
            self._rows.set_count(len(self._index))
        self._rows.cursor = self._index.row(place)
        return head if folded else None

    def on_resize(self, event: events.Resize) -> None:
        """Show the fields of an event below the list where there is room."""
        width, height = _ROOM_FOR_FIELDS
        self.set_class(event.size.width >= width and event.size.height >= height, "-roomy")
        self._show_filter()
        self._fields_of = None
        self._show_fields()

    def _entry(self) -> TimelineEntry | None:
        """The event under the cursor."""
        return self._entry_of(self.state)

    def _entry_of(self, state: SessionState) -> TimelineEntry | None:
        row = self._rows.cursor
        place = self._index.place(row) if row < len(self._index) else len(state.timeline)
        return state.timeline[place] if place < len(state.timeline) else None

    def _event(self, entry: TimelineEntry) -> Event | None:
        """The event whole, if it can be read."""
        if self.read_event is None:
            return None
        try:
            return self.read_event(entry.seq)
        except StoreError:
            return None

    def _all_fields(self, entry: TimelineEntry, *limits: int) -> list[tuple[str, str]]:
        event = self._event(entry)
        if event is not None:
            return event_fields(event, *limits)
        return [
            ("event", str(entry.seq)),
            ("time", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"),
            ("by", clean_line(f"{entry.actor.kind} {entry.actor.name}".strip())),
            ("kind", clean_line(entry.kind)),
            ("text", clean_lines(described(entry))),
            ("fields", "could not be read"),
        ]

    def _show_fields(self) -> None:
        if not self.has_class("-roomy"):
            return
        entry = self._entry()
        seq = 0 if entry is None else entry.seq
        if seq == self._fields_of:
            return
        self._fields_of = seq
        strip = self.query_one("#fields", Static)
        if entry is None:
            nothing = "no event passes the filter" if self.state.timeline else "no event so far"
            strip.update(Content.styled(nothing, "$foreground-muted"))
        else:
            # Number, time and actor are in the row above; settings and hashes come last.
            fields = self._all_fields(entry, *_SHORT)[3:]
            fields.sort(key=lambda field: "." in field[0] or "sha256" in field[0])
            strip.update(as_flow(fields))

    def _show_filter(self) -> None:
        chosen, index = self._index.filter, self._index
        narrow = self.size.width < 60
        who = ALL if narrow and chosen.actor == ALL else _ACTOR_WORDS[chosen.actor]
        kinds = "all kinds" if chosen.group == ALL and not narrow else chosen.group
        parts = [
            _choice("who", who, on=chosen.actor != ALL),
            _choice("filter", kinds, on=chosen.group != ALL),
        ]
        if chosen.growth or not narrow:
            growth = f"pieces of texts {'shown' if chosen.growth else 'hidden'}"
            parts.append(_choice("growth", growth, on=chosen.growth))
        if index.query:
            query = clean_line(shorten(index.query, 12 if narrow else 30))
            found = f"{query} {index.number_found(self._rows.cursor)}/{len(index.found)}"
            parts.append(_choice("search", found, on=True))
        line, strip = Content("  ").join(parts), self.query_one("#shown", Static)
        events_shown = number_of(index.n_events, "event")
        if index.n_events != len(self.state.timeline):
            events_shown = f"{index.n_events:,} of {number_of(len(self.state.timeline), 'event')}"
        counts = [f"{number_of(len(index), 'line')}, {events_shown}", events_shown]
        free = strip.size.width - line.cell_length
        count = next((count for count in counts if len(count) < free - 1), "")
        room = free - len(count) if count else 0
        if room > 1:
            line = Content.assemble(line, " " * room, (count, "$foreground-muted"))
        strip.update(line)

    def _row(self, index: int, width: int) -> Text:
        place = self._index.place(index)
        entry = self.state.timeline[place]
        row = Text()
        row.append(f"{entry.seq:>5} ", style="dim")
        cells = 5
        if width >= 50:
            row.append(f"{entry.at:%H:%M:%S} ", style="dim")
            cells = 8 if width < 100 else 14
        who = shorten(clean_line(entry.actor.name or _WHO[entry.actor.kind]), cells)
        row.append(who.ljust(cells), style="bold" if entry.actor.kind != "system" else "dim")
        inside = self._index.inside(place)
        unfolded = self._index.is_unfolded(place)
        marked = entry.seq in self._marked
        if inside is not None and not unfolded:
            marked = marked or any(inner + 1 in self._marked for inner in inside.places)
        row.append("\u2022" if marked else " ", style="bold")
        if inside is None:
            row.append("    " if self._index.head(place) != place else "  ")
            row.append(clean_line(described(entry)))
        else:
            row.append("\u25be " if unfolded else "\u25b8 ", style="bold")
            operation = self.state.operations.get(entry.operation_id or "")
            row.append(clean_line(operation_line(operation, entry, inside, self.state.timeline)))
        if self._index.query:
            _underline(row, self._index.query)
        return row

    # --- kept when the session is left --------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """The event under the cursor, the filter and the search."""
        entry, chosen = self._entry(), self._index.filter
        at_end = self._rows.cursor >= len(self._index) - 1
        return {
            "seq": None if entry is None or at_end else entry.seq,
            "actor": chosen.actor,
            "kinds": chosen.group,
            "growth": chosen.growth,
            "search": self._index.query,
            "unfolded": [place + 1 for place in self._index.unfolded],
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore filter and search first, so that the event has its row."""
        actor, group = view.get("actor"), view.get("kinds")
        self._choose(
            Filter(
                actor=actor if actor in ACTORS else ALL,
                group=group if group in CHOICES else ALL,
                growth=view.get("growth") is True,
            )
        )
        query = view.get("search")
        if isinstance(query, str) and query:
            self._search(query)
        unfolded = view.get("unfolded")
        for opened in unfolded if isinstance(unfolded, list) else ():
            if isinstance(opened, int) and self._index.inside(opened - 1) is not None:
                self._index.unfold(opened - 1)
        self._rows.set_count(len(self._index), follow=True)
        seq = view.get("seq")
        if isinstance(seq, int) and 0 < seq <= len(self.state.timeline):
            self._rows.cursor = self._index.row(seq - 1)

    # --- keys -------------------------------------------------------------------------------

    def on_cursor_list_moved(self, event: Rows.Moved) -> None:
        """Show the fields of the event, and its number among the search results."""
        event.stop()
        self._show_fields()
        if self._index.query:
            self._show_filter()

    def on_cursor_list_chosen(self, event: Rows.Chosen) -> None:
        """Unfold or fold an operation; show an event where it belongs."""
        event.stop()
        place = self._index.place(event.index)
        inside = self._index.inside(place)
        if inside is None:
            self.post_message(self.Jump(place + 1))
            return
        only = inside.only_finding(self.state.timeline)
        if only is not None:
            self.post_message(self.Jump(only + 1))
        elif self._index.is_unfolded(place):
            self.action_fold()
        else:
            self.action_unfold()

    def action_unfold(self) -> None:
        """Show the events inside the operation under the cursor; the next event if they are shown."""
        if (entry := self._entry()) is None:
            return
        place = entry.seq - 1
        if self._index.inside(place) is not None and not self._index.is_unfolded(place):
            self._index.unfold(place)
            self._rows.set_count(len(self._index))
        elif self._index.inside(place) is not None:
            self._rows.cursor += 1
        self._show_filter()

    def action_fold(self) -> None:
        """Hide the events of the operation under the cursor, or of the one it is inside."""
        if (entry := self._entry()) is None:
            return
        head = self._index.head(entry.seq - 1)
        self._index.fold(head)
        self._rows.set_count(len(self._index))
        self._rows.cursor = self._index.row(head)
        self._show_filter()

    def action_actor(self, step: int) -> None:
        """Show the events of the next actor, or of everybody."""
        self._choose(
            replace(self._index.filter, actor=_next(ACTORS, self._index.filter.actor, step))
        )

    def action_kind(self, step: int) -> None:
        """Show the next group of kinds, or all."""
        self._choose(
            replace(self._index.filter, group=_next(CHOICES, self._index.filter.group, step))
        )

    def action_growth(self) -> None:
        """Show the pieces of texts under way, or hide them."""
        self._choose(replace(self._index.filter, growth=not self._index.filter.growth))

    def action_reset(self) -> None:
        """Leave the search field; from the list, show everything but growth and forget the search."""
        if self.has_class("-searching"):
            self._leave_search()
            return
        self._index.search("")
        self._choose(Filter())

    def _choose(self, chosen: Filter) -> None:
        """Show what passes the filter; the cursor stays on its event, or at the end if it was there."""
        rows = self._rows
        entry = self._entry()
        at_end = rows.cursor >= len(self._index) - 1
        self._index.choose(chosen)
        rows.set_count(len(self._index))
        if at_end or entry is None:
            rows.cursor = len(self._index) - 1
        else:
            rows.cursor = self._index.row(entry.seq - 1)
        self._show_filter()
        self._show_fields()

    def action_search(self) -> None:
        """Ask what to search for."""
        self.add_class("-searching")
        self.query_one("#search", Input).focus()

    def _search(self, query: str) -> None:
        self._fold_peeked()
        self._searched = len(self.state.timeline)
        self._index.search(query, self._found_in_texts(query, after=0))
        self._rows.refresh()
        self._show_filter()

    def _search_new_texts(self) -> None:
        """Search the texts that came since the last search, as their events are listed."""
        if self._index.query:
            self._index.find_also(self._found_in_texts(self._index.query, self._searched))
        self._searched = len(self.state.timeline)

    def _found_in_texts(self, query: str, after: int) -> list[int]:
        """Return the places of events whose whole text has the words."""
        if self.find_events is None or not query:
            return []
        try:
            found = self.find_events(query, after)
        except StoreError as exc:
            self.notify(f"Whole texts were not searched: {exc}", severity="error", markup=False)
            return []
        return [seq - 1 for seq in found if seq <= len(self.state.timeline)]

    def _fold_peeked(self) -> None:
        peeked, self._peeked = self._peeked, None
        if peeked is not None:
            entry = self._entry()
            self._index.fold(peeked)
            self._rows.set_count(len(self._index))
            if entry is not None:
                # Of an event that was folded, the head of its operation.
                self._rows.cursor = self._index.row(entry.seq - 1)
            self._show_fields()

    @on(Input.Submitted, "#search")
    def _search_for(self, event: Input.Submitted) -> None:
        event.stop()
        query = event.value.strip()
        self._leave_search()
        if query.startswith("#") and query[1:].isdecimal():
            seq = whole_number(query[1:])
            if seq is None or not self.reveal(seq):
                message = f"There is no event {shorten(query[1:], 40)}."
                self.notify(message, severity="warning", markup=False)
            return
        self._search(query)
        if query:
            self._find(1, here=True)

    def _leave_search(self) -> None:
        self._rows.focus()
        self.remove_class("-searching")

    def action_find(self, step: int) -> None:
        """Go to the next found event, or the one before."""
        if self._index.query:
            self._find(step)
        else:
            self.action_search()

    def _find(self, step: int, *, here: bool = False) -> None:
        found = self._index.next_found(self._rows.cursor, step, here=here)
        if found is None:
            nothing = (
                f"No event that passes the filter has \u201c{clean_line(self._index.query)}\u201d."
            )
            self.notify(nothing, severity="warning", markup=False)
        else:
            if self._index.head(found) != self._peeked:
                self._fold_peeked()
            unfolded = self._stand_on(found)
            self._peeked = self._peeked if unfolded is None else unfolded
        self._show_filter()

    def action_detail(self) -> None:
        """Show all fields of the event under the cursor."""
        if (entry := self._entry()) is not None:
            title = f"Event {entry.seq}"
            self.app.push_screen(EventDetail(title, self._all_fields(entry)))

    def action_copy(self) -> None:
        """Copy the event under the cursor."""
        if (entry := self._entry()) is not None:
            self.app.copy_to_clipboard(as_text(self._all_fields(entry)))
            self.notify(f"Copied event {entry.seq}.")

    def action_nothing(self) -> None:
        """Record that the event under the cursor was reviewed and found irrelevant."""
        if (entry := self._entry()) is not None:
            label = entry.kind.replace("_", " ")
            self.submit(NOTE, looked_at(entry.seq, label, entry.description))
            self.notify(f"Noted: looked at event {entry.seq}, nothing.")

    def action_mark(self) -> None:
        """Mark the event under the cursor as evidence."""
        entry = self._entry()
        if entry is None:
            return
        for mark in self.state.evidence.values():
            if mark.body.of_seq == entry.seq and mark.body.excerpt == entry.description:
                message = f"Event {entry.seq} is marked already, as {mark.body.evidence_id}."
                self.notify(clean_line(message), markup=False)
                return
        event = self._event(entry)
        self.submit(
            MARK,
            MarkArguments(
                seq=entry.seq,
                excerpt=entry.description,
                label=f"event {entry.seq}, {entry.kind.replace('_', ' ')}",
                text_id=None if event is None else getattr(event.body, "text_id", None),
            ),
        )


def _next(choices: tuple[str, ...], chosen: str, step: int) -> str:
    return choices[(choices.index(chosen) + step) % len(choices)]


def _choice(key: str, chosen: str, *, on: bool) -> Content:
    """A choice behind the key that changes it, by its id in the table of keys."""
    style = "bold" if on else "$foreground-muted"
    return Content.assemble((keys.shown(key), "bold $accent"), " ", (chosen, style))


def _underline(row: Text, query: str) -> None:
    plain = row.plain.lower()
    at = plain.find(query)
    while at >= 0:
        row.stylize("bold underline", at, at + len(query))
        at = plain.find(query, at + len(query))
