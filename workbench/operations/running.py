"""Running an operation: its start, its findings and its end, each in the session's log.

    run(session, operation, arguments)
        OperationStarted                 committed before anything is touched
        operation.work(context, ...)     records what it finds through the context
        OperationFinished | OperationFailed | OperationStopped

Key presses, commands and an agent's tool calls all run operations through here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock, RLock
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop, stopped_by
from adl.errors import AdlError, SiteError, Stopped
from adl.pair.protocol import ModelPair
from adl.records import ActivationDifference
from workbench.bounds import refusal
from workbench.operations.judges import AnswerJudge, PromptWriter, ScaleJudge, TextJudge
from workbench.store.append import Sitting
from workbench.store.errors import SessionMoved
from workbench.store.events import (
    SYSTEM,
    Actor,
    DifferenceMeasured,
    Event,
    EventBody,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    SessionClosed,
    SessionContinued,
)
from workbench.store.findings import Finding
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.state import Fold, SessionState


class NoPairError(AdlError):
    """The operation needs a model pair and none is loaded."""


class Arguments(BaseModel):
    """Arguments of an operation; field descriptions become option help and tool schemas."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @field_validator("*", mode="after")
    @classmethod
    def _within_bounds(cls, value: Any) -> Any:
        if (why := refusal(value)) is not None:
            raise ValueError(why)
        return value


B = TypeVar("B", bound=EventBody)
T = TypeVar("T")


