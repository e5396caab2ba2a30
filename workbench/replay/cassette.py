"""Replay by cassette: what the models answered in a recorded session, fed to its operations again.

    Cassette.of(log, session)
        operation(READ)     the same verb, answered from the record instead of by the models
        runner(session)     the same, as an agent's runner
        left                where the cassette was left, and why

An operation that needs the models is answered if it was recorded with the same arguments, on the
same pair and after the same measurements, and each recording answers once. Everything else, notes
and hypotheses, is done as ever. The first call without a recording leaves the cassette: it raises
`OffCassette`, and so does every call after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from adl.callbacks import ShouldStop
from adl.errors import AdlError, Stopped
from workbench.agent.runners import Runner
from workbench.operations import OPERATIONS
from workbench.operations.generation import STEER
from workbench.operations.running import (
    Arguments,
    Context,
    Operation,
    Outcome,
    Session,
    Summary,
    run,
)
from workbench.store.alphas import chosen_alphas
from workbench.store.arrays import array_refs
from workbench.store.encoding import canonical_json
from workbench.store.events import (
    Actor,
    Event,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
)
from workbench.store.log import SessionLog
from workbench.store.state import Fold, SessionState

#: Why a recorded operation is not run again: an older or a newer program recorded it.
OTHER_ARGUMENTS = "its arguments are not ones that this program takes"

_ENDINGS = (OperationFinished, OperationFailed, OperationStopped)


class OffCassette(Stopped):
    """An operation that was not recorded: a replay by cassette ends here."""


@dataclass(frozen=True)
class Left:
    """The place where the cassette was left: what was ``wanted``, the reason, the last event given."""

    wanted: str
    reason: str
    after_seq: int

    def __str__(self) -> str:
        """In one sentence; ``wanted`` may hold text of a model."""
        return (
            f"the cassette was left after event {self.after_seq}, at {self.wanted}: {self.reason}"
        )


@dataclass
class _Recording:
    """An operation of the record: what it was asked on what, what it found, and how it ended."""

    seq: int
    name: str
    arguments: str
    inputs: str
    findings: list[Event] = field(default_factory=list)
    ending: OperationFinished | OperationFailed | OperationStopped | None = None
    used: bool = False


class Cassette:
    """The record of one session as answers. Not for use by two threads at once."""

    def __init__(self, log: SessionLog, session_id: str) -> None:
        self.session_id = session_id
        self.left: Left | None = None
        self.answered = 0
        self.places: dict[int, int] = {}
        "Where events of the record stand in the replay, by their numbers."
        self._log = log
        self._last = 0
        self._recordings: list[_Recording] = []

    @classmethod
    def of(cls, log: SessionLog, session_id: str) -> Self:
        """The cassette of a session. Raises `StoreError` if there is none."""
        cassette = cls(log, log.find_session(session_id).id)
        cassette._read()
        return cassette

    def operation(self, operation: Operation[Any]) -> Operation[Any]:
        """The same operation, answered from the cassette if it needs the models."""
        if not operation.uses_models:
            return operation

        def work(context: Context, arguments: Arguments) -> Summary:
            return self._answer(context, operation, arguments)

        work.__doc__ = operation.work.__doc__
        return replace(operation, work=work)

    def runner(self, session: Session, *, by_record: bool) -> Runner:
        """Runs operations in ``session`` from this cassette.

        ``by_record`` if their arguments name events by the numbers that these have in the record,
        as those of agents by older rules do; today's are found in the session that they run in.
        """

        def runner(
            operation: Operation[Any], arguments: Arguments, actor: Actor, should_stop: ShouldStop
        ) -> Outcome:
            if by_record:
                arguments = self.moved(arguments)
            return self.run(session, operation, arguments, actor, should_stop)

        return runner

    def run(
        self,
        session: Session,
        operation: Operation[Any],
        arguments: Arguments,
        actor: Actor,
        should_stop: ShouldStop,
    ) -> Outcome:
        """Run one operation from this cassette. Raises what it raised then, and `OffCassette`."""
        return run(
            session, self.operation(operation), arguments, actor=actor, should_stop=should_stop
        )

    def leave(self, wanted: str, reason: str) -> OffCassette:
        """Leave the cassette here, unless it was left before; returns what to raise."""
        if self.left is None:
            self.left = Left(wanted, reason, self._last)
        return OffCassette(str(self.left))

    def given(self, event: Event, again: Event | None = None) -> None:
        """Say that an event of the record was given, and as which event of the replay."""
        self._last = max(self._last, event.seq)
        if again is not None:
            self.places[event.seq] = again.seq

    def moved(self, arguments: Arguments) -> Arguments:
        """Arguments of the record; an event that they name has the number it has in the replay."""
        plain = arguments.model_dump(mode="json")
        placed = with_places(plain, self.places)
        return arguments if placed == plain else type(arguments).model_validate(placed)

    # --- inside -----------------------------------------------------------------------------

    def _read(self) -> None:
        folding, by_id = Fold(), dict[str, _Recording]()
        for event in self._log.events(self.session_id):
            body, operation_id = event.body, event.operation_id or ""
            if isinstance(body, OperationStarted):
                arguments = as_today(body.operation, body.arguments)
                inputs = _inputs(folding.state(), body.operation, arguments)
                recording = _Recording(event.seq, body.operation, canonical_json(arguments), inputs)
                by_id[operation_id] = recording
                self._recordings.append(recording)
            elif operation_id in by_id:
                if isinstance(body, _ENDINGS):
                    by_id[operation_id].ending = body
                else:
                    by_id[operation_id].findings.append(event)
            folding.apply(event)

    def _answer(self, context: Context, operation: Operation[Any], arguments: Arguments) -> Summary:
        if self.left is not None:
            raise OffCassette(str(self.left))
        recording = self._find(context.session.state, operation, arguments)
        recording.used = True
        self.answered += 1
        for event in recording.findings:
            # Already in the file if it is the one replayed into; else read from the cassette's.
            arrays = (
                ()
                if context.session.log is self._log
                else tuple(self._log.array(ref) for _, ref in array_refs(event.body))
            )
            self.given(event, context.record(event.body, arrays))
        self._last = max(self._last, recording.seq)
        match recording.ending:
            case OperationFinished(summary=summary):
                return summary
            case OperationStopped(reason=reason):
                raise Stopped(reason)
            case OperationFailed() as failed:
                raise _as_recorded(failed)
            case _:
                raise self.leave(f"operation {operation.name}", "it never ended in the record")

    def _find(
        self, state: SessionState, operation: Operation[Any], arguments: Arguments
    ) -> _Recording:
        plain = arguments.model_dump(mode="json")
        wanted, inputs = canonical_json(plain), _inputs(state, operation.name, plain)
        named = [known for known in self._recordings if known.name == operation.name]
        same = [word for word in named if word.arguments == wanted]
        unused = [known for known in same if not known.used]
        for recording in unused:
            if recording.inputs == inputs:
                return recording
        if not named:
            reason = "there is no such operation in the record"
        elif not same:
            reason = f"it was recorded {len(named)} times, never with these arguments: {wanted}"
        elif not unused:
            reason = f"it was recorded {len(same)} times with these arguments, and asked for again"
        else:
            reason = "it was recorded with these arguments, but after other measurements"
        raise self.leave(f"operation {operation.name}", reason)


def with_places(arguments: Mapping[str, Any], places: Mapping[int, int]) -> dict[str, Any]:
    """Plain arguments with the numbers of events, at any depth, as ``places`` has them."""
    placed: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            placed[name] = with_places(value, places)
        else:
            placed[name] = places.get(value, value) if name == "seq" else value
    return placed


def arguments_of(operation: Operation[Any], recorded: Mapping[str, Any]) -> Arguments | None:
    """Recorded arguments of an operation; None where this program takes others."""
    try:
        checked: Arguments = operation.arguments.model_validate(recorded)
    except ValidationError:
        return None
    return checked


def as_today(name: str, arguments: Mapping[str, Any], *tools: type[BaseModel]) -> dict[str, Any]:
    """Recorded arguments of an operation as today's program would record them, if it can read them.

    A field that came later has its default. ``tools`` are arguments of tools of that name.
    """
    known = OPERATIONS.get(name)
    for model in (known.arguments, *tools) if known else tools:
        try:
            return model.model_validate(arguments).model_dump(mode="json")
        except ValidationError:
            continue
    return dict(arguments)


def _inputs(state: SessionState, name: str, arguments: Mapping[str, Any]) -> str:
    """The parts of the session that an operation's result depends on, beside its arguments."""
    inputs: list[Any] = []
    known = OPERATIONS.get(name)
    # Of one that this program does not know, all may count.
    needs = ("pair", "difference") if known is None else known.needs
    if "pair" in needs:
        inputs.append(state.pair)
    # A question needs a difference only where it is steered.
    if "difference" in needs or arguments.get("alpha"):
        inputs.append(list(state.differences))
    if name == STEER.name and not arguments.get("alphas"):
        inputs.append(sorted([key.side, key.layer, key.scale] for key in chosen_alphas(state)))
    return canonical_json(inputs)


def _as_recorded(failed: OperationFailed) -> AdlError:
    """An error with the name and the words it had, so that it is recorded again as it was."""
    kind = type(failed.error, (AdlError,), {})
    error: AdlError = kind(failed.message, failed.way_out)
    return error
