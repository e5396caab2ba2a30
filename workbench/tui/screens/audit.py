"""The audit screen: panes over one session's state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Footer

from adl.errors import AdlError
from workbench.operations.jobs import Job
from workbench.operations.measuring import MEASURE, MeasureArguments
from workbench.operations.noting import NOTE, NoteArguments
from workbench.operations.pairs import LOAD, PairArguments
from workbench.operations.reading import READ, ReadArguments
from workbench.operations.running import Arguments, Operation
from workbench.store.errors import StoreError
from workbench.tui.desk import Desk
from workbench.tui.messages import AgentChanged, EventsRecorded, JobChanged
from workbench.tui.panes.agent import AgentPane
from workbench.tui.panes.chat import ChatPane
from workbench.tui.panes.hypotheses import HypothesesPane
from workbench.tui.panes.pair import PairPane
from workbench.tui.panes.readings import ReadingsPane
from workbench.tui.panes.steering import SteeringPane
from workbench.tui.panes.timeline import TimelinePane
from workbench.tui.screens.agent_screen import AgentScreen
from workbench.tui.screens.ask_line import AskLine
from workbench.tui.screens.jump import JumpOverlay
from workbench.tui.screens.pane_help import PaneHelp
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.top_bar import Tab, TopBar

#: Below this many cells one pane is shown at a time.
ROOM = (120, 34)
#: The screen is brought up to date at most so often, in seconds.
REDRAW_EVERY = 0.05
#: How often the time a job has taken is shown anew, in seconds.
TICK = 1.0

PANES: tuple[type[Pane], ...] = (
    PairPane,
    ReadingsPane,
    SteeringPane,
    ChatPane,
    HypothesesPane,
    TimelinePane,
    AgentPane,
)


class AuditScreen(AgentScreen):
    """One session: its pair, readings, steered texts, chat, hypotheses, timeline and agent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(index + 1), f"pane({index})", pane.TITLE, show=False)
            for index, pane in enumerate(PANES)
        ),
        Binding("ctrl+o", "jump", "Jump", tooltip="Go to a pane, from anywhere"),
        Binding("z", "zoom", "Zoom", tooltip="Show this pane alone, or all"),
        Binding("x", "stop_job", "Stop", tooltip="Stop what is running"),
        Binding("f8", "stop_job", "Stop", show=False),
        Binding("a", "prepare", "Audit", tooltip="Measure the difference and read it"),
        Binding("n", "note", "Note", tooltip="Write a note into the session"),
        Binding("f2", "rename", "Rename", show=False, tooltip="Give the session another name"),
        Binding("f1,question_mark", "help", "Help", tooltip="What this pane is and its keys"),
        Binding("ctrl+r", "sessions", "Sessions", show=False, tooltip="Leave for another session"),
    ]

    def __init__(self, desk: Desk, *, load: PairArguments | None, prepare: bool) -> None:
        super().__init__()
        self.desk = desk
        self._load = load
        self._prepare = prepare
        self._redraw: Timer | None = None
        self._jobs: dict[str, Job] = {}
        self._stoppable = False
        self._asking = False
        self._current = 0
        self._panes = [
            pane(read_array=desk.log.array, id=pane.__name__.removesuffix("Pane").lower())
            for pane in PANES
        ]
        for each in self._panes:
            each.read_event = desk.event

    # --- what is on it ----------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Panes in three groups, so that any of them can fill the screen."""
        pair, readings, steering, chat, hypotheses, timeline, agent = self._panes
        yield TopBar([pane.SHORT for pane in PANES])
        with Horizontal(id="panes"):
            with Vertical(id="side"):
                yield pair
                yield hypotheses
                yield timeline
            with Vertical(id="main"):
                with Horizontal(id="top"):
                    yield readings
                    yield steering
                yield chat
                yield agent
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Show the session as it is, then let its jobs begin."""
        # Listening begins before the first look, so that nothing falls in between.
        self.desk.listen(
            lambda: self.post_message(EventsRecorded()),
            lambda job: self.post_message(JobChanged(job)),
            lambda: self.post_message(AgentChanged()),
        )
        state = self.desk.shown
        for pane in self._panes:
            pane.update_state(state)
        view = state.view
        for pane in self._panes:
            pane.restore(dict(view.get(str(pane.id), {})))
        current = view.get("current", 1)
        self._go_to(current if current in range(len(PANES)) else 1)
        self.set_interval(TICK, self._show_jobs)
        if self._load is not None:
            self._order(LOAD, self._load)
            if self._prepare:
                self.action_prepare()

    def view(self) -> dict[str, Any]:
        """How the screen is, for the session to be opened again just so."""
        return {"current": self._current} | {str(pane.id): pane.view() for pane in self._panes}

    # --- what the threads say ---------------------------------------------------------------

    def on_events_recorded(self) -> None:
        """Redraw soon: many events come together."""
        if self._redraw is None:
            self._redraw = self.set_timer(REDRAW_EVERY, self._update)

    def _update(self) -> None:
        self._redraw = None
        state = self.desk.shown
        for pane in self._panes:
            pane.update_state(state)
        self._show_asking()

    def on_agent_changed(self) -> None:
        """Show what the agent's thread is at, with the state as it is by then."""
        self._update()
        self.query_one(AgentPane).show_work(self.desk.agent.status)
        self._show_asking()

    def _show_asking(self) -> None:
        """Say it in the top bar, and once aloud, when an agent waits for the person."""
        asks = self.query_one(AgentPane).asks
        if asks != self._asking:
            self._asking = asks
            self.query_one(TopBar).show_alert(" ? asks you " if asks else "")
            if asks:
                self.app.bell()

    def on_job_changed(self, message: JobChanged) -> None:
        """Show how a job goes, and say it where it went wrong."""
        job = message.job
        if job.is_over:
            self._jobs.pop(job.id, None)
            if job.status == "failed":
                self._say_failure(job)
        else:
            self._jobs[job.id] = job
        self._show_jobs()

    def _show_jobs(self) -> None:
        hide = self.desk.blindfold.hide
        jobs = [replace(job, stage=hide(job.stage)) for job in self._jobs.values()]
        self.query_one(TopBar).show_jobs(jobs)
        for pane in self._panes:
            pane.show_jobs(jobs)
        if bool(jobs) != self._stoppable:
            self._stoppable = bool(jobs)
            self.refresh_bindings()

    def _say_failure(self, job: Job) -> None:
        problem = job.error if isinstance(job.error, Exception) else Exception(str(job.error))
        self.say_problem(problem, f"{job.operation.title} failed")

    # --- what the panes ask for -------------------------------------------------------------

    @on(Pane.Submit)
    def _submit(self, message: Pane.Submit) -> None:
        message.stop()
        self._order(message.operation, message.arguments, background=message.background)

    def _order(
        self, operation: Operation[Any], arguments: Arguments, *, background: bool = False
    ) -> None:
        try:
            revealed = self.desk.blindfold.reveal(operation, arguments)
            self.desk.submit(operation, revealed, background=background)
        except RuntimeError as exc:
            # A key that was pressed while the session is being left.
            self.notify(f"{operation.title}: {exc}", severity="warning", markup=False)

    @on(Pane.Jump)
    def _show_event(self, message: Pane.Jump) -> None:
        message.stop()
        # The timeline has every event: it is where one goes that has no pane of its own.
        panes = sorted(enumerate(self._panes), key=lambda one: isinstance(one[1], TimelinePane))
        for index, pane in panes:
            if pane.reveal(message.seq):
                self._go_to(index)
                return

    @on(Tab.Clicked)
    def _tab_clicked(self, message: Tab.Clicked) -> None:
        self._go_to(message.index)

    # --- where the focus is -----------------------------------------------------------------

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The pane of the widget in focus is the current one."""
        for index, pane in enumerate(self._panes):
            if pane in event.widget.ancestors_with_self:
                self._mark_current(index)

    def on_resize(self, event: events.Resize) -> None:
        """One pane at a time where there is no room for all."""
        self.set_class(event.size.width < ROOM[0] or event.size.height < ROOM[1], "-narrow")
        self._show_single()

    def _show_single(self) -> None:
        self.set_class(self.has_class("-narrow") or self.has_class("-zoomed"), "-single")

    def _go_to(self, index: int) -> None:
        self._mark_current(index)
        # After the next layout: a pane that was not displayed cannot take the focus before it.
        self.call_after_refresh(self._panes[index].focus_pane)

    def _mark_current(self, index: int) -> None:
        self._current = index
        current = self._panes[index]
        for pane in self._panes:
            pane.set_class(pane is current, "-current")
        if isinstance(current, ChatPane | AgentPane):
            # They share one place: the one that was looked at last is seen there.
            self.set_class(isinstance(current, AgentPane), "-agent")
        holders = current.ancestors
        for group in self.query("#panes, #side, #main, #top"):
            group.set_class(group in holders, "-holds-current")
        self.query_one(TopBar).show_current(index)

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies now."""
        if action == "stop_job":
            return self._stoppable
        if action == "prepare":
            return self.desk.pair is not None or bool(self._jobs)
        return True

    def action_pane(self, index: int) -> None:
        """Go to a pane."""
        self._go_to(index)

    def action_zoom(self) -> None:
        """Show the current pane alone, or all panes again."""
        self.toggle_class("-zoomed")
        self._show_single()
        self._go_to(self._current)

    def action_stop_job(self) -> None:
        """Stop what is running, or else what waits."""
        jobs = sorted(self._jobs.values(), key=lambda job: job.status == "waiting")
        for job in jobs[:1]:
            self.desk.stop(job.id)

    def action_prepare(self) -> None:
        """Measure the difference and read it every way, behind whatever is asked for meanwhile."""
        self._order(MEASURE, MeasureArguments(), background=True)
        self._order(READ, ReadArguments(), background=True)

    @work
    async def action_jump(self) -> None:
        """Go to a pane by its key, also from a field where digits are text."""
        index = await self.app.push_screen_wait(JumpOverlay([pane.TITLE for pane in PANES]))
        if index is not None:
            self._go_to(index)

    @work
    async def action_note(self) -> None:
        """Write a note into the session."""
        written = await self.app.push_screen_wait(AskLine("Note"))
        if written:
            self._order(NOTE, NoteArguments(text=written))

    @work
    async def action_rename(self) -> None:
        """Give the session another name."""
        name = await self.app.push_screen_wait(AskLine("Name of the session", self.desk.shown.name))
        if name:
            try:
                self.desk.rename(name)
            except (AdlError, StoreError) as exc:
                self.notify(str(exc), severity="error", markup=False)

    def action_help(self) -> None:
        """Say what the current pane is for, and its keys."""
        self.app.push_screen(PaneHelp(self._panes[self._current], self))

    async def action_sessions(self) -> None:
        """Leave this session in good order for the list of sessions."""
        await self.app.run_action("leave_session")
