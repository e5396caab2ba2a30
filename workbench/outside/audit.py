"""An audit whose agent is another program: it makes the calls, the workbench does and records them.

The log holds the same events as of the workbench's own agent, so that replay, report, grades and
coverage need not know the difference. Each call stands in an ``agent_replied`` of its own, with no
tokens and no text: those are the other program's and never come here.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adl.callbacks import ShouldStop
from adl.errors import Stopped
from workbench.agent import older_rules, progress, prompts
from workbench.agent.budgets import Budgets
from workbench.agent.calling import Calls
from workbench.agent.conversation import unanswered
from workbench.agent.errors import AgentError
from workbench.agent.runners import Runner
from workbench.agent.supervision import AskPerson, Supervision
from workbench.agent.toolbox import Toolbox
from workbench.blinding.aliases import Blinding
from workbench.operations.running import Arguments, Operation, Outcome, Session
from workbench.store.agent_events import (
    AgentInterrupted,
    AgentMode,
    AgentReplied,
    AgentResumed,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    Policy,
    ToolCall,
    Usage,
)
from workbench.store.errors import SessionOver
from workbench.store.events import SYSTEM, Actor
from workbench.store.slices.agents import AgentState
from workbench.store.state import SessionState

#: The address recorded for an agent that calls over stdio.
ADDRESS = "mcp:stdio"


@dataclass(frozen=True)
class OutsidePlan:
    """The plan of an outside agent's audit; ``budgets`` count its calls as replies, and no tokens."""

    mode: AgentMode
    budgets: Budgets
    approval: Policy


@dataclass(frozen=True)
class OutsideSurroundings:
    """The surroundings of an audit: runner of operations, person for approvals, stop flag.

    ``ask`` may raise to have the call made again with its id.
    """

    runner: Runner
    ask: AskPerson
    should_stop: ShouldStop


@dataclass(frozen=True)
class CallResult:
    """The result of a call as the agent gets it; ``ok`` is False for a refusal or an error."""

    text: str
    ok: bool


def unfinished(state: SessionState) -> AgentState | None:
    """Return the outside agent's audit that a session goes on with: the last that is not over."""
    audits = (
        agent
        for agent in reversed(list(state.agents.values()))
        if not agent.is_over and agent.start.body.endpoint == ADDRESS
    )
    return next(audits, None)


def opening_of(agent: AgentState, role: str) -> str:
    """Return what an audit's agent was told first in this role; empty before it was."""
    told = (message.body for message in agent.messages if isinstance(message.body, AgentTold))
    first = (body.content for body in told if (body.role, body.source) == (role, "opening"))
    return next(first, "")


