"""The words that an engine and its clients exchange: JSON, one object a line, in UTF-8.

    client                                engine
    Hello          ------------------->
                   <-------------------   Welcome, or Reply with an error and the end
    Request        ------------------->
                   <-------------------   Reply to it
                   <-------------------   Notice, at any time, of the sessions that were opened

Only orders and news of jobs go through here. What is recorded, clients read in the database: a
notice of an event names its number. An `Order` is what may be asked for: a subclass for each, with
the type of its answer.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from adl.errors import AdlError
from workbench.engine.agent_request import AgentPhase, AuditRequest
from workbench.fields import in_words
from workbench.operations.jobs import JobStatus
from workbench.operations.pair import PairArguments
from workbench.scrubbing import scrub
from workbench.store.events import HUMAN, Actor, Ending

PROTOCOL = 1
"Raised when a message changes so that an older side would misread it."
PROGRAM = version("adl-workbench")
LONGEST_LINE = 1 << 20
"Bytes of a message, with the end of its line."
DEEPEST = 32
"Lists and objects inside each other."
Role = Literal["screen", "command"]
"The kind of a client."


class BadMessage(AdlError):
    """A line that is no message of this protocol."""


class OtherProtocol(AdlError):
    """The other side is of a version that speaks another protocol."""


class Wire(BaseModel):
    """Plain data as it goes over the socket; fields that are not declared are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


# --- things ---------------------------------------------------------------------------------------


class Nothing(Wire):
    """The answer to an order that has none."""


class ErrorData(Wire):
    """An error: its class, its two sentences, and the exit code of a command that ends with it."""

    type: str
    message: str
    hint: str = ""
    exit_code: int = 2


class JobData(Wire):
    """A job, with the seconds since it began; ``error`` once it failed."""

    id: str
    session: str
    operation: str
    arguments: dict[str, Any]
    actor: Actor
    background: bool = False
    status: JobStatus = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    summary: dict[str, Any] = {}
    error: ErrorData | None = None


class AgentData(Wire):
    """The thread of the agent, as `WorkStatus`."""

    phase: AgentPhase = "idle"
    doing: str = ""
    problem: ErrorData | None = None


class ClientData(Wire):
    """A client: its number at this engine, its kind, and how it calls itself."""

    number: int
    role: Role
    name: str = ""


class SessionData(Wire):
    """A session that the engine has open; names of a blind one are hidden."""

    id: str
    name: str
    has_pair: bool
    busy: int
    "Jobs that run or wait."
    agent: AgentData
    screens: int
    "Screens that show it."
    blind: bool


class OpenedData(Wire):
    """A session as a client needs it besides the log: jobs, the agent, and who holds the keys."""

    session: str
    version: int
    "The number of its last event."
    has_pair: bool
    jobs: tuple[JobData, ...]
    agent: AgentData
    holder: ClientData | None
    screens: tuple[ClientData, ...]


class StatusData(Wire):
    """An engine: its process, its database, its pair, and how long it has nothing to do."""

    pid: int
    program: str
    database: str
    pair: str
    "The names of the pair in words; of a blind one hidden."
    is_loaded: bool
    memory: dict[str, int] = {}
    "Bytes in use, see `ModelPair.memory`."
    up_seconds: float
    idle_seconds: float | None
    "Seconds without a job; None while one runs."
    idle_limit: float | None
    clients: tuple[ClientData, ...]
    sessions: tuple[SessionData, ...]


class JobsData(Wire):
    """The running jobs of a session, then those that wait, in order."""

    jobs: tuple[JobData, ...]


class SessionsData(Wire):
    """The sessions that the engine has open."""

    sessions: tuple[SessionData, ...]


class YesNo(Wire):
    """A yes or a no."""

    yes: bool


class EndpointData(Wire):
    """The endpoint that the engine's agents ask, as `EndpointFacts`."""

    address: str = ""
    has_key: bool = False
    needs_key: bool = False
    model: str | None = None
    config_file: str = ""
    trouble: str = ""


# --- orders ---------------------------------------------------------------------------------------

Answer = TypeVar("Answer", bound=Wire)

ORDERS: dict[str, type[Order[Any]]] = {}
"Every order by its method."


