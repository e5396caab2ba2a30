"""Agents' audits, and the grades of their reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Self, cast

from workbench.store.agent_events import (
    AgentCalled,
    AgentCompacted,
    AgentControlled,
    AgentEnded,
    AgentInterrupted,
    AgentMessaged,
    AgentNoticed,
    AgentReplied,
    AgentReplyGrew,
    AgentRequested,
    AgentRequestFailed,
    AgentResumed,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    ApprovalGiven,
    GradeGiven,
    Policy,
    ReportSubmitted,
    ToolMode,
    Usage,
)
from workbench.store.events import Event, SessionClosed, SessionContinued
from workbench.store.record import LATER
from workbench.store.recorded import Prefix, Recorded
from workbench.store.slices.slice import Items, on, recorded

AgentStatus = Literal["running", "paused", "taken_over", "interrupted", "ended"]


@dataclass(frozen=True)
class AgentState:
    """An agent's audit.

    ``messages`` are the conversation: ``AgentTold`` and ``AgentReplied`` in order. ``replies``,
    ``tokens`` and ``cost`` (of the replies with a price: see ``whole_cost``) count what was answered,
    ``interactions`` what the agent put to the models, ``seconds`` the time at work: pauses,
    interruptions and waiting for approval left out. ``growing`` is the reply under way, ``asked``
    what waits for approval, and ``unread`` a person's messages that the agent has not got yet.
    ``compacted`` says which messages are sent shortened, since event ``compacted_at``; ``window`` is
    where the endpoint's ends, in tokens, as far as this run has seen it, and ``noticed`` what else
    the run learnt of the endpoint.
    """

    id: str
    start: Recorded[AgentStarted]
    model: str
    policy: Policy
    status: AgentStatus = "running"
    messages: Sequence[Recorded[AgentTold] | Recorded[AgentReplied]] = ()
    calls: Sequence[Recorded[AgentCalled]] = ()
    failures: Sequence[Recorded[AgentRequestFailed]] = ()
    tool_mode: ToolMode = "native"
    compacted: AgentCompacted | None = None
    compacted_at: int = 0
    window: int | None = field(default=None, metadata={LATER: True})
    noticed: tuple[AgentNoticed, ...] = field(default=(), metadata={LATER: True})
    growing: str = ""
    replies: int = 0
    tokens: int = 0
    cost: float | None = None
    interactions: int = 0
    seconds: float = 0.0
    last_at: datetime | None = None
    asked: Recorded[ApprovalAsked] | None = None
    answers: Mapping[str, ApprovalGiven] = field(default_factory=lambda: MappingProxyType({}))
    unread: tuple[Recorded[AgentMessaged], ...] = ()
    taken_over_at: int | None = None
    report: Recorded[ReportSubmitted] | None = None
    stopped_by: str | None = None
    problem: str = ""

    @property
    def whole_cost(self) -> float | None:
        """The cost of every reply in US dollars; None where one that has tokens has no price."""
        said = [message.body for message in self.messages]
        return cost_of([body.usage for body in said if isinstance(body, AgentReplied)])

    @property
    def is_over(self) -> bool:
        """True once the audit came to its normal end."""
        return self.status == "ended"


def cost_of(usages: Sequence[Usage]) -> float | None:
    """Return the cost of replies in US dollars; None without any price, or where one is missing.

    A sum over some of them would be shown as the cost of all.
    """
    spent = [usage for usage in usages if usage.total_tokens or usage.cost is not None]
    return whole_sum([usage.cost for usage in spent])


def whole_sum(costs: Sequence[float | None]) -> float | None:
    """Return the sum; None of nothing, or where one of them is not known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


#: Events that come while an agent waits for a person's approval, and the approval.
_WHILE_ASKED = (ApprovalGiven, AgentMessaged, AgentControlled, AgentInterrupted)

Change = Callable[["Agents", AgentState, Event], dict[str, Any]]


def _of_agent(*kinds: type) -> Callable[[Change], Change]:
    """Mark the method that gives the changed fields of the agent that an event is of."""

    def mark(method: Change) -> Change:
        def handle(agents: Agents, event: Event) -> None:
            body: Any = event.body
            state = agents.items.get(body.run_id)
            # A judge has no audit of its own.
            if state is not None:
                changes = method(agents, state, event)
                at_work = state.status == "running" and not isinstance(body, AgentResumed)
                # An outside agent may go on while its question waits: then it is at work.
                if isinstance(body, _WHILE_ASKED) and state.asked is not None:
                    at_work = at_work and not state.asked.body.is_pause
                if at_work and state.last_at is not None:
                    # A clock that was set back takes no time away.
                    passed = max(0.0, (event.at - state.last_at).total_seconds())
                    changes["seconds"] = state.seconds + passed
                agents.put(state.id, replace(state, last_at=event.at, **changes))

        return cast(Change, on(*kinds)(handle))

    return mark


