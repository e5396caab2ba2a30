"""The screen of measures: those recorded, newest first, and those that can be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.display import clean_line
from workbench.operations.jobs import Job
from workbench.operations.running import Operation
from workbench.store.findings import Finding
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.leads import ChosenLead, LeadsDialog
from workbench.tui.measure_render import findings, look
from workbench.tui.offered import missing, offered
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.menu import Entry, Menu

#: Below this many cells the list is above the measure.
ROOM = 110
_PROGRESS_CELLS = 20


class MeasuresScreen(Dialog[str | ChosenLead | None]):
    """A list with the chosen finding beside it.

    Its result is the name of an operation to run, or a lead to state as a hypothesis.

    ``chosen`` is the event selected at first, the newest
    measure if there is none such.
    """

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("measures")
    DEFAULT_CSS = """
    MeasuresScreen > Container { width: 100%; height: 100%; padding: 0 1;
        border: round $accent; background: $surface; border-subtitle-color: $foreground-muted; }
    MeasuresScreen #running { height: auto; max-height: 2; }
    MeasuresScreen #measures { height: 1fr; layout: horizontal; }
    MeasuresScreen Menu { width: 50; height: 1fr; }
    MeasuresScreen VerticalScroll { width: 1fr; height: 1fr; padding: 0 1;
        border-left: solid $panel-lighten-2; scrollbar-size-vertical: 1; }
    MeasuresScreen VerticalScroll:focus { border-left: solid $accent; }
    MeasuresScreen.-narrow #measures { layout: vertical; }
    MeasuresScreen.-narrow Menu { width: 1fr; height: 8; }
    MeasuresScreen.-narrow.-low Menu { height: 1fr; }
    MeasuresScreen.-narrow VerticalScroll { border-left: none; padding: 0;
        border-top: solid $panel-lighten-2; }
    MeasuresScreen.-narrow VerticalScroll:focus { border-top: solid $accent; border-left: none; }
    """

    def __init__(
        self,
        state: SessionState,
        stop: Callable[[], object],
        *,
        has_pair: bool,
        chosen: int | None = None,
    ) -> None:
        super().__init__(classes="dialog")
        self._state = state
        self._stop = stop
        self._has_pair = has_pair
        self._chosen = chosen
        self._jobs: Sequence[Job] = ()

    def compose(self) -> ComposeResult:
        """The running jobs, the list, and the chosen measure."""
        with Container() as box:
            box.border_title = "Measures"
            yield Clipped(id="running")
            with Horizontal(id="measures"):
                yield Menu()
                with VerticalScroll():
                    yield Static(id="detail")

    def on_mount(self) -> None:
        """Fill the list, and choose the measure asked for."""
        menu = self.query_one(Menu)
        self._fill()
        keys = [entry.key for entry in menu.entries]
        if (wanted := str(self._chosen)) in keys:
            menu.cursor = keys.index(wanted)
        menu.focus()
        self._show_jobs()

    def update_state(self, state: SessionState, *, has_pair: bool) -> None:
        """Show another state of the session; a new measure is chosen."""
        before, self._state = self._state, state
        known, self._has_pair = self._has_pair, has_pair
        if not self.query(Menu):  # not there yet, or going
            return
        found = findings(state)
        new = len(found) > len(findings(before))
        lists = state.differences is not before.differences or state.readings is not before.readings
        if new or lists or known != has_pair:
            self._fill()
        if new:
            keys = [entry.key for entry in self.query_one(Menu).entries]
            self.query_one(Menu).cursor = keys.index(str(found[-1].seq))

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Show the running and waiting jobs."""
        self._jobs = jobs
        if self.query(Menu):
            self._show_jobs()

    def on_resize(self, event: events.Resize) -> None:
        """Stack list and measure on a narrow screen."""
        self.set_class(event.size.width < ROOM, "-narrow")
        self.call_after_refresh(self._show)

    def on_cursor_list_moved(self) -> None:
        """Show the chosen measure from its beginning."""
        self._show()
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def on_cursor_list_chosen(self) -> None:
        """Ask for the settings of an operation, or focus the shown measure."""
        entry = self.query_one(Menu).current
        if entry is None:
            return
        if isinstance(entry.value, Operation):
            self.dismiss(entry.value.name)
        else:
            self.action_to_detail()

    # --- drawing ----------------------------------------------------------------------------

    def _fill(self) -> None:
        recorded = [
            Entry(partial(_row, found), str(found.seq), found)
            for found in reversed(findings(self._state))
        ]
        nothing = Entry(lambda _width: Text("  nothing yet", style="dim"))
        to_run = [
            Entry(partial(self._offer, operation), operation.name, operation)
            for operation in offered()
        ]
        self.query_one(Menu).set_entries(
            [
                Entry.heading("Recorded, newest first"),
                *(recorded or [nothing]),
                Entry.heading("Measure"),
                *to_run,
            ]
        )

    def _offer(self, operation: Operation[Any], width: int) -> Text:
        lacks = missing(operation, self._state, has_pair=self._has_pair)
        row = Text(clean_line(operation.title), style="dim" if lacks else "")
        row.truncate(width, overflow="ellipsis")
        return row

    def _show(self) -> None:
        entry = self.query_one(Menu).current
        found = self._chosen_finding
        state = f"{keys.shown('new')} hypothesis · " if found and found.body.leads() else ""
        copy, stop = keys.shown("copy"), keys.shown("stop")
        self.query_one(
            Container
        ).border_subtitle = (
            f"enter measure · {state}→ scroll · {copy} copy · {stop} stop · escape close"
        )
        detail = self.query_one("#detail", Static)
        width = max(20, self.query_one(VerticalScroll).content_size.width - 1)
        if entry is None:
            detail.update("")
        elif isinstance(entry.value, Operation):
            detail.update(self._about(entry.value))
        else:
            detail.update(look(entry.value, self._state, width))

    def _about(self, measure: Operation[Any]) -> Content:
        lacks = missing(measure, self._state, has_pair=self._has_pair)
        description = " ".join(measure.description.split())
        return Content("\n").join(
            [
                text.line(measure.title, "bold"),
                text.line(description),
                Content(),
                text.line(lacks, "$text-warning")
                if lacks
                else Content.styled("Enter asks for its settings.", "$foreground-muted"),
            ]
        )

    def _show_jobs(self) -> None:
        lines = []
        for job in sorted(self._jobs, key=lambda job: job.status == "waiting"):
            share = job.done / job.total if job.total else 0.0
            state = "waiting" if job.status == "waiting" else f"{job.done}/{job.total or '?'}"
            lines.append(
                Content.assemble(
                    text.line(job.operation.title, "bold"),
                    " ",
                    (bar(share, _PROGRESS_CELLS), "$accent on $panel"),
                    text.line(f" {state} {job.stage}"),
                )
            )
        running = self.query_one("#running", Static)
        running.display = bool(lines)
        running.update(Content("\n").join(lines))

    # --- keys -------------------------------------------------------------------------------

    @property
    def _chosen_finding(self) -> Recorded[Finding] | None:
        entry = self.query_one(Menu).current
        return entry.value if entry is not None and isinstance(entry.value, Recorded) else None

    def action_state(self) -> None:
        """Choose a lead of the shown measure, to state it as a hypothesis."""
        found = self._chosen_finding
        if found is None or not found.body.leads():
            what = "This" if found is None else f"The measure {found.body.label}"
            self.notify(f"{what} has no leads to state as a hypothesis.", markup=False)
            return

        def done(chosen: ChosenLead | None) -> None:
            if chosen is not None:
                self.dismiss(chosen)

        self.app.push_screen(LeadsDialog(found, self._state), done)

    def action_copy(self) -> None:
        """Copy the shown measure as plain text."""
        found = self._chosen_finding
        if found is not None:
            shown = look(found, self._state, 100)
            self.app.copy_to_clipboard(shown.plain)
            self.notify("Copied the measure.")

    def action_stop(self) -> None:
        """Stop the running job."""
        self._stop()

    def action_to_detail(self) -> None:
        """Focus the shown measure."""
        self.query_one(VerticalScroll).focus()

    def action_to_list(self) -> None:
        """Focus the list."""
        self.query_one(Menu).focus()

    def action_leave(self) -> None:
        """Close without asking for an operation."""
        self.dismiss(None)


def _row(found: Recorded[Finding], width: int) -> Text:
    row = Text()
    row.append(f"{found.at:%H:%M} ", style="dim")
    row.append(f"{found.body.label:<19}")
    row.append(clean_line(found.body.short()), style="bold")
    row.truncate(width, overflow="ellipsis")
    return row
