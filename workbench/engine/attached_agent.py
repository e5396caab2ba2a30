"""The agent of a session on a screen of another process, at the engine that runs it."""

from __future__ import annotations

from workbench.engine import protocol as p
from workbench.engine.agent_runner import WorkStatus
from workbench.engine.attached_engine import AttachedEngine
from workbench.store.agent_events import Policy


class AttachedAgent:
    """The agent beside the person, at the engine."""

    def __init__(self, engine: AttachedEngine) -> None:
        self.status = WorkStatus()
        self.person = AttachedHand(engine)
        self._engine = engine

    def stop(self) -> None:
        """Stop the agent. Raises `Watching` and `EngineGone`."""
        self._engine.check()
        self._engine.order(p.StopAgent(session=self._engine.session))


class AttachedHand:
    """A person's hand on the agent at the engine. Its methods raise `Watching` and `EngineGone`."""

    def __init__(self, engine: AttachedEngine) -> None:
        self._engine = engine

    def pause(self) -> None:
        """Let the agent finish what it is at, and then wait."""
        self._do("pause")

    def go_on(self) -> None:
        """End a pause."""
        self._do("go_on")

    def take_over(self) -> None:
        """Work in the agent's place."""
        self._do("take_over")

    def hand_back(self, note: str = "") -> None:
        """Let the agent go on."""
        self._do("hand_back", note)

    def set_policy(self, policy: Policy) -> None:
        """Choose which calls need approval."""
        self._do("policy", policy)

    def message(self, text: str) -> None:
        """Write to the agent."""
        self._do("message", text)

    def approve(self, call_id: str, reason: str = "") -> None:
        """Let the agent make the call it asked about."""
        self._do("approve", reason, call_id)

    def refuse(self, call_id: str, reason: str = "") -> None:
        """Deny the call."""
        self._do("refuse", reason, call_id)

    def _do(self, hand: p.Hand, detail: str = "", call: str = "") -> None:
        self._engine.check()
        self._engine.order(
            p.Supervise(session=self._engine.session, hand=hand, detail=detail, call=call)
        )
