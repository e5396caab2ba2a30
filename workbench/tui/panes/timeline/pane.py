"""Every event of the session, with who brought it about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from workbench.display import clean_line, clean_lines, shorten
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.store.body import KINDS
from workbench.store.errors import StoreError
from workbench.store.events import Event
from workbench.store.state import SessionState, TimelineEntry
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.event_fields import as_flow, as_text, event_fields
from workbench.tui.panes.timeline.filter import ACTORS, ALL, CHOICES, Filter, TimelineIndex
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows

_WHO = {"human": "you", "agent": "agent", "system": "\u00b7"}
_ACTOR_WORDS = {ALL: "everybody", "human": "you", "agent": "agent", "system": "program"}

#: Cells from which on the fields of the event under the cursor stand below the list.
_ROOM_FOR_FIELDS = (60, 18)
#: Characters of a text, and items of a list, among those fields.
_SHORT = (300, 6)


class TimelinePane(Pane):
    """The list of events; Enter shows one in the pane that has it."""

    TITLE: ClassVar[str] = "Timeline"
    SHORT: ClassVar[str] = "Time"
    HELP: ClassVar[str] = """
Everything that was recorded, in order: its number, its time (UTC), who brought it about and what it
was. A dot before the words says that the event is marked as evidence. The line on top says what is
shown: events of everybody or of one actor, of all kinds or of one, and how many of all there are.
Pieces of texts under way are hidden: each stands again in the finished text.

