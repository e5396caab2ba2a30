"""Tool calls of an agent's audit: checked, charged, approved, done, and recorded with their results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from adl.callbacks import ShouldStop
from adl.errors import AdlError, Stopped
from workbench.agent import handing_back, older_rules
from workbench.agent.budgets import Budgets
from workbench.agent.errors import ToolError
from workbench.agent.merged_tools import strings_in
from workbench.agent.reporting import FullReportArguments, ReportArguments
from workbench.agent.runners import RunnerGone
from workbench.agent.supervision import Supervisor
from workbench.agent.toolbox import Doing, Toolbox, described
from workbench.agent.tools import REPORT_TOOL, arguments_of
from workbench.blinding.aliases import Blinding
from workbench.operations.running import Session
from workbench.store.agent_events import (
    AgentCalled,
    AgentEnded,
    AgentTold,
    ApprovalAsked,
    BudgetName,
    ToolCall,
)
from workbench.store.events import SYSTEM, Actor
from workbench.store.slices.agents import AgentState


class Calls:
    """The calls of one audit, made by ``actor``, and the messages to the agent.

    All text to the agent passes `tell`, which hides the names of a blind session's pair.
    """

    def __init__(
        self,
        session: Session,
        run_id: str,
        blinding: Blinding,
        toolbox: Toolbox,
        supervisor: Supervisor,
    ) -> None:
        self._session = session
        self._id = run_id
        self._blinding = blinding
        self._toolbox = toolbox
        self._supervisor = supervisor
        self._actor = Actor(kind="agent", name=self.state.model)
        self.budgets = Budgets.of(self.state.start.body.budgets)

    @property
    def state(self) -> AgentState:
        """The audit as recorded so far."""
        return self._session.state.agents[self._id]

    def tell(
        self, role: str, source: str, content: str, *, actor: Actor = SYSTEM, **more: Any
    ) -> None:
        """Record a message to the agent, names hidden but for those that it wrote itself."""
        fields = {"run_id": self._id, "role": role, "source": source}
        self._session.record(
            AgentTold.model_validate({**fields, "content": self._blinding.told(content), **more}),
            actor=actor,
        )

    def deliver(self) -> None:
        """Tell what a person wrote, and did while they had taken over."""
        state = self.state
        if state.taken_over_at is not None and not handing_back.is_told(state, state.taken_over_at):
            self.tell(
                "user",
                "hand_back",
                handing_back.done_by_person(
                    self._session, state.start.body.mode, state.taken_over_at
                ),
                message_id=handing_back.message_id(state.taken_over_at),
            )
        for message in state.unread:
            self.tell(
                "user",
                "human",
                "A person who audits with you writes: " + message.body.text,
                message_id=message.body.message_id,
            )

    def do(
        self,
        call: ToolCall,
        asked_for: BudgetName | None,
        should_stop: ShouldStop,
        deadline: Callable[[], float],
    ) -> None:
        """Do a call and record its result; an error is a result, too.

        ``asked_for`` is the spent budget for which the report was asked; then no other tool is done.
        ``deadline`` gives the time of ``time.monotonic`` at which a call is stopped. Raises
        ``Stopped`` if ``should_stop`` asks for it, and ``RunnerGone``.
        """
        state = self.state
        try:
            if asked_for is not None and call.name != REPORT_TOOL.name:
                raise ToolError("the budget is spent", "Submit your report with submit_report.")
            tool = self._toolbox.find(call.name)
            arguments = self._toolbox.parse(
                tool, arguments_of(call.arguments), is_last=asked_for is not None
            )
        except ToolError as exc:
            self._result(call, self._described(exc, call), ok=False)
            return
        spends = tool.interactions(arguments)
        left = self.budgets.interactions_left(state)
        begun = next((done for done in state.calls if done.body.call_id == call.id), None)
        if begun is None and left is not None and spends > left:
            refusal = f"failed: this needs {spends} model interactions, and {left} are left."
            self._result(call, refusal, ok=False, budget="interactions" if not left else None)
            return
        if begun is None and not self._approved(state, call, arguments, spends, should_stop):
            return
        event = self._session.record(
            AgentCalled(
                run_id=self._id,
                call_id=call.id,
                tool=tool.name,
                arguments=arguments.model_dump(mode="json"),
                spends=spends,
            ),
            actor=self._actor,
        )
        if isinstance(arguments, ReportArguments | FullReportArguments):
            self._session.record(arguments.event(self._id, self._session.state), actor=self._actor)
            return
        ends_at = deadline()

        def stop() -> bool:
            return should_stop() or time.monotonic() >= ends_at

        doing = Doing(self._actor, begun.seq if begun else event.seq, stop)
        refunded = 0
        try:
            done = self._toolbox.do(tool, arguments, doing)
            content, ok = done.text, done.failure is None
            if done.failure is not None:
                content = f"{content}\n{self._described(done.failure, call)}"
        except Stopped as exc:
            if should_stop():
                raise
            by = "a person" if time.monotonic() < ends_at else "the end of the time budget"
            content, ok = f"stopped by {by}: {exc.message}", False
            refunded = self._unspent(spends, doing)
        except RunnerGone:
            # The call is no failure: whoever resumes the audit does it.
            raise
        except Exception as exc:  # noqa: BLE001 - whatever failed, the agent gets the error and goes on
            content, ok = self._described(exc, call), False
            refunded = self._unspent(spends, doing)
        self._result(call, content, ok=ok, refunded=refunded)

    def end(self, stopped_by: str, reason: str = "") -> None:
        """Record the end of the audit."""
        self._session.record(
            AgentEnded.model_validate(
                {"run_id": self._id, "stopped_by": stopped_by, "reason": reason}
            )
        )

    def _unspent(self, spends: int, doing: Doing) -> int:
        """The interactions that a failed call gets back: all, if it put nothing to the models."""
        if older_rules.charge_in_full(self.state.start.body.settings):
            return 0
        self._session.catch_up()
        asked = any(
            text.start.seq > doing.since and text.start.actor.kind == "agent"
            for text in self._session.state.texts.values()
        )
        return 0 if asked else spends

    def _described(self, error: Exception, call: ToolCall) -> str:
        """A failure in words; names that the call has in it are the agent's own there."""
        if not isinstance(error, AdlError):
            return described(error)
        try:
            written = strings_in(arguments_of(call.arguments))
        except ToolError:
            written = []
        return self._blinding.spare(
            described(error), "\n".join([call.name, call.arguments, *written])
        )

    def _approved(
        self,
        state: AgentState,
        call: ToolCall,
        arguments: BaseModel,
        spends: int,
        should_stop: ShouldStop,
    ) -> bool:
        if state.policy == "never" or (state.policy == "spending" and not spends):
            return True
        given = state.answers.get(call.id)
        if given is None:
            asked = ApprovalAsked(
                run_id=self._id,
                call_id=call.id,
                tool=call.name,
                arguments=arguments.model_dump(mode="json"),
                spends=spends,
                is_pause=True,
            )
            if state.asked is None or state.asked.body.call_id != call.id:
                self._session.record(asked, actor=self._actor)
            given = self._supervisor.decide(asked, should_stop)
        if not given.approved:
            why = f": {given.reason}" if given.reason else ""
            self._result(call, f"refused by a person{why}. Go on without it.", ok=False)
        return given.approved

    def _result(
        self,
        call: ToolCall,
        content: str,
        *,
        ok: bool,
        budget: BudgetName | None = None,
        refunded: int = 0,
    ) -> None:
        state = self.state
        after = replace(state, interactions=state.interactions - refunded)
        self.tell(
            "tool",
            "result",
            content + "\n" + self.budgets.left(after),
            tool_call_id=call.id,
            tool=call.name[:60],
            ok=ok,
            budget=budget,
            refunded=refunded,
        )