class Order(Wire, Generic[Answer]):
    """Something to ask of an engine; ``Answer`` is what it answers with."""

    method: ClassVar[str] = ""
    answer: ClassVar[type[Wire]] = Nothing
    needs_keys: ClassVar[bool] = False
    "A screen may give it only while no other one holds the keys of the session."

    def __init_subclass__(
        cls, *, method: str = "", needs_keys: bool = False, **options: Any
    ) -> None:
        """Take what an order is declared with; a class without a method is a shape of several."""
        super().__init_subclass__(**options)
        cls.method, cls.needs_keys = method, needs_keys

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """Enter the order in the table of them, with the type of its answer."""
        if cls.method:
            typed: Any = cls.__mro__[1]
            cls.answer = typed.__pydantic_generic_metadata__["args"][0]
            ORDERS[cls.method] = cls


class OnSession(Order[Answer], Generic[Answer]):
    """An order for one session, by its id."""

    session: str


class OnJob(OnSession[Answer], Generic[Answer]):
    """An order for one job of a session, by its id."""

    job: str


class Status(Order[StatusData], method="status"):
    """Ask for the status of the engine."""


class Sessions(Order[SessionsData], method="sessions"):
    """Ask for the sessions that the engine has open."""


class Endpoint(Order[EndpointData], method="endpoint"):
    """Ask for the endpoint of the engine's agents; it comes without secrets."""


class HasPair(Order[YesNo], method="has_pair"):
    """True if the engine was started with this very pair and, not being blind, tells so."""

    pair: PairArguments


class Begin(Order[OpenedData], method="begin"):
    """Begin a session on the pair, which must have ``layers``, and watch it.

    ``command`` is what the session records as such.
    It is closed when its client goes away and its jobs are over, unless a screen has opened it.
    """

    name: str
    blind: bool = False
    layers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


class Open(OnSession[OpenedData], method="open"):
    """Go on with a session, or watch one that is open here: its notices come from here on.

    The first screen gets the keys, unless ``keys`` is false.
    """

    keys: bool = True


class Leave(OnSession[Nothing], method="leave"):
    """Watch the session no longer, and give up its keys. Its jobs go on."""


class Close(OnSession[YesNo], method="close", needs_keys=True):
    """Stop jobs and agent of a session, and record that it is closed, with the ``view`` of a screen.

    A command closes only what it began or opened and nobody else looks at; else it leaves, and the
    answer is no.

    ``recorded`` leaves the recording to the client.
    """

    view: dict[str, Any] = {}
    outcome: Ending = "completed"
    reason: str = ""
    recorded: bool = False


class Submit(OnSession[JobData], method="submit", needs_keys=True):
    """Queue an operation, see `Jobs.submit`. Loads the pair first where it was freed.

    ``id`` is that of the job, from a client that does not wait for the answer.
    """

    id: str | None = None
    operation: str
    arguments: dict[str, Any] = {}
    actor: Actor = HUMAN
    background: bool = False


class ListJobs(OnSession[JobsData], method="jobs"):
    """Running and waiting jobs."""


class Move(OnJob[YesNo], method="move", needs_keys=True):
    """Move a waiting job, see `Jobs.move`."""

    step: Literal[-1, 1]


class StopJob(OnJob[Nothing], method="stop_job", needs_keys=True):
    """Ask a job to stop."""


class GetAgent(OnSession[AgentData], method="agent"):
    """Status of the agent's thread."""


class StartAgent(OnSession[Nothing], method="start_agent", needs_keys=True):
    """Start an audit by an agent."""

    request: AuditRequest


class ResumeAgent(OnSession[Nothing], method="resume_agent", needs_keys=True):
    """Resume an interrupted audit."""

    run: str


class StopAgent(OnSession[Nothing], method="stop_agent", needs_keys=True):
    """Stop the agent."""


Hand = Literal["pause", "go_on", "take_over", "hand_back", "policy", "message", "approve", "refuse"]


class Supervise(OnSession[Nothing], method="supervise", needs_keys=True):
    """A person's hand on the agent, see `Supervision`.

    ``detail`` is the note, message, policy or reason; ``call`` the call that is answered.
    """

    hand: Hand
    detail: str = ""
    call: str = ""


class RevealNames(OnSession[Nothing], method="reveal_names", needs_keys=True):
    """Show the names of a blind session's pair from here on; recorded as seen."""


class Rename(OnSession[Nothing], method="rename", needs_keys=True):
    """Give the session another name."""

    name: str


class TakeKeys(OnSession[YesNo], method="take_keys"):
    """Hold the keys: yes if nobody else does, or with ``by_force``."""

    by_force: bool = False


class AskKeys(OnSession[Nothing], method="ask_keys"):
    """Ask whoever holds the keys for them; they get a notice."""


class GiveKeys(OnSession[Nothing], method="give_keys"):
    """Give the keys to another screen by its number, or let them go."""

    to: int | None = None