Enter shows what an event recorded, in the pane that has it. `/` searches in the lines that are
shown; `#12` goes to event 12.
"""
    LOOKS: ClassVar[frozenset[str]] = frozenset(
        {"search", "actor", "kind", "growth", "detail", "copy", "find", "reset"}
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/", tooltip="Search, or go to #number"),
        Binding("v", "actor(1)", "Who", tooltip="Show everybody's events, or one actor's"),
        Binding("V", "actor(-1)", "Who, back", show=False),
        Binding("t", "kind(1)", "Kind", tooltip="Show all kinds of events, or one group"),
        Binding("T", "kind(-1)", "Kind, back", show=False),
        Binding("g", "growth", "Growth", show=False, tooltip="Show or hide pieces of growing text"),
        Binding("i,space", "detail", "Fields", tooltip="All fields of the event"),
        Binding("m", "mark", "Mark", tooltip="Mark the event as evidence"),
        Binding("c", "copy", "Copy", show=False, tooltip="Copy the event with its fields"),
        Binding(
            "greater_than_sign,f3",
            "find(1)",
            "Next found",
            show=False,
            key_display=">",
            tooltip="Go to the next event that the search finds",
        ),
        Binding(
            "less_than_sign,shift+f3",
            "find(-1)",
            "Previous found",
            show=False,
            key_display="<",
            tooltip="Go to the one before",
        ),
        Binding("escape", "reset", "Show all", show=False, tooltip="Take filter and search back"),
    ]
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

    def compose(self) -> ComposeResult:
        """What is shown, the events, and the fields of one."""
        yield Static(id="shown")
        yield Rows(self._row)
        yield Input(placeholder="search, or #number", id="search", select_on_focus=True)
        yield Static(id="fields")

    def focus_pane(self) -> None:
        """The list takes the keys."""
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
        if self._index.take(state.timeline, state.session_id):
            self._rows.set_count(len(self._index), follow=True)
        self._show_filter()
        self._show_fields()

    def reveal(self, seq: int) -> bool:
        """Every event is here; one that the filter hides ends the filter."""
        if not 0 < seq <= len(self.state.timeline):
            return False
        entry = self.state.timeline[seq - 1]
        if not self._index.filter.admits(entry):
            self._choose(Filter(growth=self._index.filter.growth or KINDS[entry.kind].is_piece))
        self._rows.cursor = self._index.row(seq - 1)
        return True

    def on_resize(self, event: events.Resize) -> None:
        """The fields of an event stand below the list where there is room."""
        width, height = _ROOM_FOR_FIELDS
        self.set_class(event.size.width >= width and event.size.height >= height, "-roomy")
        self._show_filter()
        self._fields_of = None
        self._show_fields()

    def _entry(self) -> TimelineEntry | None:
        """The event under the cursor."""
        row = self._rows.cursor
        return self.state.timeline[self._index.place(row)] if row < len(self._index) else None

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
            ("said", clean_lines(entry.description)),
            ("fields", "not at hand"),
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
            strip.update(Content.styled("no event is shown", "$foreground-muted"))
        else:
            # Number, time and actor stand in the row above; settings and hashes can wait.
            fields = self._all_fields(entry, *_SHORT)[3:]
            fields.sort(key=lambda field: "." in field[0] or "sha256" in field[0])
            strip.update(as_flow(fields))

    def _show_filter(self) -> None:
        chosen, index = self._index.filter, self._index
        narrow = self.size.width < 60
        who = ALL if narrow and chosen.actor == ALL else _ACTOR_WORDS[chosen.actor]
        kinds = "all kinds" if chosen.group == ALL and not narrow else chosen.group
        parts = [
            _choice("v", who, on=chosen.actor != ALL),
            _choice("t", kinds, on=chosen.group != ALL),
        ]
        if chosen.growth or not narrow:
            growth = "growth shown" if chosen.growth else "growth hidden"
            parts.append(_choice("g", growth, on=chosen.growth))
        if index.query:
            query = clean_line(shorten(index.query, 12 if narrow else 30))
            found = f"{query} {self._number_found()}/{len(index.found)}"
            parts.append(_choice("/", found, on=True))
        line, strip = Content("  ").join(parts), self.query_one("#shown", Static)
        count = f"{len(index):,} of {len(self.state.timeline):,}"
        room = strip.size.width - line.cell_length - len(count)
        if room > 1:
            line = Content.assemble(line, " " * room, (count, "$foreground-muted"))
        strip.update(line)

    def _number_found(self) -> int:
        """Which of the found events the cursor stands on, from 1; 0 if on none."""
        row, found = self._rows.cursor, self._index.found
        return found.index(row) + 1 if row in found else 0

    def _row(self, index: int, width: int) -> Text:
        entry = self.state.timeline[self._index.place(index)]
        row = Text()
        row.append(f"{entry.seq:>5} ", style="dim")
        cells = 5
        if width >= 50:
            row.append(f"{entry.at:%H:%M:%S} ", style="dim")
            cells = 8
        who = shorten(clean_line(entry.actor.name or _WHO[entry.actor.kind]), cells)
        row.append(who.ljust(cells), style="bold" if entry.actor.kind != "system" else "dim")
        row.append("\u2022" if entry.seq in self._marked else " ", style="bold")
        row.append(clean_line(entry.description))
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
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Filter and search first, so that the event has its row."""
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
        seq = view.get("seq")
        if isinstance(seq, int) and 0 < seq <= len(self.state.timeline):
            self._rows.cursor = self._index.row(seq - 1)

    # --- keys -------------------------------------------------------------------------------

    def on_rows_moved(self, event: Rows.Moved) -> None:
        """Show the fields of the event, and which of the found it is."""
        event.stop()
        self._show_fields()
        if self._index.query:
            self._show_filter()

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        """Show the event where it belongs."""
        event.stop()
        self.post_message(self.Jump(self._index.place(event.index) + 1))

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
        self._index.search(query)
        self._rows.refresh()
        self._show_filter()

    @on(Input.Submitted, "#search")
    def _search_for(self, event: Input.Submitted) -> None:
        event.stop()
        query = event.value.strip()
        self._leave_search()
        if query.startswith("#") and query[1:].isdigit():
            if not self.reveal(int(query[1:])):
                self.notify(f"There is no event {query[1:]}.", severity="warning", markup=False)
            return
        self._search(query)
        if query:
            # The event under the cursor counts too: the search begins just before it.
            self._find(self._rows.cursor - 1, 1)

    def _leave_search(self) -> None:
        self._rows.focus()
        self.remove_class("-searching")

    def action_find(self, step: int) -> None:
        """Go to the next found event, or the one before."""
        if self._index.query:
            self._find(self._rows.cursor, step)
        else:
            self.action_search()

    def _find(self, row: int, step: int) -> None:
        found = self._index.next_found(row, step)
        if found is None:
            said = f"No event that is shown has \u201c{clean_line(self._index.query)}\u201d in its line."
            self.notify(said, severity="warning", markup=False)
        else:
            self._rows.cursor = found
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

    def action_mark(self) -> None:
        """Mark the event under the cursor as evidence."""
        entry = self._entry()
        if entry is None:
            return
        for mark in self.state.evidence.values():
            if mark.body.of_seq == entry.seq and mark.body.excerpt == entry.description:
                said = f"Event {entry.seq} is marked already, as {mark.body.evidence_id}."
                self.notify(clean_line(said), markup=False)
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


def _choice(key: str, said: str, *, on: bool) -> Content:
    return Content.assemble(
        (key, "bold $accent"), " ", (said, "bold" if on else "$foreground-muted")
    )


def _underline(row: Text, query: str) -> None:
    plain = row.plain.lower()
    at = plain.find(query)
    while at >= 0:
        row.stylize("bold underline", at, at + len(query))
        at = plain.find(query, at + len(query))