class Session:
    """A session at work: its log, its state so far, and the loaded pair if there is one.

    Safe to use from several threads.
    """

    hiding: ClassVar[Callable[[SessionState, Actor], Callable[[str], str]] | None] = None
    """Hides a blind session's names from an actor; ``workbench.blinding`` sets it."""

    def __init__(
        self, log: SessionLog, session_id: str, cache: ArrayCache, pair: ModelPair | None = None
    ) -> None:
        self.log = log
        self.id = session_id
        self.cache = cache
        self.pair = pair
        self.loader: Callable[[Any, StageProgress, ShouldStop], ModelPair] | None = None
        "Where a pair comes from that other sessions use, too; None loads one for this session."
        self.scale_judge: ScaleJudge | None = None
        "Chooses scales for readings with a judge; None without an endpoint."
        self.coherence_judge: TextJudge | None = None
        "Judges whether steered texts are coherent; None without an endpoint."
        self.answer_judge: AnswerJudge | None = None
        "Judges answers of a test; None without an endpoint."
        self.prompt_writer: PromptWriter | None = None
        "Writes prompts of a test; None without an endpoint."
        self._ends: int | None = None
        "How often more it was closed than continued since `stop_at_end`."
        self.deciding = RLock()
        "Held by what decides on the state, from reading it to the commit; see `record_decided`."
        self._fold = Fold()
        self._lock = Lock()
        self.catch_up()

    @property
    def state(self) -> SessionState:
        """The state after every event known so far."""
        with self._lock:
            return self._fold.state()

    @property
    def version(self) -> int:
        """The number of the last event in the state."""
        with self._lock:
            return self._fold.version

    def shown_to(self, actor: Actor) -> Callable[[str], str]:
        """Return what makes of a text what ``actor`` may see of it: in a blind session, no names.

        A result that depends on words of an actor's choice is taken from texts as they are shown to
        this actor. Else it would tell a right guess of a name from a wrong one.
        """
        state = self.state
        hiding = Session.hiding
        if hiding is None:
            if state.seal is not None and state.seal.body.aliases:
                raise RuntimeError("workbench.blinding is not imported: nothing hides the names")
            return str
        return hiding(state, actor)

    def catch_up(self) -> None:
        """Apply events of the log that the state lacks, such as those of another process."""
        with self._lock:
            news = self.log.events(self.id, after_seq=self._fold.version)
            self._fold.apply_all(news if self._ends is None else map(self._counted, news))

    def stop_at_end(self, joined: int | None = None) -> None:
        """Record nothing more behind the end of the session, whichever process records that.

        For whoever works on it as a guest of another process, which they ``joined`` at this event,
        and for what outlives its end here: what they record then raises ``SessionOver``.
        """
        self.catch_up()
        with self._lock:
            self._ends = 0
            if joined is not None:
                kinds = ("session_closed", "session_continued")
                for event in self.log.events(self.id, after_seq=joined, kinds=kinds):
                    if event.seq <= self._fold.version:
                        self._counted(event)

    def record(
        self,
        body: EventBody,
        *,
        actor: Actor = SYSTEM,
        operation_id: str | None = None,
        arrays: Sequence[np.ndarray] = (),
    ) -> Event:
        """Commit an event and apply it to the state.

        Raises ``StoreError``; ``SessionOver`` see `stop_at_end`.
        """
        return self._append([Entry(body, actor, operation_id, arrays)])[0]

    def record_many(
        self, bodies: Sequence[EventBody], *, actor: Actor, operation_id: str | None = None
    ) -> list[Event]:
        """Commit events in one transaction and apply them to the state."""
        return self._append([Entry(body, actor, operation_id) for body in bodies])

    def record_numbered(self, number: Callable[[SessionState], B], *, actor: Actor = SYSTEM) -> B:
        """Commit the event that ``number`` makes of the state, and return it; see `record_decided`."""

        def decide(state: SessionState) -> tuple[B, list[EventBody]]:
            body = number(state)
            return body, [body]

        return self.record_decided(decide, actor=actor)

    def record_decided(
        self,
        decide: Callable[[SessionState], tuple[T, Sequence[EventBody]]],
        *,
        actor: Actor = SYSTEM,
        operation_id: str | None = None,
    ) -> T:
        """Commit the events that ``decide`` makes of the state, with everything of every process in it.

        Returns what ``decide`` returns before them. So an id that it counts out is given once, whoever
        else counts at the same time, and what it takes from the state still holds. ``decide`` is called
        again where something was recorded meanwhile; what it raises ends it.
        """
        with self.deciding:
            while True:
                self.catch_up()
                state = self.state
                decided, bodies = decide(state)
                entries = [Entry(body, actor, operation_id) for body in bodies]
                try:
                    self._append(entries, after=state.seq)
                except SessionMoved:
                    continue
                return decided

    def _append(self, entries: Sequence[Entry], after: int | None = None) -> list[Event]:
        if not entries:
            return []
        with self._lock:
            known = None if self._ends is None else Sitting(self._fold.version, self._ends)
        events = self.log.append_many(self.id, entries, sitting=known, after=after)
        with self._lock:
            is_next = events[0].seq == self._fold.version + 1
            if is_next:
                for event in events:
                    self._fold.apply(self._counted(event))
        if not is_next:  # another thread or process recorded something in between
            self.catch_up()
        return events

    def _counted(self, event: Event) -> Event:
        if self._ends is not None and isinstance(event.body, SessionClosed | SessionContinued):
            self._ends += 1 if isinstance(event.body, SessionClosed) else -1
        return event

    def require_pair(self) -> ModelPair:
        """The loaded pair. Raises ``NoPairError`` if there is none."""
        if self.pair is None:
            raise NoPairError(
                f"session {self.id} has no model pair loaded",
                "Load one first: --demo, --organism, or --base with --adapter or --finetuned.",
            )
        return self.pair

    def require_difference(self, layer: int) -> tuple[str, ActivationDifference]:
        """Return key and numbers of the newest difference at ``layer``. Raises ``SiteError``."""
        found = self.difference(layer)
        if found is None:
            raise SiteError(
                f"no difference was measured at layer {layer}",
                "Measure it first (`diff`, `audit`).",
            )
        return found

    def difference(self, layer: int | None = None) -> tuple[str, ActivationDifference] | None:
        """Return key and numbers of the newest measured difference (with ``layer``), or None."""
        for recorded in reversed(list(self.state.differences.values())):
            if layer is None or layer in recorded.body.layers:
                return recorded.body.key, self._read_difference(recorded.body)
        return None

    def _read_difference(self, body: DifferenceMeasured) -> ActivationDifference:
        return ActivationDifference(
            layers=body.layers,
            positions=body.positions,
            n_texts=body.n_texts,
            n_skipped=body.n_skipped,
            n_unaligned=int(body.corpus.get("unaligned", 0)),
            **{name: self.log.array(ref) for name, ref in body.arrays.items()},
        )


@dataclass(frozen=True)
class Context:
    """The surroundings of an operation's work: session, actor, progress and stop."""

    session: Session
    operation_id: str
    actor: Actor
    progress: StageProgress
    should_stop: ShouldStop

    @property
    def pair(self) -> ModelPair:
        """The loaded pair. Raises ``NoPairError`` if there is none."""
        return self.session.require_pair()

    def record(self, body: EventBody, arrays: Sequence[np.ndarray] = ()) -> Event:
        """Commit one finding of this operation."""
        return self.session.record(
            body, actor=self.actor, operation_id=self.operation_id, arrays=arrays
        )

    def record_many(self, bodies: Sequence[EventBody]) -> list[Event]:
        """Commit several findings (without arrays) in one transaction."""
        return self.session.record_many(bodies, actor=self.actor, operation_id=self.operation_id)

    def record_decided(self, decide: Callable[[SessionState], tuple[T, Sequence[EventBody]]]) -> T:
        """Commit the findings that ``decide`` makes of the state; see `Session.record_decided`."""
        return self.session.record_decided(decide, actor=self.actor, operation_id=self.operation_id)

    def check_stop(self) -> None:
        """Raise ``Stopped`` if the operation was asked to stop."""
        if self.should_stop():
            raise Stopped("stopped on request")