class ShutDown(Order[Nothing], method="shutdown"):
    """Stop all jobs, close all sessions, and end the engine."""


# --- messages -------------------------------------------------------------------------------------


class Hello(Wire):
    """The first message of a client."""

    type: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    program: str = PROGRAM
    pid: int
    role: Role
    name: str = ""


class Welcome(Wire):
    """The engine's answer: who it is, and which number the client has."""

    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    program: str = PROGRAM
    pid: int
    client: int


class Request(Wire):
    """An order with its number, which its reply repeats."""

    type: Literal["request"] = "request"
    id: int
    method: str
    params: dict[str, Any] = {}


class Reply(Wire):
    """The answer to a request, or its error; without a number where there was no request."""

    type: Literal["reply"] = "reply"
    id: int | None
    result: dict[str, Any] | None = None
    error: ErrorData | None = None


class Notice(Wire):
    """News that nobody asked for."""

    type: Literal["notice"] = "notice"
    topic: str


class SessionNotice(Notice):
    """News of one session, by its id."""

    session: str


class EventNotice(SessionNotice):
    """Events up to this number are in the session's log."""

    topic: Literal["event"] = "event"
    seq: int


class JobNotice(SessionNotice):
    """A job as it is now; changes in quick succession may come as the last of them."""

    topic: Literal["job"] = "job"
    job: JobData


class AgentNotice(SessionNotice):
    """The agent's thread as it is now."""

    topic: Literal["agent"] = "agent"
    agent: AgentData


class HolderNotice(SessionNotice):
    """The holder of a session's keys, the screens that show it, and the one that asks for the keys."""

    topic: Literal["holder"] = "holder"
    holder: ClientData | None
    screens: tuple[ClientData, ...]
    asking: ClientData | None = None


class ClosingNotice(Notice):
    """The engine lets go of a session or, without one, ends."""

    topic: Literal["closing"] = "closing"
    session: str | None = None
    reason: str = ""


Message = Annotated[
    Hello
    | Welcome
    | Request
    | Reply
    | Annotated[
        EventNotice | JobNotice | AgentNotice | HolderNotice | ClosingNotice,
        Field(discriminator="topic"),
    ],
    Field(discriminator="type"),
]
_messages: TypeAdapter[Any] = TypeAdapter(Message)


def encode(message: Wire) -> bytes:
    """Return a message as a line. Raises `BadMessage` for one that is too long."""
    line = to_json(message) + b"\n"
    if len(line) > LONGEST_LINE:
        raise BadMessage(
            f"a message of {len(line)} bytes is longer than the {LONGEST_LINE} that an engine takes",
            "Ask for less at once.",
        )
    return line


def decode(line: bytes) -> Any:
    """Return the message in a line. Raises `BadMessage`, and `OtherProtocol` for another version's."""
    try:
        # Refuses what is nested a few hundred deep before it is built.
        data = from_json(line)
    except ValueError as exc:
        raise BadMessage(f"a line is no JSON: {exc}") from None
    if not isinstance(data, dict):
        raise BadMessage("a line is no JSON object")
    if _depth(data) > DEEPEST:
        raise BadMessage(f"a message is nested deeper than {DEEPEST} lists and objects")
    # Before its other fields: those of another version may be others.
    if data.get("type") in ("hello", "welcome") and data.get("protocol") != PROTOCOL:
        raise OtherProtocol(
            f"the other side ({str(data.get('program'))[:40]}) speaks protocol "
            f"{str(data.get('protocol'))[:20]}, this one ({PROGRAM}) speaks {PROTOCOL}",
            "Use the same version of adl-workbench on both sides; stop an old engine with "
            "`adl-workbench engine stop`.",
        )
    try:
        return _messages.validate_python(data)
    except ValidationError as exc:
        raise BadMessage(f"a line is no message: {in_words(exc, most=1)}") from None


def error_data(exc: BaseException) -> ErrorData:
    """Return an error as data, without the keys of this process: a client knows only its own."""
    if isinstance(exc, AdlError):
        return ErrorData(
            type=type(exc).__name__,
            message=scrub(exc.message),
            hint=scrub(exc.hint),
            exit_code=exc.exit_code,
        )
    return ErrorData(type=type(exc).__name__, message=scrub(str(exc)), exit_code=1)


def _depth(data: Any) -> int:
    """The depth of nested lists and objects, counted up to one more than is allowed."""
    depth, level = 0, [data]
    while level and depth <= DEEPEST:
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside.extend(item.values())
            elif isinstance(item, list):
                inside.extend(item)
        depth += 1
        level = [item for item in inside if isinstance(item, dict | list)]
    return depth
