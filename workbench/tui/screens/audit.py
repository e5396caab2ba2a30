"""The audit screen: panes over one session's state."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.timer import Timer

from adl.errors import AdlError
from workbench.display import clean_line
from workbench.engine.opened_session import OpenedSession
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.jobs import Job
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation
from workbench.store.errors import StoreError
from workbench.tui import keys
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.leads import ChosenLead
from workbench.tui.dialogs.queue import QueueDialog
from workbench.tui.measure_render import findings
from workbench.tui.messages import (
    AgentChanged,
    EventsRecorded,
    JobChanged,
    LinkChanged,
    OrderRefused,
)
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.planned_work import PlannedWork
from workbench.tui.screens.measuring_screen import MeasuringScreen
from workbench.tui.screens.panes import PANES, PanesScreen
from workbench.tui.undo import KINDS, undoing
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.top_bar import TopBar

#: The screen is brought up to date at most so often, in seconds.
REDRAW_EVERY = 0.05
#: How often the time a job has taken is shown anew, in seconds.
TICK = 1.0


class AuditScreen(PanesScreen, MeasuringScreen):
    """One session: its pair, readings, steered texts, chat, hypotheses, timeline and agent.

    ``at`` is an event to show first, where the session was opened at one.
    """

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("audit")

    def __init__(
        self,
        opened: OpenedSession,
        *,
        load: PairArguments | None,
        prepare: bool,
        at: int | None = None,
    ) -> None:
        super().__init__(opened.log.array, opened.event, opened.find_events)
        self.opened = opened
        self._load = load
        self._prepare = prepare
        self._at = at
        self._redraw: Timer | None = None
        self._jobs: dict[str, Job] = {}
        self._plan: PlannedWork | None = None
        self._stoppable = False
        self._undone: set[int] = set()
        self._undoings: set[str] = set()
        self._asking = False
        self._restored = False

    # --- what is on it ----------------------------------------------------------------------

    def on_mount(self) -> None:
        """Show the session as it is, then let its jobs begin."""
        # Listening begins before the first look, so that nothing falls in between.
        self.opened.listen(
            lambda: self.post_message(EventsRecorded()),
            lambda job: self.post_message(JobChanged(job)),
            lambda: self.post_message(AgentChanged()),
        )
        self._jobs = {job.id: job for job in self.opened.jobs()}
        state = self.opened.shown
        for pane in self._panes:
            pane.update_state(state)
        view = state.view
        for pane in self._panes:
            pane.restore(dict(view.get(str(pane.id), {})))
        self._restored = True
        current = view.get("current", 1)
        self.go_to(current if current in range(len(PANES)) else 1)
        # Here, as a message to show it might come before the panes have the state.
        if self._at is not None and (place := self.place_of(self._at)) is not None:
            self.go_to(place)
        self.set_interval(TICK, self._show_jobs)
        if self.opened.engine is not None:
            self.opened.engine.listen(
                lambda: self.post_message(LinkChanged()),
                lambda error: self.post_message(OrderRefused(error)),
            )
            self.on_agent_changed()
            self.on_link_changed()
        if self._load is not None:
            self.order(LOAD, self._load)
        elif self._prepare:
            self.prepare()

    def view(self) -> dict[str, Any]:
        """Return the state of the screen, with which the session is opened again.

        Empty until the panes have what was saved: recorded sooner, it would take its place.
        """
        if not self._restored:
            return {}
        view: dict[str, Any] = {"current": self._current}
        for pane in self._panes:
            # What one pane fails at must not lose what is typed in another.
            with suppress(Exception):
                view[str(pane.id)] = pane.view()
        return view

    # --- messages of the workers ------------------------------------------------------------

    def on_events_recorded(self) -> None:
        """Schedule a redraw: events come in bursts."""
        if self._redraw is None:
            self._redraw = self.set_timer(REDRAW_EVERY, self._update)

    def _update(self) -> None:
        self._redraw = None
        state = self.opened.shown
        for pane in self._panes:
            pane.update_state(state)
        self.update_measures(state)
        self._show_asking()

    def on_agent_changed(self) -> None:
        """Show the agent's status, with the current state."""
        self._update()
        status = self.opened.agent.status.hidden(self.opened.redactor.hiding(LOAD))
        self.query_one(AgentPane).show_work(status)
        self._offer_stop()
        self._show_asking()

    def on_link_changed(self) -> None:
        """Show the link, and what of it is in the top bar and in the offered keys."""
        self.show_link()
        self._show_asking()
        self._show_jobs()

    def _show_asking(self) -> None:
        """Show in the top bar that an agent is running or needs approval; ring once for the latter."""
        asks = self.query_one(AgentPane).asks
        status = self.opened.agent.status
        alert = " approval needed " if asks else f" agent {status.phase} " if status.is_busy else ""
        self.query_one(TopBar).show_alert(self.link_alert + alert)
        if asks and not self._asking:
            self.app.bell()
        self._asking = asks

    def on_job_changed(self, message: JobChanged) -> None:
        """Show the progress of a job, and notify of its failure."""
        job = message.job
        if self._plan is not None:
            self._plan.take(job)
            self._plan = None if self._plan.is_over else self._plan
        if job.is_over:
            self._jobs.pop(job.id, None)
            if job.status != "finished":
                self._give_up(job.operation, job.arguments)
            if job.status == "failed":
                self._say_failure(job)
            elif job.status == "finished":
                self.notify_of_finding(job)
        else:
            self._jobs[job.id] = job
        self._show_jobs()

    def _show_jobs(self) -> None:
        hiding = self.opened.redactor.hiding
        order = {job.id: place for place, job in enumerate(self.opened.jobs())}
        in_order = sorted(self._jobs.values(), key=lambda job: order.get(job.id, -1))
        jobs = [replace(job, stage=hiding(job.operation)(job.stage)) for job in in_order]
        self.query_one(TopBar).show_jobs(jobs, self._plan)
        for pane in self._panes:
            pane.show_jobs(jobs)
        self.show_measuring_jobs(jobs)
        self._offer_stop()

    def _offer_stop(self) -> None:
        stoppable = bool(self._jobs) or self.opened.agent.status.is_busy
        if stoppable != self._stoppable:
            self._stoppable = stoppable
            self.refresh_bindings()

    def _say_failure(self, job: Job) -> None:
        problem = job.error or RuntimeError("no reason is known")
        hide = self.opened.redactor.hiding(job.operation)
        self.say_problem(problem, f"{job.operation.title} failed", hide)

    # --- what the panes ask for -------------------------------------------------------------

    @on(Pane.Submit)
    def _submit(self, message: Pane.Submit) -> None:
        message.stop()
        self.order(message.operation, message.arguments, background=message.background)

    def order(
        self, operation: Operation[Any], arguments: Arguments, *, background: bool = False
    ) -> None:
        """Run an operation; with ``background`` others go first."""
        is_taken = False
        with self.refusals_shown(operation.title):
            revealed = self.opened.redactor.reveal(operation, arguments)
            self.opened.submit(operation, revealed, background=background)
            is_taken = True
        if not is_taken:
            self._give_up(operation, arguments)

    def _give_up(self, operation: Operation[Any], arguments: Arguments) -> None:
        for pane in self._panes:
            pane.give_up(operation, arguments)

    def place_of(self, seq: int, *, but_timeline: bool = False) -> int | None:
        """Select what the event recorded in its pane; a measure is shown on its own screen."""
        if any(finding.seq == seq for finding in findings(self.opened.shown)):
            self.action_measures(seq)
            return None
        return super().place_of(seq, but_timeline=but_timeline)

    def has_pair(self) -> bool:
        """True if a pair is loaded or may be loading."""
        return self.opened.has_pair or bool(self._jobs)

    def place(self) -> dict[str, str]:
        """Return the panes' layer, position and side, by name of an argument."""
        settings = self.query_one(SteeringPane).console.settings
        layer = settings.layer
        current = self._panes[self._current]
        if isinstance(current, ReadingsPane):
            chosen = current.view()["choice"].get("layer")
            layer = layer if chosen is None else str(chosen)
        return {
            "layer": layer,
            "layers": layer,
            "position": settings.position,
            "side": settings.side,
            "hypothesis": self.query_one(HypothesesPane).selected or "",
        }

    def state_lead(self, chosen: ChosenLead) -> None:
        """Go to the hypotheses, and ask there for the wording of one from the lead."""
        pane = self.query_one(HypothesesPane)
        self.go_to(self._panes.index(pane))
        pane.state_lead(chosen)

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies now."""
        if action == "stop_job":
            return self._stoppable
        if action == "prepare":
            return self.has_pair()
        if action == "keys":
            return self._link is not None and self._link.kind != "keys"
        return True

    def action_undo(self) -> None:
        """Undo the person's last decision by its opposite, and show which it was."""
        opened = self.opened
        events = list(opened.log.events(opened.session.id, kinds=KINDS))
        found = undoing(events, self._undone, self._undoings, opened.state.evidence)
        if found is None:
            self.notify("There is nothing to undo.", markup=False)
            return
        with self.refusals_shown("Undo"):
            job = opened.submit(found.operation, found.arguments)
            self._undone.add(found.seq)
            self._undoings.add(job.id)
            words = opened.redactor.hide(clean_line(found.words))
            self.notify(f"Undone: {words}.", markup=False)

    def action_stop_job(self) -> None:
        """Stop the agent, and the running job or else the first waiting one."""
        agent = self.opened.agent
        with self.refusals_shown("Not stopped"):
            if agent.status.is_busy:
                agent.stop()
                self.notify("stopping the agent", markup=False)
            jobs = sorted(self._jobs.values(), key=lambda job: job.status == "waiting")
            for job in jobs[:1]:
                self.opened.stop(job.id)

    def action_queue(self) -> None:
        """Show the jobs that run and wait, to be reordered and removed."""
        self.app.push_screen(QueueDialog(self.opened, self.opened.redactor.hiding))

    @work
    async def action_prepare(self) -> None:
        """Measure the difference and read it, once the person agrees if there are results."""
        if self.opened.state.readings:
            question = Content(
                "The difference is measured and read already. Doing both again takes as long as "
                "before; what is there stays in the log."
            )
            if not await self.app.push_screen_wait(
                Confirm(question, "Measure and read again", "Keep what is there")
            ):
                return
        self.prepare()

    def prepare(self) -> None:
        """Measure the difference and take all readings, in the background."""
        self.order(MEASURE, MeasureArguments(), background=True)
        self.order(READ, ReadArguments(), background=True)
        self._plan = PlannedWork(job for job in self.opened.jobs() if job.operation.uses_models)

    @work
    async def action_note(self) -> None:
        """Write a note into the session."""
        written = await self.app.push_screen_wait(AskLine("Note"))
        if written:
            self.order(NOTE, NoteArguments(text=written))

    @work
    async def action_rename(self) -> None:
        """Give the session another name."""
        name = await self.app.push_screen_wait(
            AskLine("Name of the session", self.opened.shown.name)
        )
        if name:
            try:
                await asyncio.to_thread(self.opened.rename, name)
            except (AdlError, StoreError) as exc:
                self.notify(str(exc), severity="error", markup=False)

    async def action_sessions(self) -> None:
        """Close this session, and go to the list of sessions."""
        await self.app.run_action("leave_session")
