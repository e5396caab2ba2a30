"""The leads of a finding, one of which may be stated as a hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.display import clean_line, shorten
from workbench.store.findings import Finding, Lead
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.tui import text
from workbench.tui.measure_render import drawn
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.menu import Entry, Menu

#: Characters of a lead that a line can have: running over a text of any length would take long.
_LONGEST = 400


@dataclass(frozen=True)
class ChosenLead:
    """A lead, and the number of the event that has it."""

    seq: int
    lead: Lead


class LeadsDialog(Dialog[ChosenLead | None]):
    """The leads of a finding, and what there is to see of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "to_detail", "Scroll", tooltip="Go to the text, to scroll it"),
        Binding("left", "to_list", "Leads", tooltip="Back to the leads"),
        Binding("escape,q", "leave", "Close"),
    ]
    DEFAULT_CSS = """
    LeadsDialog > Container { width: 96%; max-width: 120; height: 92%; border: round $accent;
        background: $surface; padding: 0 1; border-subtitle-color: $foreground-muted; }
    LeadsDialog Menu { height: 1fr; }
    LeadsDialog VerticalScroll { height: 2fr; border-top: solid $panel-lighten-2;
        scrollbar-size-vertical: 1; }
    LeadsDialog VerticalScroll:focus { border-top: solid $accent; }
    LeadsDialog.-low VerticalScroll { display: none; }
    """

    def __init__(self, found: Recorded[Finding], state: SessionState) -> None:
        super().__init__(classes="dialog")
        self._found = found
        self._state = state

    def compose(self) -> ComposeResult:
        """The leads, and the one under the cursor below them."""
        with Container() as box:
            box.border_title = f"Leads: {self._found.body.label}"
            box.border_subtitle = "enter state it · → scroll · escape close"
            yield Menu()
            with VerticalScroll():
                yield Static(id="detail")

    def on_mount(self) -> None:
        """Fill the list."""
        menu = self.query_one(Menu)
        menu.set_entries(
            [
                Entry(partial(_row, lead), str(place), lead)
                for place, lead in enumerate(self._found.body.leads())
            ]
        )
        menu.focus()

    def on_resize(self, event: events.Resize) -> None:
        """Draw the lead as wide as there is room for."""
        super().on_resize(event)
        self.call_after_refresh(self._show)

    def on_cursor_list_moved(self) -> None:
        """Show the lead from its beginning."""
        self._show()
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def on_cursor_list_chosen(self) -> None:
        """Return the lead under the cursor."""
        if (lead := self._lead) is not None:
            self.dismiss(ChosenLead(self._found.seq, lead))

    def action_to_detail(self) -> None:
        """Focus what is shown of the lead."""
        self.query_one(VerticalScroll).focus()

    def action_to_list(self) -> None:
        """Focus the leads."""
        self.query_one(Menu).focus()

    def action_leave(self) -> None:
        """Return nothing."""
        self.dismiss(None)

    @property
    def _lead(self) -> Lead | None:
        entry = self.query_one(Menu).current
        return None if entry is None else entry.value

    def _show(self) -> None:
        lead = self._lead
        if lead is None:
            return
        scroll = self.query_one(VerticalScroll)
        shown = drawn(lead.figures, self._state, max(20, scroll.content_size.width - 1))
        self.query_one("#detail", Static).update(
            Content("\n").join(
                [text.block(lead.claim, "bold"), text.line(lead.label, "$foreground-muted"), shown]
            )
        )


def _row(lead: Lead, width: int) -> Text:
    row = Text(clean_line(shorten(lead.claim, _LONGEST)))
    row.truncate(width, overflow="ellipsis")
    return row