class Agents(Items[str, AgentState]):
    """The agents' audits by run id, in the order they began."""

    def __init__(self) -> None:
        # Of the ends of a session, which are naming, it keeps nothing but that they came.
        super().__init__("items")
        self._lists: dict[str, dict[str, list[Any]]] = {}

    def copy(self) -> Self:
        """Another with states and lists of its own."""
        twin = super().copy()
        twin._lists = {
            run_id: {name: list(items) for name, items in lists.items()}
            for run_id, lists in self._lists.items()
        }
        for run_id, state in self.items.items():
            twin.put(run_id, replace(state, **twin._prefixes(run_id)))
        return twin

    @on(AgentStarted)
    def _start(self, event: Event) -> None:
        body: Any = event.body
        self._lists[body.run_id] = {"messages": [], "calls": [], "failures": []}
        started = AgentState(
            id=body.run_id,
            start=recorded(event),
            model=body.model,
            policy=body.approval,
            last_at=event.at,
            **self._prefixes(body.run_id),
        )
        self.put(body.run_id, started)

    @on(SessionContinued, SessionClosed)
    def _abandon(self, _event: Event) -> None:
        """Interrupt audits that no process is at work on any more."""
        for run_id, state in self.items.items():
            if not state.is_over:
                self.put(run_id, replace(state, status="interrupted", growing=""))

    @_of_agent(AgentResumed)
    def _resumed(self, _state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        return {
            "status": "running",
            "model": body.model,
            "problem": "",
            "asked": None,
            "window": None,
            "noticed": (),
        }

    @_of_agent(AgentTold)
    def _told(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        unread = [message for message in state.unread if message.body.message_id != body.message_id]
        return {
            "unread": tuple(unread),
            "interactions": state.interactions - body.refunded,
        } | self._append(state.id, "messages", event)

    @_of_agent(AgentRequested)
    def _requested(self, _state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        return {"tool_mode": body.tool_mode, "growing": ""}

    @_of_agent(AgentReplyGrew)
    def _reply_grew(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        return {"growing": state.growing + body.text}

    @_of_agent(AgentRequestFailed)
    def _request_failed(self, state: AgentState, event: Event) -> dict[str, Any]:
        return {"growing": ""} | self._append(state.id, "failures", event)

    @_of_agent(AgentReplied)
    def _replied(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        cost = body.usage.cost
        return {
            "growing": "",
            "replies": state.replies + 1,
            "tokens": state.tokens + body.usage.total_tokens,
            "cost": state.cost if cost is None else (state.cost or 0.0) + cost,
        } | self._append(state.id, "messages", event)

    @_of_agent(AgentCalled)
    def _called(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        # A call that was cut off is done again after a kill, and counts once.
        again = any(call.body.call_id == body.call_id for call in state.calls)
        spent = state.interactions + (0 if again else body.spends)
        return {"interactions": spent} | self._append(state.id, "calls", event)

    @_of_agent(AgentCompacted)
    def _compacted(self, _state: AgentState, event: Event) -> dict[str, Any]:
        return {"compacted": event.body, "compacted_at": event.seq}

    @_of_agent(AgentNoticed)
    def _noticed(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        window = body.tokens if body.notice == "window" else state.window
        return {"noticed": (*state.noticed, body), "window": window}

    @_of_agent(ApprovalAsked)
    def _approval_asked(self, _state: AgentState, event: Event) -> dict[str, Any]:
        return {"asked": recorded(event)}

    @_of_agent(ApprovalGiven)
    def _approval_given(self, state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        answers = MappingProxyType({**state.answers, body.call_id: body})
        return {"answers": answers, "asked": None}

    @_of_agent(AgentControlled)
    def _controlled(self, _state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        match body.control:
            case "paused":
                return {"status": "paused"}
            case "continued" | "handed_back":
                return {"status": "running"}
            case "taken_over":
                return {"status": "taken_over", "taken_over_at": event.seq}
            case _:
                return {"policy": body.detail}

    @_of_agent(AgentMessaged)
    def _messaged(self, state: AgentState, event: Event) -> dict[str, Any]:
        return {"unread": (*state.unread, recorded(event))}

    @_of_agent(ReportSubmitted)
    def _report_submitted(self, _state: AgentState, event: Event) -> dict[str, Any]:
        return {"report": recorded(event)}

    @_of_agent(AgentInterrupted)
    def _interrupted(self, _state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        return {"status": "interrupted", "problem": body.message, "growing": ""}

    @_of_agent(AgentEnded)
    def _ended(self, _state: AgentState, event: Event) -> dict[str, Any]:
        body: Any = event.body
        return {"status": "ended", "stopped_by": body.stopped_by, "asked": None}

    def _append(self, run_id: str, name: str, event: Event) -> dict[str, Any]:
        items = self._lists[run_id][name]
        items.append(recorded(event))
        return {name: Prefix(items, len(items))}

    def _prefixes(self, run_id: str) -> dict[str, Any]:
        return {name: Prefix(items, len(items)) for name, items in self._lists[run_id].items()}


def standing(grades: Sequence[Recorded[GradeGiven]]) -> list[Recorded[GradeGiven]]:
    """The grades that no later one replaces."""
    replaced = {grade.body.replaces for grade in grades}
    return [grade for grade in grades if grade.body.grade_id not in replaced]


def history(
    grades: Sequence[Recorded[GradeGiven]], grade_id: str
) -> tuple[Recorded[GradeGiven], ...]:
    """A grade and those it replaced, the first first."""
    by_id = {grade.body.grade_id: grade for grade in grades}
    found: list[Recorded[GradeGiven]] = []
    wanted: str | None = grade_id
    while wanted is not None and wanted in by_id:
        found.insert(0, by_id[wanted])
        wanted = by_id[wanted].body.replaces
    return tuple(found)
