"""Messages between threads and screens; nothing else passes between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textual.message import Message

from adl.errors import AdlError
from workbench.operations.jobs import Job
from workbench.operations.pair import PairArguments

WayOn = Literal["here", "again"]


class EventsRecorded(Message):
    """The session has events that are not on the screen yet."""


@dataclass
class JobChanged(Message):
    """A job started, progressed or ended."""

    job: Job


class AgentChanged(Message):
    """The status of the agent's thread changed."""


class LinkChanged(Message):
    """The engine is gone, or the keys went to another screen, or somebody asks for them."""


@dataclass
class OrderRefused(Message):
    """The engine did not do what was asked of it."""

    error: AdlError


@dataclass
class OpenPair(Message):
    """Begin a session on a pair; ``blind`` hides every name of it, from before it is loaded.

    ``is_typed`` for one that was typed into the form, which then has its names.
    """

    pair: PairArguments
    name: str | None = None
    prepare: bool = True
    blind: bool = False
    is_typed: bool = False


@dataclass
class ContinueSession(Message):
    """Continue a session; select the event ``seq`` if given."""

    session: str
    seq: int | None = None


@dataclass
class AttachSession(Message):
    """Attach to a session of the engine behind ``socket``, the engine's last without a name."""

    socket: Path
    session: str | None = None


@dataclass
class LeaveEngine(Message):
    """Go on with the session of an engine that is gone: in this program, or attached again."""

    way: WayOn


@dataclass
class ReplaySession(Message):
    """Replay a session from the event ``seq``; without one, play it from its start."""

    session: str
    seq: int | None = None


@dataclass
class BranchSession(Message):
    """Begin a session that branches from event ``seq`` of another, and open it."""

    session: str
    seq: int
    name: str


class ShowStart(Message):
    """Show the start screen."""


@dataclass
class ShowSessions(Message):
    """Show the list of sessions, with the search field in focus if ``searching``."""

    searching: bool = False


@dataclass
class Failed(Message):
    """Work on a thread failed."""

    error: Exception

    def in_words(self) -> AdlError:
        """Return the error for the user; of any other the kind is named, too."""
        if isinstance(self.error, AdlError):
            return self.error
        return AdlError(f"{type(self.error).__name__}: {self.error}")
