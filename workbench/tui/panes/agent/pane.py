"""The pane of an LLM that audits with the person's operations: its turns and its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from workbench.engine.agent_request import EndpointFacts
from workbench.engine.agent_runner import WorkStatus
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.operations.jobs import Job
from workbench.store.agent_events import GradeGiven
from workbench.store.errors import StoreError
from workbench.store.slices.agents import AgentState, standing
from workbench.store.state import SessionState
from workbench.tui import keys
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.dialogs.grades import GradesScreen
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.event_fields import as_text, event_fields
from workbench.tui.panes.agent import head
from workbench.tui.panes.agent import keys as agent_keys
from workbench.tui.panes.agent.keys import Hand
from workbench.tui.panes.agent.render import Look, call_words, growing_blocks, item_blocks
from workbench.tui.panes.agent.turns import AgentItem, AgentTurns
from workbench.tui.request_form import POLICIES, known_fields
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.virtual_list import Blocks, Flow

#: Characters of a turn that a mark quotes, and that its fields show.
_MARKED = 1_000
_ALL = 100_000


class AgentPane(Pane):
    """The agent's turns, its budgets, and its requests to the person."""

    TITLE: ClassVar[str] = "Agent"
    SHORT: ClassVar[str] = "Agent"
    HELP: ClassVar[str] = agent_keys.HELP
    LOOKS: ClassVar[frozenset[str]] = agent_keys.LOOKS
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("agent")
    DEFAULT_CSS = """
    AgentPane #who { height: 1; }
    AgentPane #standing { height: 1; }
    AgentPane #budgets { height: auto; max-height: 2; }
    AgentPane #banner { display: none; height: auto; max-height: 6; padding: 0 1;
        background: $boost; border-left: outer $warning; }
    AgentPane.-needs #banner { display: block; }
    AgentPane.-short #who, AgentPane.-tiny #standing, AgentPane.-tiny #budgets { display: none; }
    AgentPane.-short #banner { max-height: 3; }
    AgentPane.-tiny #banner { max-height: 2; }
    AgentPane.-tiny Flow { border-top: none; }
    AgentPane.-none #who, AgentPane.-none #standing, AgentPane.-none #budgets { display: none; }
    AgentPane Flow { border-top: solid $panel-lighten-2; }
    AgentPane.-none Flow { border-top: none; }
    """

    @dataclass
    class Begin(Message):
        """Ask for the form that starts an agent; ``draft`` is kept up to date by it."""

        draft: dict[str, str]

    @dataclass
    class Resume(Message):
        """Go on with an interrupted run."""

        run_id: str

    @dataclass
    class Handle(Message):
        """Control the agent; ``detail`` is a policy, a message or a reason."""

        hand: Hand
        detail: str = ""
        call_id: str = ""

    @dataclass
    class Grade(Message):
        """Grade a run's report, or change the grade ``edits``."""

        run_id: str
        edits: str | None = None

    class LookUp(Message):
        """Request the endpoint's settings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.clock: Callable[[], datetime] = partial(datetime.now, UTC)
        self._turns = AgentTurns()
        self._chosen: str | None = None
        self._work = WorkStatus()
        self._facts: EndpointFacts | None = None
        self._draft = known_fields(None)
        self._blocks: dict[int, tuple[Look, AgentItem, Blocks]] = {}
        self._growing: tuple[str, Blocks] = ("", ())
        self._replaced: frozenset[str] = frozenset()
        self._offered: tuple[bool, ...] = ()

    def compose(self) -> ComposeResult:
        """Compose the agent's name, status, budgets and requests, then its turns."""
        yield Clipped(id="who")
        yield Clipped(id="standing")
        yield Clipped(id="budgets")
        yield Clipped(id="banner")
        yield Flow(self._draw)

    def focus_pane(self) -> None:
        """Focus the turns."""
        self._flow.focus()

    def on_show(self) -> None:
        """Look up the endpoint's settings once the pane is shown."""
        if not self.state.agents and not self.recorded:
            self.post_message(self.LookUp())

    @property
    def _flow(self) -> Flow:
        return self.query_one(Flow)

    @property
    def agent(self) -> AgentState | None:
        """The run shown: the chosen one, or the newest."""
        agents = self.state.agents
        if self._chosen is not None and self._chosen in agents:
            return agents[self._chosen]
        return next(reversed(list(agents.values())), None)

    @property
    def at_work(self) -> AgentState | None:
        """The run that the keys act on: the newest that is not over, of those not interrupted first."""
        unfinished = [agent for agent in self.state.agents.values() if not agent.is_over]
        # An older one that was gone on with works while a newer one stays interrupted.
        unfinished.sort(key=lambda agent: agent.status != "interrupted")
        return unfinished[-1] if unfinished else None

    @property
    def _to_resume(self) -> AgentState | None:
        """The run that is gone on with: the one shown if it is interrupted, else the one at work."""
        found = (agent for agent in (self.agent, self.at_work) if agent is not None)
        return next((agent for agent in found if agent.status == "interrupted"), None)

    @property
    def asks(self) -> bool:
        """True if an agent waits for a person's answer."""
        agent = self.at_work
        return self._is_live(agent) and agent is not None and agent.asked is not None

    # --- what is shown ----------------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw what an event of an agent, or a grade, changed."""
        if (
            state.agents is before.agents
            and state.grades is before.grades
            and state.seal is before.seal
            and state.session_id == before.session_id
        ):
            return
        if self._same_agents(state, before):
            return
        if len(state.agents) > len(before.agents) and before.session_id:
            # Show the agent that was just started.
            self._chosen = None
        self._replaced = frozenset(
            grade.body.replaces for grade in state.grades if grade.body.replaces is not None
        )
        self._turns.take(state, self.read_event)
        self._redraw()

    def _same_agents(self, state: SessionState, before: SessionState) -> bool:
        """True if the mappings are different objects with equal content."""
        return (
            before.session_id == state.session_id != ""
            and state.agents.keys() == before.agents.keys()
            and all(state.agents[run_id] is before.agents[run_id] for run_id in state.agents)
            and len(state.grades) == len(before.grades)
            and state.seal is before.seal
        )

    def show_work(self, work: WorkStatus) -> None:
        """Take the status of the agent's thread."""
        if work != self._work:
            self._work = work
            if not work.is_busy and work.problem is not None:
                self.post_message(self.LookUp())
            self._redraw()

    def show_endpoint(self, facts: EndpointFacts) -> None:
        """Take the endpoint's settings."""
        self._facts = facts
        self._redraw()

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Refresh the elapsed time."""
        if self._work.is_busy:
            self._draw_head()

    def on_resize(self, event: events.Resize) -> None:
        """Show the budgets on one line where there is room."""
        self._draw_head()

    def _redraw(self) -> None:
        agent = self.agent
        run_id = agent.id if agent is not None else ""
        if run_id != self._turns.run_id:
            self._turns.run_id = run_id
            self._blocks.clear()
            self._flow.set_count(0)
        self._draw_head()
        if agent is None:
            empty = Content("No agent has run so far.")
            if not self.recorded:
                empty = head.no_agent(self._work, self._facts)
            self._flow.show_when_empty(empty)
            self._flow.set_count(0)
        else:
            self._flow.set_count(len(self._turns) + bool(agent.growing))
        offered = tuple(self._applies(name) for name in agent_keys.CONDITIONAL)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _draw_head(self) -> None:
        agent, width = self.agent, self.size.width
        self.set_class(agent is None, "-none")
        banner = None
        if agent is not None:
            ids = list(self.state.agents)
            place = head.Place(ids.index(agent.id) + 1, len(ids))
            blind = bool(agent.start.body.settings.get("blind"))
            work, now = self._work_of(agent), self.clock()
            if self.recorded:
                work, now = _AT_WORK_THEN, self.state.last_at or now
            self.query_one("#who", Static).update(head.title(agent, place, blind, width))
            self.query_one("#standing", Static).update(head.standing(agent, work, now))
            self.query_one("#budgets", Static).update(
                head.budgets(agent, self._seconds(agent, now), width)
            )
            if not self.recorded:
                resumes = self._applies("resume") and agent is self._to_resume
                work = self._work if agent is self._newest() else work
                banner = head.banner(agent, work, width, resumes=resumes)
        self.set_class(banner is not None, "-needs")
        if banner is not None:
            self.query_one("#banner", Static).update(banner)

    def _newest(self) -> AgentState | None:
        return next(reversed(list(self.state.agents.values())), None)

    def _is_live(self, agent: AgentState | None) -> bool:
        """True if the agent's thread works on this run."""
        return agent is not None and agent is self.at_work and self._work.phase in _AT_AUDIT

    def _work_of(self, agent: AgentState) -> WorkStatus:
        return self._work if self._is_live(agent) else WorkStatus()

    def _seconds(self, agent: AgentState, now: datetime) -> float:
        if agent.status != "running" or agent.last_at is None or not self._is_live(agent):
            return agent.seconds
        return agent.seconds + max(0.0, (now - agent.last_at).total_seconds())

    def _draw(self, index: int, width: int) -> Blocks:
        """Return the blocks of one item, the same object while nothing changed."""
        if index >= len(self._turns):
            agent = self.agent
            growing = agent.growing if agent is not None else ""
            if self._growing[0] != growing:
                self._growing = (growing, growing_blocks(growing))
            return self._growing[1]
        item = self._turns[index]
        look = self._look(item, width)
        known = self._blocks.get(item.seq)
        if known is None or known[0] != look or known[1] is not item:
            # An empty line separates the turns.
            blocks = [*item_blocks(item, look), Content("")]
            known = self._blocks[item.seq] = (look, item, blocks)
        return known[2]

    def _look(self, item: AgentItem, width: int) -> Look:
        agent = self.agent
        unread = agent is not None and any(message.seq == item.seq for message in agent.unread)
        replaced = isinstance(item.body, GradeGiven) and item.body.grade_id in self._replaced
        return Look(width, unread, replaced)

    def start_over(self) -> None:
        """Show the newest run."""
        self._chosen = None
        super().start_over()

    def reveal(self, seq: int) -> bool:
        """Select the turn that the event is part of."""
        run_id = self._turns.run_of(self.state, seq)
        if run_id not in self.state.agents:
            return False
        self._chosen = run_id
        self._redraw()
        place = self._turns.place(seq)
        self._flow.go_to(self._flow.count - 1 if place is None else place)
        return True

    # --- kept when the session is left --------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """The run that is shown, the turn under the cursor, and the form's fields."""
        at_end = self._flow.cursor >= self._flow.count - 1
        return {
            "run": self._chosen,
            "turn": None if at_end else self._flow.cursor,
            "form": dict(self._draft),
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore what still exists."""
        self._draft = known_fields(view.get("form"))
        run = view.get("run")
        self._chosen = run if isinstance(run, str) and run in self.state.agents else None
        self._redraw()
        turn = view.get("turn")
        if isinstance(turn, int) and 0 <= turn < len(self._turns):
            self._flow.go_to(turn)

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies now."""
        if not self.offers(action):
            return False
        name = str(parameters[0]) if action == "hand" else action
        # One that goes loses its parts before itself, and is asked until the end.
        return self._applies(name) if self.query(Flow) else True

    def _applies(self, name: str) -> bool:
        agent = self.at_work
        live = self._is_live(agent) and self._work.phase == "working"
        status = agent.status if agent is not None else ""
        match name:
            case "begin":
                return not self._work.is_busy
            case "resume":
                return not self._work.is_busy and self._to_resume is not None
            case "approve" | "refuse":
                return live and self.asks
            case "pause":
                return live and status == "running"
            case "go_on":
                return live and status == "paused"
            case "take_over":
                return live and status in {"running", "paused"}
            case "hand_back":
                return live and status == "taken_over"
            case "tell" | "policy":
                return live
            case "stop":
                return self._work.phase in {"preparing", "working"}
            case "grade":
                return self.agent is not None and self.agent.report is not None
            case "grades":
                return bool(self.state.grades)
            case "detail" | "copy" | "mark":
                return self._item() is not None
            case "run":
                return len(self.state.agents) > 1
            case _:
                return True

    def action_begin(self) -> None:
        """Open the form that starts an agent."""
        self.post_message(self.Begin(self._draft))

    def action_resume(self) -> None:
        """Go on with the interrupted audit."""
        if (agent := self._to_resume) is not None:
            self._chosen = agent.id
            self.post_message(self.Resume(agent.id))

    def _brings_up(self) -> bool:
        """Show the run that works if another is shown; the key is then pressed again, on what is seen."""
        agent = self.at_work
        if agent is None or agent is self.agent or not self._is_live(agent):
            return False
        self._chosen = agent.id
        self._redraw()
        self._flow.go_to_end()
        return True

    def action_hand(self, hand: Hand) -> None:
        """Pause, resume, take over or stop."""
        if not self._brings_up():
            self.post_message(self.Handle(hand))

    def action_approve(self) -> None:
        """Approve the call."""
        agent = self.at_work
        if not self._brings_up() and agent is not None and agent.asked is not None:
            self.post_message(self.Handle("approve", "", agent.asked.body.call_id))

    def action_refuse(self) -> None:
        """Refuse the call, after asking for a reason."""
        agent = self.at_work
        if agent is None or agent.asked is None or self._brings_up():
            return
        asked = agent.asked.body

        def done(reason: str | None) -> None:
            if reason is not None:
                self.post_message(self.Handle("refuse", reason, asked.call_id))

        about = call_words(asked.tool, asked.arguments)
        self.app.push_screen(AskReason("Refuse the call", about), done)

    def action_tell(self) -> None:
        """Ask what to write to the agent."""
        if self._brings_up():
            return

        def done(written: str | None) -> None:
            if written:
                self.post_message(self.Handle("message", written))

        hint = "The agent reads it before its next turn. Enter sends, Esc cancels"
        self.app.push_screen(AskLine("To the agent", hint=hint), done)

    def action_hand_back(self) -> None:
        """Ask for a note, then let the agent go on."""
        if self._brings_up():
            return

        def done(note: str | None) -> None:
            if note is not None:
                self.post_message(self.Handle("hand_back", note))

        about = Content("The agent gets a list of the operations that you ran since you took over.")
        label = "Note to the agent; may be left empty. Enter hands back, Esc cancels."
        self.app.push_screen(AskReason("Hand back", about, label), done)

    def action_policy(self) -> None:
        """Change the approval policy."""
        if (agent := self.at_work) is not None and not self._brings_up():
            policies = tuple(POLICIES)
            following = policies[(policies.index(agent.policy) + 1) % len(policies)]
            self.post_message(self.Handle("policy", following))

    def action_grade(self) -> None:
        """Grade the report."""
        if (agent := self.agent) is not None:
            self.post_message(self.Grade(agent.id))

    def action_grades(self) -> None:
        """Show the grades; one that is chosen there is changed."""

        def done(grade_id: str | None) -> None:
            if grade_id is not None and self.agent is not None:
                self.post_message(self.Grade(self.agent.id, grade_id))

        item = self._item()
        chosen = item.body.grade_id if item and isinstance(item.body, GradeGiven) else ""
        current = {grade.body.grade_id for grade in standing(self.state.grades)}
        self.app.push_screen(
            GradesScreen(self.state.grades, chosen if chosen in current else ""), done
        )

    def action_run(self, step: int) -> None:
        """Show another run."""
        agent, ids = self.agent, list(self.state.agents)
        if agent is not None:
            self._chosen = ids[(ids.index(agent.id) + step) % len(ids)]
            self._redraw()
            self._flow.go_to_end()

    def _item(self) -> AgentItem | None:
        place = self._flow.cursor
        return self._turns[place] if place < len(self._turns) else None

    def _fields(self, item: AgentItem) -> list[tuple[str, str]]:
        try:
            event = self.read_event(item.seq) if self.read_event is not None else None
        except StoreError:
            event = None
        return [("event", str(item.seq))] if event is None else event_fields(event, _ALL)

    def action_detail(self) -> None:
        """Show all of the turn under the cursor."""
        if (item := self._item()) is not None:
            self.app.push_screen(EventDetail(f"Event {item.seq}", self._fields(item)))

    def action_copy(self) -> None:
        """Copy the turn under the cursor."""
        if (item := self._item()) is not None:
            self.app.copy_to_clipboard(as_text(self._fields(item)))
            self.notify(f"Copied event {item.seq}.")

    def action_mark(self) -> None:
        """Mark the turn under the cursor as evidence."""
        item = self._item()
        if item is None:
            return
        body: Any = item.body
        words = getattr(body, "content", "") or getattr(body, "description", "") or item.line
        excerpt = str(words)[:_MARKED].strip() or body.describe()
        label = f"event {item.seq}, {str(getattr(body, 'kind', 'agent')).replace('_', ' ')}"
        self.submit(MARK, MarkArguments(seq=item.seq, excerpt=excerpt, label=label))


#: In a replay an agent is at work as it then was.
_AT_WORK_THEN = WorkStatus(phase="working")
_AT_AUDIT = frozenset({"working", "stopping"})
