"""A person beside the agent: watching, pausing, approving, writing, taking over.

Everything that a person does here is an event, and the agent looks at what the events amount to. So a
screen shows what the agent sees, and a process that is killed while it waits goes on waiting.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Protocol

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop
from adl.errors import Stopped
from workbench.agent.errors import AgentError
from workbench.operations.running import Session
from workbench.store.agent_events import (
    AgentControlled,
    AgentMessaged,
    ApprovalAsked,
    ApprovalGiven,
    Policy,
)
from workbench.store.events import HUMAN, Actor
from workbench.store.slices.agents import AgentState

AskPerson = Callable[[ApprovalAsked], tuple[bool, str]]
"""Asks a person at once, on the agent's thread; returns whether it may, and why."""


class Supervisor(Protocol):
    """A supervisor of an agent: holds it, and decides on the calls that need approval."""

    def hold(self, run_id: str, should_stop: ShouldStop) -> None:
        """Wait as long as the agent is not to go on. Raises ``Stopped``."""
        ...

    def decide(self, asked: ApprovalAsked, should_stop: ShouldStop) -> ApprovalGiven:
        """Wait for a person's answer, and return it as recorded. Raises ``Stopped``."""
        ...


class Supervision:
    """The hand of a person on the agents of a session. Safe to use from any thread.

    ``ask`` answers at once where there is a person to ask on the spot; else an agent that needs
    approval waits for `approve` or `refuse`.
    """

    def __init__(
        self, session: Session, person: Actor = HUMAN, ask: AskPerson | None = None
    ) -> None:
        self._session = session
        self._person = person
        self._ask = ask
        self._changed = threading.Condition()

    # --- the person's side -----------------------------------------------------------------------

    @property
    def agent(self) -> AgentState | None:
        """The agent at work here, if there is one: the one started last that is not over."""
        agents = [agent for agent in self._session.state.agents.values() if not agent.is_over]
        return agents[-1] if agents else None

    def pause(self, reason: str = "") -> None:
        """Let the agent finish what it is at, and then wait."""
        self._control("paused", reason)

    def go_on(self) -> None:
        """End a pause."""
        self._control("continued")

    def take_over(self) -> None:
        """Wait as in a pause, while the person works with the same operations."""
        self._control("taken_over")

    def hand_back(self, note: str = "") -> None:
        """Let the agent go on, with a message of the person's actions and the note."""
        self._control("handed_back", note)

    def set_policy(self, policy: Policy) -> None:
        """Set which calls need approval from here on: none, all, or those that ask the models."""
        self._control("policy", policy)

    def message(self, text: str) -> str:
        """Write to the agent, which gets it before its next turn; returns the message's id."""
        message_id = uuid.uuid4().hex
        with self._changed:
            self._session.record(
                AgentMessaged(run_id=self._required().id, message_id=message_id, text=text),
                actor=self._person,
            )
            self._changed.notify_all()
        return message_id

    def approve(self, call_id: str, reason: str = "") -> None:
        """Let the agent make the call it asked about."""
        self._answer(call_id, True, reason)

    def refuse(self, call_id: str, reason: str = "") -> None:
        """Deny the call; the agent gets the reason and goes on."""
        self._answer(call_id, False, reason)

    # --- the agent's side ------------------------------------------------------------------------

    def hold(self, run_id: str, should_stop: ShouldStop) -> None:
        """Wait while the agent is paused or a person has taken over. Raises ``Stopped``."""
        self._wait(
            lambda: self._session.state.agents[run_id].status not in {"paused", "taken_over"},
            should_stop,
        )

    def decide(self, asked: ApprovalAsked, should_stop: ShouldStop) -> ApprovalGiven:
        """Wait for `approve` or `refuse`, or ask the person at once. Raises ``Stopped``."""
        if self._ask is not None:
            approved, reason = self._ask(asked)
            self._answer(asked.call_id, approved, reason)
        self._wait(
            lambda: asked.call_id in self._session.state.agents[asked.run_id].answers, should_stop
        )
        return self._session.state.agents[asked.run_id].answers[asked.call_id]

    # --- inside ----------------------------------------------------------------------------------

    def _wait(self, is_over: Callable[[], bool], should_stop: ShouldStop) -> None:
        with self._changed:
            while not is_over():
                if should_stop():
                    raise Stopped("stopped while waiting for a person")
                self._changed.wait(STOP_POLL_SECONDS)
                # The person may be at a screen of another process.
                self._session.catch_up()

    def _control(self, control: str, detail: str = "") -> None:
        with self._changed:
            self._session.record(
                AgentControlled.model_validate(
                    {"run_id": self._required().id, "control": control, "detail": detail}
                ),
                actor=self._person,
            )
            self._changed.notify_all()

    def _answer(self, call_id: str, approved: bool, reason: str) -> None:
        agent = self._required()
        if agent.asked is None or agent.asked.body.call_id != call_id:
            raise AgentError(
                f"the agent does not ask about the call {call_id!r}", "It may be answered already."
            )
        with self._changed:
            self._session.record(
                ApprovalGiven(run_id=agent.id, call_id=call_id, approved=approved, reason=reason),
                actor=self._person,
            )
            self._changed.notify_all()

    def _required(self) -> AgentState:
        agent = self.agent
        if agent is None:
            raise AgentError(f"no agent is at work in session {self._session.id}", "Start one.")
        return agent
