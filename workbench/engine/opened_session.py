"""A session as a screen works on it, whether its own process or an engine runs the jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from adl.errors import AdlError
from workbench.operations.jobs import Job, JobListener
from workbench.operations.running import Arguments, Operation, Session
from workbench.store.agent_events import Policy
from workbench.store.errors import StoreError
from workbench.store.events import HUMAN, Actor, Ending, Event
from workbench.store.log import SessionLog
from workbench.store.state import SessionState

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor
    from workbench.engine.agent_request import AuditRequest
    from workbench.engine.agent_runner import WorkStatus

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True)
class Link:
    """The tie of a screen to an engine.

    ``keys``      it takes orders of this screen; ``asked_by`` is another screen that asks for the
                  keys, empty for none, and ``asking`` its number
    ``watching``  it takes orders of another screen, the ``holder``; that is empty if nobody has the
                  keys
    ``gone``      it is gone, for the reason ``why``
    """

    kind: Literal["keys", "watching", "gone"] = "keys"
    holder: str = ""
    asked_by: str = ""
    why: str = ""
    asking: int = 0


class PersonsHand(Protocol):
    """A person's hand on an agent, see `Supervision`."""

    def pause(self) -> None:
        """Let the agent finish what it is at, and then wait."""

    def go_on(self) -> None:
        """End a pause."""

    def take_over(self) -> None:
        """Work in the agent's place."""

    def hand_back(self, note: str) -> None:
        """Let the agent go on."""

    def set_policy(self, policy: Policy) -> None:
        """Choose which calls need approval."""

    def message(self, text: str) -> object:
        """Write to the agent."""

    def approve(self, call_id: str, reason: str) -> None:
        """Let the agent make the call it asked about."""

    def refuse(self, call_id: str, reason: str) -> None:
        """Deny the call."""


class AgentHand(Protocol):
    """An agent beside the person."""

    @property
    def status(self) -> WorkStatus:
        """Status of the agent."""

    @property
    def person(self) -> PersonsHand:
        """The person's hand on the agent."""

    def stop(self) -> None:
        """Stop the agent."""


class EngineHand(Protocol):
    """The engine that runs a session's jobs. But for `listen`, what it does waits for the engine."""

    socket: Path

    @property
    def link(self) -> Link:
        """The tie to it."""

    def listen(
        self, link_changed: Callable[[], object], refused: Callable[[AdlError], object]
    ) -> None:
        """Call back, on other threads, when the link changes and when an order is refused."""

    def ask_for_keys(self) -> bool:
        """Take the keys if nobody has them, else ask for them. Return True if they are taken."""

    def answer_keys(self, number: int, gives: bool) -> None:
        """Give the keys to the screen with this number that asks for them, or keep them.

        Raises `AdlError` if that does not ask any more.
        """

    def stop(self) -> None:
        """Stop the engine, with all that it runs."""


class OpenedSession(Protocol):
    """A session that is open on a screen. Its methods may be called from any thread."""

    log: SessionLog
    session: Session
    "The log and the state, to record in what no job does."

    @property
    def engine(self) -> EngineHand | None:
        """The engine that runs the jobs, None if this process does."""

    @property
    def has_pair(self) -> bool:
        """True if a pair is loaded."""

    @property
    def state(self) -> SessionState:
        """The current state of the session."""

    @property
    def redactor(self) -> StateRedactor:
        """The redactor of a blind session's names. For the screen's thread."""

    @property
    def shown(self) -> SessionState:
        """The current state, redacted. For the screen's thread."""

    def shown_name(self, name: str | None) -> str:
        """Return a name of the pair, redacted. For the screen's thread."""

    def event(self, seq: int) -> Event:
        """Return an event, redacted. Raises `StoreError` if there is none."""

    def find_events(self, words: str, after: int = 0) -> list[int]:
        """Return the numbers of the events after ``after`` whose redacted texts have the words."""

    def listen(
        self,
        recorded: Callable[[], object],
        job_changed: JobListener,
        agent_changed: Callable[[], object] = ...,
    ) -> None:
        """Call back, on other threads, for events and changes of jobs and of the agent."""

    def submit(
        self,
        operation: Operation[A],
        arguments: A,
        actor: Actor = HUMAN,
        *,
        background: bool = False,
    ) -> Job:
        """Queue an operation. Raises `RuntimeError` while closing, `AdlError` if it is refused."""

    def jobs(self) -> list[Job]:
        """Return the running jobs, then the waiting ones in order."""

    def move(self, job_id: str, step: int) -> bool:
        """Move a waiting job up (-1) or down (1); False if there is no such place."""

    def stop(self, job_id: str) -> None:
        """Stop a job."""

    @property
    def agent(self) -> AgentHand:
        """The agent beside the person."""

    def start_agent(self, request: AuditRequest) -> None:
        """Start an audit by an agent. Raises `AdlError`."""

    def resume_agent(self, run_id: str) -> None:
        """Resume an interrupted audit. Raises `AdlError`."""

    def reveal_names(self) -> None:
        """Show the names of a blind session's pair from here on."""

    def rename(self, name: str) -> None:
        """Give the session another name."""

    def close(self, view: dict[str, Any], outcome: Ending = ..., reason: str = ...) -> None:
        """Leave the session as the screen is now. Safe to call twice; the log stays open."""

    @property
    def unrecorded(self) -> StoreError | None:
        """The reason that how the session was left, or its end, is not in the log; None if it is."""
