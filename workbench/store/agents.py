"""What agents' audits, grades and evaluations amount to: the part of the fold that is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel

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
    AuditSealed,
    AuditUnblinded,
    EvaluationCell,
    EvaluationStarted,
    GradeGiven,
    Policy,
    ReportSubmitted,
    ToolMode,
)
from workbench.store.record import LATER
from workbench.store.recorded import Prefix, Recorded

AgentStatus = Literal["running", "paused", "taken_over", "interrupted", "ended"]


@dataclass(frozen=True)
class AgentState:
    """An agent's audit as it stands.

    ``messages`` are the conversation: ``AgentTold`` and ``AgentReplied`` in order. ``replies``,
    ``tokens`` and ``cost`` (None as long as no price was known) count what was answered,
    ``interactions`` what the agent put to the models, ``seconds`` the time at work: pauses and
    interruptions left out. ``growing`` is the reply under way, ``asked`` what waits for approval, and
    ``unread`` a person's messages that the agent has not got yet. ``compacted`` says which messages
    are sent shortened, since event ``compacted_at``; ``window`` is where the endpoint's ends, in
    tokens, as far as this run has seen it, and ``noticed`` what else the run learnt of the endpoint.
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
    def is_over(self) -> bool:
        """Whether the audit came to its normal end."""
        return self.status == "ended"


@dataclass(frozen=True)
class Findings:
    """What a state holds of agents: see the fields of the same names of ``SessionState``."""

    agents: Mapping[str, AgentState]
    seal: Recorded[AuditSealed] | None
    unblinded: Sequence[Recorded[AuditUnblinded]]
    grades: Sequence[Recorded[GradeGiven]]
    evaluation: Recorded[EvaluationStarted] | None
    cells: Mapping[str, Recorded[EvaluationCell]]