A = TypeVar("A", bound=Arguments)
Summary = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage of an operation, with the seconds it takes for the demo pair on one core.

    Only their ratios matter: the time left follows from the observed speed.
    """

    name: str
    seconds: float


def no_stages(_arguments: Any) -> Sequence[Stage]:
    """No stages: the duration of the operation is unknown."""
    return ()


Need = Literal["pair", "difference", "readings", "texts"]
Place = Literal["form", "pane", "both"]


@dataclass(frozen=True)
class AgentUse(Generic[A]):
    """The terms on which an agent may use an operation.

    ``hidden`` are fields of the arguments that it neither sees nor sets: files, and what only fits
    the machine. ``most`` caps numbers, and the length of texts and lists. ``interactions`` counts the
    model interactions of one call, which its budget limits; ``cost`` tells it how they are counted.
    ``needed`` are fields that it has to give although they have a default, such as what the price
    depends on.
    ``black_box`` lets an agent have it that may not see the difference.
    """

    hidden: tuple[str, ...] = ()
    most: Mapping[str, int] = field(default_factory=dict, hash=False)
    interactions: Callable[[A], int] = lambda _: 0
    cost: str = ""
    black_box: bool = False
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """The command of an operation on the command line.

    Its options are made of the operation's arguments; ``options`` calls fields otherwise than all
    commands do, and ``positional`` is a field given without an option.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    positional: str | None = None


@dataclass(frozen=True)
class Operation(Generic[A]):
    """A verb of the workbench: its name, its arguments, its work, and where it is offered.

    ``needs``         what a session must have before it can run
    ``finds``         the event with its finding, shown on the screen of measures
    ``place``         where a person asks for it on the screen: by a form, in a pane, or in both
    ``command``       its command on the command line, None without one or with one written by hand
    ``agent``         how an agent may use it, None if it may not
    ``uses_models``   True if it needs the models, of which one operation runs at a time
    ``asks_models``   True if it puts prompts to them, which they answer
    ``reads_words``   True if they read words of its arguments without answering
    ``examines``      False if it makes something that stays outside of the session (models, words
                      of a bank) rather than look at its pair: an audit without it lacks nothing
    ``stages``        the stages that it reports, in order, with how long they take
    """

    name: str
    title: str
    arguments: type[A]
    work: Callable[[Context, A], Summary]
    needs: tuple[Need, ...] = ()
    finds: type[Finding] | None = None
    place: Place = "form"
    command: Command | None = None
    agent: AgentUse[A] | None = None
    asks_models: bool = False
    reads_words: bool = False
    uses_models: bool = True
    examines: bool = True
    stages: Callable[[A], Sequence[Stage]] = no_stages

    @property
    def reaches_models(self) -> bool:
        """True if words of its arguments get to the models: of a blind session only aliases may."""
        return self.asks_models or self.reads_words

    @property
    def description(self) -> str:
        """The docstring of its work."""
        return (self.work.__doc__ or self.title).strip()


@dataclass(frozen=True)
class Outcome:
    """A finished operation: its id in the log, and its summary."""

    operation_id: str
    summary: Summary


def run(
    session: Session,
    operation: Operation[A],
    arguments: A,
    *,
    actor: Actor,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
    operation_id: str | None = None,
) -> Outcome:
    """Run an operation and record how it ended. Errors are recorded and raised again."""
    operation_id = operation_id or uuid.uuid4().hex
    began = time.monotonic()

    def end(body: EventBody) -> None:
        session.record(body, actor=actor, operation_id=operation_id)

    def seconds() -> float:
        return round(time.monotonic() - began, 3)

    end_reason = "stopped on request"
    session.record(
        OperationStarted(operation=operation.name, arguments=arguments.model_dump(mode="json")),
        actor=actor,
        operation_id=operation_id,
    )
    context = Context(session, operation_id, actor, progress, should_stop)
    try:
        with stopped_by(should_stop):
            summary = operation.work(context, arguments)
    except Stopped as exc:
        end(OperationStopped(reason=exc.message or end_reason, seconds=seconds()))
        raise
    except AdlError as exc:
        end(
            OperationFailed(
                error=type(exc).__name__,
                message=exc.message,
                way_out=exc.hint,
                seconds=seconds(),
            )
        )
        raise
    except Exception as exc:
        end(OperationFailed(error=type(exc).__name__, message=str(exc), seconds=seconds()))
        raise
    except BaseException as exc:  # Ctrl-C, SystemExit
        end(OperationStopped(reason=type(exc).__name__, seconds=seconds()))
        raise
    end(OperationFinished(seconds=seconds(), summary=summary))
    return Outcome(operation_id, summary)
