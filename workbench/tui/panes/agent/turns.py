"""The items that the agent pane lists: exchanges of agent, endpoint and person, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from workbench.agent.conversation import calls_in
from workbench.store.agent_events import (
    AgentCompacted,
    AgentControlled,
    AgentEnded,
    AgentInterrupted,
    AgentMessaged,
    AgentNoticed,
    AgentReplied,
    AgentResumed,
    AgentTold,
    ApprovalGiven,
    GradeGiven,
    ToolCall,
)
from workbench.store.errors import StoreError
from workbench.store.events import Actor
from workbench.store.slices.agents import AgentState
from workbench.store.state import SessionState, TimelineEntry
from workbench.tui.widgets.pane import ReadEvent

#: Kinds that the state does not keep whole: they are read from the log, and are few.
_FROM_LOG = {
    "agent_compacted": AgentCompacted,
    "agent_controlled": AgentControlled,
    "agent_messaged": AgentMessaged,
    "agent_noticed": AgentNoticed,
    "approval_given": ApprovalGiven,
    "agent_resumed": AgentResumed,
    "agent_interrupted": AgentInterrupted,
    "agent_ended": AgentEnded,
}
_FROM_STATE = frozenset(
    {"agent_told", "agent_replied", "agent_request_failed", "report_submitted", "grade_given"}
)
#: Events of an agent that lead to one of those.
_BEFORE = frozenset({"agent_requested", "agent_reply_grew", "agent_called", "approval_asked"})


@dataclass(frozen=True)
class AgentItem:
    """One thing that happened; ``body`` is None where only its line is at hand, in ``line``."""

    seq: int
    at: datetime
    actor: Actor
    body: BaseModel | None
    line: str = ""


class AgentTurns(Sequence[AgentItem]):
    """The items of one run, the newest last. Taking a state costs what is new in it."""

    def __init__(self) -> None:
        self.run_id = ""
        self._session = ""
        self._forget()

    def _forget(self) -> None:
        self._taken = 0
        self._runs: dict[str, list[AgentItem]] = {}
        self._found: dict[int, tuple[str, Any]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._runs.get(self.run_id, ()))

    def __getitem__(self, place: Any) -> Any:
        return self._runs[self.run_id][place]

    def take(self, state: SessionState, read_event: ReadEvent | None) -> None:
        """Add the new items; start over for another or a shorter session."""
        if state.session_id != self._session or len(state.timeline) < self._taken:
            self._session = state.session_id
            self._forget()
        self._gather(state)
        for place in range(self._taken, len(state.timeline)):
            entry = state.timeline[place]
            if entry.kind in _FROM_STATE:
                self._take_known(entry)
            elif entry.kind in _FROM_LOG:
                self._take_read(entry, read_event)
        self._taken = len(state.timeline)

    def place(self, seq: int) -> int | None:
        """The item of that event, or of the one that it led to; None if there is none."""
        items = self._runs.get(self.run_id, [])
        return next((place for place, item in enumerate(items) if item.seq >= seq), None)

    def run_of(self, state: SessionState, seq: int) -> str | None:
        """The run that the event ``seq`` belongs to, if it is one of an agent."""
        if not 0 < seq <= len(state.timeline):
            return None
        for run_id, agent in state.agents.items():
            if agent.start.seq == seq:
                return run_id
        for run_id, items in self._runs.items():
            if any(item.seq == seq for item in items):
                return run_id
        if state.timeline[seq - 1].kind in _BEFORE:
            # It belongs to whichever run something came of next.
            later = [
                (item.seq, run_id)
                for run_id, items in self._runs.items()
                for item in items
                if item.seq > seq
            ]
            return min(later)[1] if later else next(reversed(list(state.agents)), None)
        return None

    def _gather(self, state: SessionState) -> None:
        for run_id, agent in state.agents.items():
            for name in ("messages", "failures"):
                listed = getattr(agent, name)
                for recorded in listed[self._counts.get((run_id, name), 0) :]:
                    self._found[recorded.seq] = (run_id, recorded)
                self._counts[run_id, name] = len(listed)
            if agent.report is not None:
                self._found[agent.report.seq] = (run_id, agent.report)
        for grade in state.grades[self._counts.get(("", "grades"), 0) :]:
            run = graded_run(grade.body)
            if run is not None:
                self._found[grade.seq] = (run, grade)
        self._counts["", "grades"] = len(state.grades)

    def _take_known(self, entry: TimelineEntry) -> None:
        run_id, recorded = self._found.pop(entry.seq, ("", None))
        if recorded is None or not _is_shown(recorded.body):
            return
        self._add(run_id, AgentItem(recorded.seq, recorded.at, recorded.actor, recorded.body))

    def _take_read(self, entry: TimelineEntry, read_event: ReadEvent | None) -> None:
        body: Any = None
        if read_event is not None:
            try:
                body = read_event(entry.seq).body
            except StoreError:
                body = None
        if not isinstance(body, _FROM_LOG[entry.kind]):
            body = None
        # One agent at a time is at work, so it is the last one that anything was heard of.
        run_id = getattr(body, "run_id", None) or next(reversed(list(self._runs)), "")
        self._add(run_id, AgentItem(entry.seq, entry.at, entry.actor, body, entry.description))

    def _add(self, run_id: str, item: AgentItem) -> None:
        items = self._runs.pop(run_id, [])
        items.append(item)
        # The last active run comes last.
        self._runs[run_id] = items


def graded_run(grade: GradeGiven) -> str | None:
    """The run whose report the grade is of; None for grades of anything else."""
    kind, _, run_id = grade.subject.partition(":")
    return run_id if kind == "report" and run_id else None


def under_way(agent: AgentState) -> ToolCall | None:
    """The call that the agent is at, or asks about: the first of its last reply with no result."""
    answered = set()
    for recorded in reversed(agent.messages):
        body = recorded.body
        if isinstance(body, AgentTold) and body.tool_call_id is not None:
            answered.add(body.tool_call_id)
        elif isinstance(body, AgentReplied):
            calls = calls_in(body)
            done = len(answered)
            return calls[done] if done < len(calls) else None
        else:
            return None
    return None


def _is_shown(body: BaseModel) -> bool:
    """True if no other item has the same content."""
    if isinstance(body, AgentTold):
        # Our own first call has no text, and a person's message is listed as it was written.
        return body.role != "assistant" and body.source != "human"
    return True