class AgentFold:
    """Takes the events of agents; a part of ``workbench.store.state.Fold``."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentState] = {}
        self._lists: dict[str, dict[str, list[Any]]] = {}
        self._seal: Recorded[AuditSealed] | None = None
        self._unblinded: list[Recorded[AuditUnblinded]] = []
        self._grades: list[Recorded[GradeGiven]] = []
        self._evaluation: Recorded[EvaluationStarted] | None = None
        self._cells: dict[str, Recorded[EvaluationCell]] = {}

    def copy(self) -> Self:
        """One that goes on from here independently."""
        twin = type(self)()
        twin._lists = {
            run_id: {name: list(items) for name, items in lists.items()}
            for run_id, lists in self._lists.items()
        }
        twin._agents = {
            run_id: replace(state, **twin._prefixes(run_id))
            for run_id, state in self._agents.items()
        }
        twin._seal = self._seal
        twin._unblinded = list(self._unblinded)
        twin._grades = list(self._grades)
        twin._evaluation = self._evaluation
        twin._cells = dict(self._cells)
        return twin

    def findings(self) -> Findings:
        """What the events so far amount to."""
        return Findings(
            agents=MappingProxyType(dict(self._agents)),
            seal=self._seal,
            unblinded=Prefix(self._unblinded, len(self._unblinded)),
            grades=Prefix(self._grades, len(self._grades)),
            evaluation=self._evaluation,
            cells=MappingProxyType(dict(self._cells)),
        )

    def apply(self, recorded: Recorded[BaseModel]) -> bool:
        """Take an event if it is one of ours; whether it was."""
        body: Any = recorded.body
        where: Any = recorded
        match body:
            case AuditSealed():
                self._seal = where
            case AuditUnblinded():
                self._unblinded.append(where)
            case GradeGiven():
                self._grades.append(where)
            case EvaluationStarted():
                self._evaluation = where
            case EvaluationCell():
                self._cells[body.cell] = where
            case AgentStarted():
                self._start(where, body)
            case (
                AgentResumed()
                | AgentTold()
                | AgentRequested()
                | AgentReplyGrew()
                | AgentRequestFailed()
                | AgentReplied()
                | AgentCalled()
                | AgentCompacted()
                | AgentNoticed()
                | ApprovalAsked()
                | ApprovalGiven()
                | AgentControlled()
                | AgentMessaged()
                | ReportSubmitted()
                | AgentInterrupted()
                | AgentEnded()
            ):
                self._of_agent(where, body)
            case _:
                return False
        return True

    def abandon(self) -> None:
        """No process is at work any more: what was under way is interrupted."""
        for run_id, state in self._agents.items():
            if not state.is_over:
                self._agents[run_id] = replace(state, status="interrupted", growing="")

    def _start(self, recorded: Recorded[AgentStarted], body: AgentStarted) -> None:
        self._lists[body.run_id] = {"messages": [], "calls": [], "failures": []}
        self._agents[body.run_id] = AgentState(
            id=body.run_id,
            start=recorded,
            model=body.model,
            policy=body.approval,
            last_at=recorded.at,
            **self._prefixes(body.run_id),
        )

    def _of_agent(self, recorded: Recorded[Any], body: Any) -> None:
        state = self._agents.get(body.run_id)
        if state is None:
            # Of a judge, which has no audit of its own.
            return
        changes = self._changes(state, recorded, body)
        at_work = state.status == "running" and not isinstance(body, AgentResumed)
        if at_work and state.last_at is not None:
            changes["seconds"] = state.seconds + (recorded.at - state.last_at).total_seconds()
        self._agents[state.id] = replace(state, last_at=recorded.at, **changes)

    def _changes(self, state: AgentState, recorded: Recorded[Any], body: Any) -> dict[str, Any]:
        match body:
            case AgentResumed():
                return {
                    "status": "running",
                    "model": body.model,
                    "problem": "",
                    "asked": None,
                    "window": None,
                    "noticed": (),
                }
            case AgentTold():
                read = [one for one in state.unread if one.body.message_id != body.message_id]
                return {"unread": tuple(read)} | self._append(state.id, "messages", recorded)
            case AgentRequested():
                return {"tool_mode": body.tool_mode, "growing": ""}
            case AgentReplyGrew():
                return {"growing": state.growing + body.text}
            case AgentRequestFailed():
                return {"growing": ""} | self._append(state.id, "failures", recorded)
            case AgentReplied():
                cost = body.usage.cost
                return {
                    "growing": "",
                    "replies": state.replies + 1,
                    "tokens": state.tokens + body.usage.total_tokens,
                    "cost": state.cost if cost is None else (state.cost or 0.0) + cost,
                } | self._append(state.id, "messages", recorded)
            case AgentCalled():
                # A call that was cut off is done again after a kill, and counts once.
                again = any(one.body.call_id == body.call_id for one in state.calls)
                return {
                    "interactions": state.interactions + (0 if again else body.spends)
                } | self._append(state.id, "calls", recorded)
            case AgentCompacted():
                return {"compacted": body, "compacted_at": recorded.seq}
            case AgentNoticed():
                window = body.tokens if body.notice == "window" else state.window
                return {"noticed": (*state.noticed, body), "window": window}
            case ApprovalAsked():
                return {"asked": recorded}
            case ApprovalGiven():
                answers = MappingProxyType({**state.answers, body.call_id: body})
                return {"answers": answers, "asked": None}
            case AgentControlled():
                return self._controlled(state, recorded, body)
            case AgentMessaged():
                return {"unread": (*state.unread, recorded)}
            case ReportSubmitted():
                return {"report": recorded}
            case AgentInterrupted():
                return {"status": "interrupted", "problem": body.message, "growing": ""}
            case _:
                assert isinstance(body, AgentEnded)
                return {"status": "ended", "stopped_by": body.stopped_by, "asked": None}

    def _controlled(
        self, state: AgentState, recorded: Recorded[Any], body: AgentControlled
    ) -> dict[str, Any]:
        match body.control:
            case "paused":
                return {"status": "paused"}
            case "continued":
                return {"status": "running"}
            case "taken_over":
                return {"status": "taken_over", "taken_over_at": recorded.seq}
            case "handed_back":
                return {"status": "running"}
            case _:
                return {"policy": body.detail}

    def _append(self, run_id: str, name: str, recorded: Recorded[Any]) -> dict[str, Any]:
        items = self._lists[run_id][name]
        items.append(recorded)
        return {name: Prefix(items, len(items))}

    def _prefixes(self, run_id: str) -> dict[str, Any]:
        return {name: Prefix(items, len(items)) for name, items in self._lists[run_id].items()}


def standing(grades: Sequence[Recorded[GradeGiven]]) -> list[Recorded[GradeGiven]]:
    """The grades that no later one replaces."""
    replaced = {one.body.replaces for one in grades}
    return [one for one in grades if one.body.grade_id not in replaced]


def history(
    grades: Sequence[Recorded[GradeGiven]], grade_id: str
) -> tuple[Recorded[GradeGiven], ...]:
    """A grade and those it replaced, the first first."""
    by_id = {one.body.grade_id: one for one in grades}
    found: list[Recorded[GradeGiven]] = []
    wanted: str | None = grade_id
    while wanted is not None and wanted in by_id:
        found.insert(0, by_id[wanted])
        wanted = by_id[wanted].body.replaces
    return tuple(found)
