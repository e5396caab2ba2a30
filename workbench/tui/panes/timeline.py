"""Every event of the session, with who brought it about."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult

from workbench.display import clean_line
from workbench.store.state import SessionState
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows

_ACTORS = {"human": "you", "agent": "agent", "system": "·"}


class TimelinePane(Pane):
    """The list of events; Enter shows one in the pane that has it."""

    TITLE: ClassVar[str] = "Timeline"
    SHORT: ClassVar[str] = "Time"
    HELP: ClassVar[str] = """
Everything that was recorded, in order, with its number, its time (UTC) and who brought it about.
Enter shows what an event recorded, in the pane that has it.
"""

    def compose(self) -> ComposeResult:
        """The list of events."""
        yield Rows(self._row)

    def show(self, state: SessionState, before: SessionState) -> None:
        """Follow the newest event, unless the cursor was moved away from it."""
        self.query_one(Rows).set_count(len(state.timeline), follow=True)

    def reveal(self, seq: int) -> bool:
        """Every event is here."""
        self.query_one(Rows).cursor = seq - 1
        return True

    def view(self) -> dict[str, Any]:
        """The event under the cursor."""
        return {"cursor": self.query_one(Rows).cursor}

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        """Show the event where it belongs."""
        event.stop()
        self.post_message(self.Jump(event.index + 1))

    def _row(self, index: int, width: int) -> Text:
        entry = self.state.timeline[index]
        row = Text(f"{entry.seq:>5} ", style="dim")
        if width >= 50:
            row.append(f"{entry.at:%H:%M:%S} ", style="dim")
        who = entry.actor.name or _ACTORS[entry.actor.kind]
        row.append(
            f"{clean_line(who)[:8]:<6} ", style="bold" if entry.actor.kind != "system" else "dim"
        )
        row.append(clean_line(entry.description))
        return row