class OutsideAudit:
    """One process's part of an audit by an outside agent. Safe to use from any thread.

    ``blinding`` hides names from the agent.
    """

    def __init__(
        self,
        session: Session,
        run_id: str,
        blinding: Blinding,
        surroundings: OutsideSurroundings,
    ) -> None:
        self._session = session
        self._id = run_id
        self._runner = surroundings.runner
        self._should_stop = surroundings.should_stop
        self._cancelled: threading.Event = threading.Event()
        "Set once the client wants the call that is being done no more."
        self._one_at_a_time = threading.Lock()
        start = session.state.agents[run_id].start.body
        older = older_rules.are_of(start.settings)
        self._toolbox = Toolbox(session, start.mode, blinding, self._run, older=older)
        self._blinding = blinding
        self._person = Supervision(session, ask=lambda asked: surroundings.ask(self._shown(asked)))
        self._calls = Calls(session, run_id, blinding, self._toolbox, self._person)
        self._open()

    @classmethod
    def begin(
        cls,
        session: Session,
        client: str,
        plan: OutsidePlan,
        blinding: Blinding,
        surroundings: OutsideSurroundings,
    ) -> OutsideAudit:
        """Begin an audit by the program ``client``, or go on with one that was interrupted.

        Raises ``AgentError`` where that one is of another mode than the plan, whose tools it has not.
        """
        begun = unfinished(session.state)
        if begun is not None:
            run_id, mode = begun.id, begun.start.body.mode
            if mode != plan.mode:
                raise AgentError(
                    f"the audit {run_id} of session {session.id} is of mode {mode}, not {plan.mode}",
                    "Start the server again: it goes on with that audit.",
                )
            session.record(
                AgentResumed(run_id=run_id, model=client, endpoint=ADDRESS), actor=SYSTEM
            )
        else:
            run_id = uuid.uuid4().hex[:12]
            session.record(
                AgentStarted(
                    run_id=run_id,
                    mode=plan.mode,
                    model=client,
                    endpoint=ADDRESS,
                    budgets=plan.budgets.as_dict(),
                    approval=plan.approval,
                    settings={"prompts": prompts.VERSION, "blind": bool(blinding)},
                ),
                actor=SYSTEM,
            )
        return cls(session, run_id, blinding, surroundings)

    @property
    def state(self) -> AgentState:
        """The audit as recorded so far."""
        return self._calls.state

    @property
    def opening(self) -> str:
        """The message the audit opens with: the budget, and the overview of what was computed."""
        return opening_of(self.state, "user")

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        call_id: str | None = None,
        cancelled: threading.Event | None = None,
    ) -> CallResult:
        """Do a call and return its result. ``call_id`` names one that waited for an approval.

        It waits while a person has the audit paused or taken over; what they wrote and did comes with
        the result. Once ``cancelled`` is set, its result says that it was stopped; a call that has not
        begun by then is not recorded. Raises ``Stopped`` for that and when the server ends,
        ``RunnerGone``, and what ``ask`` raises.
        """
        with self._one_at_a_time:
            self._cancelled = cancelled or threading.Event()
            self._check_cancelled()
            # A person may be at a screen of another process.
            self._session.catch_up()
            self._person.hold(self._id, self._is_stopped)
            if self.state.is_over:
                return CallResult("the audit is over: its report is submitted", ok=False)
            waiting = {call.id: call for call in unanswered(self.state)}
            call = waiting.get(call_id or "")
            if call is None:
                call = ToolCall(
                    id=uuid.uuid4().hex[:12], name=name, arguments=json.dumps(dict(arguments))
                )
                self._record_reply(call)
            self._calls.do(
                call, progress.asked_for_answer(self.state), self._should_stop, self._deadline
            )
            result, after = self._result(call), self.state
            if after.is_over:
                return result
            n_told = len(after.messages)
            self._calls.deliver()
            self._watch_budget()
            more = [message.body.content for message in self.state.messages[n_told:]]
            return CallResult("\n\n".join([result.text, *more]), result.ok)

    def leave(self, reason: str) -> None:
        """Record that the agent went away before its report, if it did; waits for a call's end."""
        with self._one_at_a_time:
            if not self.state.is_over:
                # The end of a session interrupts the agents in it.
                with suppress(SessionOver):
                    self._session.record(
                        AgentInterrupted(run_id=self._id, error="Disconnected", message=reason)
                    )

    # --- inside ----------------------------------------------------------------------------------

    def _shown(self, asked: ApprovalAsked) -> ApprovalAsked:
        """The question as it leaves for the client: names only where the agent itself wrote them."""
        written = [call.arguments for call in unanswered(self.state) if call.id == asked.call_id]
        shown = self._blinding.told_all(asked.arguments, "".join(written))
        return asked.model_copy(update={"arguments": shown})

    def _open(self) -> None:
        """Record instructions and overview, except those recorded before an interruption."""
        mode, sent = self.state.start.body.mode, len(self.state.messages)
        if sent < 1:
            self._calls.tell("system", "opening", prompts.system_prompt(mode))
        if sent < 2:
            budgets = self._calls.budgets
            parts = [prompts.opening(mode, budgets.interactions, budgets.left(self.state))]
            if mode == "adl":
                parts.append(self._toolbox.overview())
            self._calls.tell("user", "opening", "\n\n".join(parts))

    def _record_reply(self, call: ToolCall) -> None:
        self._session.record(
            AgentReplied(
                exchange_id=uuid.uuid4().hex[:12],
                run_id=self._id,
                model=self.state.model,
                content="",
                tool_calls=(call,),
                finish_reason="tool_calls",
                usage=Usage(prompt_tokens=0, completion_tokens=0),
                seconds=0.0,
                endpoint=ADDRESS,
            ),
            actor=Actor(kind="agent", name=self.state.model),
        )

    def _result(self, call: ToolCall) -> CallResult:
        if self.state.report is not None:
            self._calls.end(progress.asked_for_answer(self.state) or "report")
            return CallResult("The report is recorded, and the audit is over.", ok=True)
        told = self.state.messages[-1].body
        assert isinstance(told, AgentTold)
        assert told.tool_call_id == call.id
        return CallResult(told.content, told.ok)

    def _watch_budget(self) -> None:
        """Once a budget is spent, only a report is taken."""
        state = self.state
        if progress.asked_for_answer(state) is not None:
            return
        spent = self._calls.budgets.spent(state)
        if spent is not None:
            self._calls.tell(
                "user",
                "budget",
                f"The budget is spent ({spent}): submit the final report now.",
                budget=spent,
            )

    def _deadline(self) -> float:
        return time.monotonic() + self._calls.budgets.seconds_left(self.state)

    def _is_stopped(self) -> bool:
        return self._should_stop() or self._cancelled.is_set()

    def _run(
        self, operation: Operation[Any], arguments: Arguments, actor: Actor, should_stop: ShouldStop
    ) -> Outcome:
        self._check_cancelled()
        return self._runner(
            operation, arguments, actor, lambda: should_stop() or self._cancelled.is_set()
        )

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Stopped("cancelled by the client")
