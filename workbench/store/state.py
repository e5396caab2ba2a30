"""What a session amounts to: a pure fold of its events, the same live, in replay and in export."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel

from workbench.store.agent_events import (
    AuditSealed,
    AuditUnblinded,
    EvaluationCell,
    EvaluationStarted,
    GradeGiven,
)
from workbench.store.agents import AgentFold, AgentState
from workbench.store.body import EventBody
from workbench.store.events import (
    Actor,
    AnswersCompared,
    Bearing,
    DifferenceMeasured,
    Event,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    PairLoaded,
    ReadingFailed,
    ReadingTaken,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    SessionStarted,
    TextFinished,
    TextGrew,
    TextStarted,
    Verdict,
    ViewSaved,
    canonical_json,
)
from workbench.store.findings import Measure
from workbench.store.record import LATER
from workbench.store.recorded import Prefix as Prefix
from workbench.store.recorded import Recorded as Recorded
from workbench.store.training_events import (
    MixingStudied,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
    TrainingStarted,
)

Item = TypeVar("Item")
Key = TypeVar("Key")
Body = TypeVar("Body", bound=BaseModel)


# --- what a state holds ---------------------------------------------------------------------


class TimelineEntry(NamedTuple):
    """One event in one line; ``description`` may hold text of a model.

    ``operation_id`` is the operation that recorded the event, and ``text_id`` the generated text
    that it names (of several the first), each None without one.
    """

    seq: int
    at: datetime
    actor: Actor
    kind: str
    description: str
    operation_id: str | None = None
    text_id: str | None = None


NOT_COMPUTED = "not computed"


class ReadingKey(NamedTuple):
    """What tells readings apart: of two with the same key the later one counts."""

    reading: str
    source: str
    side: str
    layer: int
    position: str
    scale: float | None


@dataclass(frozen=True)
class OperationState:
    """An operation; ``abandoned`` if its process ended before it did.

    ``seconds``, ``ended_at`` and what belongs to one way of ending are None or empty without it.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    actor: Actor
    started_seq: int
    started_at: datetime
    status: Literal["running", "finished", "failed", "stopped", "abandoned"] = "running"
    ended_at: datetime | None = None
    seconds: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    way_out: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TextState:
    """A generated text, as far as it has come; ``start`` has everything it was made with.

    ``cut_off`` if its operation ended, or was abandoned, before the text did.
    """

    start: Recorded[TextStarted]
    status: Literal["growing", "finished", "cut_off"] = "growing"
    text: str = ""
    token_ids: tuple[int, ...] = ()
    ended: Literal["end_of_text", "length", "stopped"] | None = None


@dataclass(frozen=True)
class HypothesisState:
    """A hypothesis as it stands; ``history`` is every event that made it so, from its first.

    ``evidence`` says of each linked mark, by its id, whether it speaks for or against.
    """

    id: str
    text: str
    confidence: float | None
    history: tuple[Recorded[Any], ...]
    verdict: Verdict = "open"
    evidence: Mapping[str, Bearing] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def actor(self) -> Actor:
        """Who stated it first."""
        return self.history[0].actor


def _nothing() -> Prefix[Any]:
    return Prefix([], 0)


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class SessionState:
    """A session after its event ``seq``; nothing in it ever changes.

    ``operations``, ``texts``, ``hypotheses`` and ``evidence`` are by id, in the order they began.
    ``differences`` are by key, the one measured last at the end. ``outcome`` is None until the
    session is closed, and again once it is continued. ``view`` is how the screen was left.
    ``agents`` are by the id of their run, ``grades`` every grade ever given, edits after what they
    edit, and ``cells`` how far each audit of an evaluation has come. ``measures`` are what was
    measured of the trace, in the order in which it was, and ``trainings`` what was trained and
    studied of mixing.
    """

    seq: int = 0
    session_id: str = ""
    name: str = ""
    started_at: datetime | None = None
    last_at: datetime | None = None
    parent: tuple[str, int] | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    pair: dict[str, Any] | None = None
    outcome: str | None = None
    closing_reason: str = ""
    operations: Mapping[str, OperationState] = field(default_factory=_empty)
    differences: Mapping[str, Recorded[DifferenceMeasured]] = field(default_factory=_empty)
    readings: Mapping[ReadingKey, Recorded[ReadingTaken]] = field(default_factory=_empty)
    failed_readings: Mapping[tuple[str, int], Recorded[ReadingFailed]] = field(
        default_factory=_empty, metadata={LATER: True}
    )
    "By reading and layer, those that failed the last time they were taken."
    texts: Mapping[str, TextState] = field(default_factory=_empty)
    comparisons: Sequence[Recorded[AnswersCompared]] = field(default_factory=_nothing)
    notes: Sequence[Recorded[NoteWritten]] = field(default_factory=_nothing)
    hypotheses: Mapping[str, HypothesisState] = field(default_factory=_empty)
    ranking: tuple[str, ...] = ()
    evidence: Mapping[str, Recorded[EvidenceMarked]] = field(default_factory=_empty)
    agents: Mapping[str, AgentState] = field(default_factory=_empty)
    seal: Recorded[AuditSealed] | None = None
    unblinded: Sequence[Recorded[AuditUnblinded]] = field(default_factory=_nothing)
    grades: Sequence[Recorded[GradeGiven]] = field(default_factory=_nothing)
    evaluation: Recorded[EvaluationStarted] | None = None
    cells: Mapping[str, Recorded[EvaluationCell]] = field(default_factory=_empty)
    measures: Sequence[Recorded[Measure]] = field(default_factory=_nothing)
    trainings: Sequence[Recorded[EventBody]] = field(default_factory=_nothing)
    view: dict[str, Any] = field(default_factory=dict)
    timeline: Sequence[TimelineEntry] = field(default_factory=_nothing)

    def not_computed(self, reading: str, layer: int) -> str:
        """Words for the place of a reading's lists where there are none, with the reason if known."""
        failed = self.failed_readings.get((reading, layer))
        return NOT_COMPUTED if failed is None else f"{NOT_COMPUTED}: {failed.body.reason}"

    def ranked(self) -> list[HypothesisState]:
        """The hypotheses, the highest ranked first, then those that nobody has ranked."""
        places = {hypothesis_id: place for place, hypothesis_id in enumerate(self.ranking)}
        return sorted(
            self.hypotheses.values(), key=lambda one: places.get(one.id, len(self.ranking))
        )

    def digest(self) -> str:
        """SHA-256 over all of the state but the timeline's wording, which may be improved.

        A field that was added later counts once it holds something, so that a session from before
        has the digest that it had.
        """
        plain = _fields(self, but="timeline")
        plain["timeline"] = [[entry.seq, entry.kind] for entry in self.timeline]
        return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Plain data that says the same, for `canonical_json`."""
    if isinstance(value, BaseModel):
        return _without_later(value, value.model_dump(mode="json"))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        # As pairs: keys may be tuples, and their order is part of the state.
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, (tuple, list, Prefix)):
        return [_plain(item) for item in value]
    return value


def _without_later(value: Any, dumped: Any) -> Any:
    """A record as it was dumped, fields that were added later left out where they are empty."""
    if isinstance(value, BaseModel):
        return {
            name: _without_later(getattr(value, name), dumped[name])
            for name, info in type(value).model_fields.items()
            if LATER not in info.metadata
            or getattr(value, name) != info.get_default(call_default_factory=True)
        }
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return [_without_later(*pair) for pair in zip(value, dumped, strict=True)]
    return dumped


def _fields(value: Any, *, but: str = "") -> dict[str, Any]:
    return {
        item.name: _plain(getattr(value, item.name))
        for item in dataclasses.fields(value)
        if item.name != but and (getattr(value, item.name) or LATER not in item.metadata)
    }


# --- the fold -------------------------------------------------------------------------------


class _CopyOnWrite(Generic[Key, Item]):
    """A dict whose immutable copies are made only when it was changed since the last one."""

    def __init__(self, items: dict[Key, Item]) -> None:
        self.items = items
        self._copy: Mapping[Key, Item] | None = None

    def put(self, key: Key, item: Item) -> None:
        self.items[key] = item
        self._copy = None

    def drop(self, key: Key) -> None:
        if self.items.pop(key, None) is not None:
            self._copy = None

    def snapshot(self) -> Mapping[Key, Item]:
        if self._copy is None:
            self._copy = MappingProxyType(dict(self.items))
        return self._copy


class Fold:
    """Takes a session's events one by one; `state` gives what they amount to so far.

    Applying an event costs the same however long the session is, and a state shares all that did
    not change with the one before, so a screen may ask for one at every event. Not for use by two
    threads at once; states are.
    """

    def __init__(self) -> None:
        self._head = SessionState()
        self._changes: dict[str, Any] = {}
        self._operations: _CopyOnWrite[str, OperationState] = _CopyOnWrite({})
        self._differences: _CopyOnWrite[str, Recorded[DifferenceMeasured]] = _CopyOnWrite({})
        self._readings: _CopyOnWrite[ReadingKey, Recorded[ReadingTaken]] = _CopyOnWrite({})
        self._failed_readings: _CopyOnWrite[tuple[str, int], Recorded[ReadingFailed]] = (
            _CopyOnWrite({})
        )
        self._texts: _CopyOnWrite[str, TextState] = _CopyOnWrite({})
        self._comparisons: list[Recorded[AnswersCompared]] = []
        self._notes: list[Recorded[NoteWritten]] = []
        self._measures: list[Recorded[Measure]] = []
        self._trainings: list[Recorded[EventBody]] = []
        self._hypotheses: _CopyOnWrite[str, HypothesisState] = _CopyOnWrite({})
        self._evidence: _CopyOnWrite[str, Recorded[EvidenceMarked]] = _CopyOnWrite({})
        self._agents = AgentFold()
        self._agent_changes: dict[str, Any] = {}
        self._timeline: list[TimelineEntry] = []
        self._running: set[str] = set()
        # Pieces of the texts under way, and which of them are not in their TextState yet.
        self._pieces: dict[str, list[str]] = {}
        self._grown: set[str] = set()
        self._version = 0

    @property
    def version(self) -> int:
        """The seq of the last event applied: two folds of one session agree if these do."""
        return self._version

    def copy(self) -> Self:
        """A fold that goes on from here independently, so that replay can seek from checkpoints."""
        twin = type(self)()
        twin._head = self._head
        twin._changes = dict(self._changes)
        twin._operations = _CopyOnWrite(dict(self._operations.items))
        twin._differences = _CopyOnWrite(dict(self._differences.items))
        twin._readings = _CopyOnWrite(dict(self._readings.items))
        twin._failed_readings = _CopyOnWrite(dict(self._failed_readings.items))
        twin._texts = _CopyOnWrite(dict(self._texts.items))
        twin._comparisons = list(self._comparisons)
        twin._notes = list(self._notes)
        twin._measures = list(self._measures)
        twin._trainings = list(self._trainings)
        twin._hypotheses = _CopyOnWrite(dict(self._hypotheses.items))
        twin._evidence = _CopyOnWrite(dict(self._evidence.items))
        twin._agents = self._agents.copy()
        twin._agent_changes = dict(self._agent_changes)
        twin._timeline = list(self._timeline)
        twin._running = set(self._running)
        twin._pieces = {text_id: list(pieces) for text_id, pieces in self._pieces.items()}
        twin._grown = set(self._grown)
        twin._version = self._version
        return twin

    def state(self) -> SessionState:
        """The state after the last event applied."""
        if self._head.seq == self._version:
            return self._head
        for text_id in self._grown:
            text = self._texts.items[text_id]
            # One piece from here on, so that a long text is not put together again each time.
            pieces = self._pieces[text_id] = ["".join(self._pieces[text_id])]
            self._texts.put(text_id, replace(text, text=pieces[0]))
        self._grown.clear()
        self._head = replace(
            self._head,
            **self._changes,
            seq=self._version,
            last_at=self._timeline[-1].at if self._timeline else None,
            operations=self._operations.snapshot(),
            differences=self._differences.snapshot(),
            readings=self._readings.snapshot(),
            failed_readings=self._failed_readings.snapshot(),
            texts=self._texts.snapshot(),
            comparisons=Prefix(self._comparisons, len(self._comparisons)),
            notes=Prefix(self._notes, len(self._notes)),
            measures=Prefix(self._measures, len(self._measures)),
            trainings=Prefix(self._trainings, len(self._trainings)),
            hypotheses=self._hypotheses.snapshot(),
            evidence=self._evidence.snapshot(),
            **self._agent_changes,
            timeline=Prefix(self._timeline, len(self._timeline)),
        )
        self._changes.clear()
        self._agent_changes = {}
        return self._head

    def apply_all(self, events: Iterable[Event]) -> None:
        """Take the next events of the session, as `apply` does."""
        # Nothing that is made here refers back to itself; of a long session, looking for what does
        # would take a quarter of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            for event in events:
                self.apply(event)
        finally:
            if collects:
                gc.enable()

    def apply(self, event: Event) -> None:
        """Take the next event of the session.

        Raises `ValueError` if it is not the next one: a fold with a gap would show what never was.
        """
        if event.seq != self._version + 1:
            raise ValueError(f"event {event.seq} cannot follow event {self._version}")
        body = event.body
        match body:
            case TextGrew():
                self._grow(body)
            case TextStarted():
                self._texts.put(body.text_id, TextState(start=_recorded(event, body)))
                self._pieces[body.text_id] = []
            case TextFinished():
                self._finish_text(body)
            case ReadingTaken():
                key = ReadingKey(
                    body.reading, body.source, body.side, body.layer, body.position, body.scale
                )
                self._readings.put(key, _recorded(event, body))
                # It comes after the failure, so it was taken again.
                self._failed_readings.drop((body.reading, body.layer))
            case ReadingFailed():
                self._failed_readings.put((body.reading, body.layer), _recorded(event, body))
            case DifferenceMeasured():
                # Out and in again: the last of the dict is the one measured last.
                self._differences.items.pop(body.key, None)
                self._differences.put(body.key, _recorded(event, body))
            case OperationStarted():
                self._start_operation(event, body)
            case OperationFinished() | OperationFailed() | OperationStopped():
                self._end_operation(event, body)
            case AnswersCompared():
                self._comparisons.append(_recorded(event, body))
            case NoteWritten():
                self._notes.append(_recorded(event, body))
            case Measure():
                self._measures.append(_recorded(event, body))
            case (
                TrainingStarted()
                | TrainingAdvanced()
                | OrganismTrained()
                | MixtureMeasured()
                | MixingStudied()
            ):
                self._trainings.append(_recorded(event, body))
            case EvidenceMarked():
                self._evidence.put(body.evidence_id, _recorded(event, body))
            case EvidenceUnmarked():
                self._unmark(body)
            case HypothesisStated():
                history = (_recorded(event, body),)
                self._hypotheses.put(
                    body.hypothesis_id,
                    HypothesisState(body.hypothesis_id, body.text, body.confidence, history),
                )
            case HypothesisRevised():
                self._change(event, body, text=body.text, confidence=body.confidence)
            case HypothesisJudged():
                self._change(event, body, verdict=body.verdict)
            case EvidenceLinked():
                self._link(event, body)
            case HypothesesRanked():
                self._changes["ranking"] = body.order
            case ViewSaved():
                self._changes["view"] = body.view
            case PairLoaded():
                self._changes["pair"] = body.pair
            case SessionStarted():
                self._start(event, body)
            case SessionRenamed():
                self._changes["name"] = body.name
            case SessionContinued():
                self._changes |= {
                    "environment": body.environment,
                    "outcome": None,
                    "closing_reason": "",
                }
                self._abandon()
            case SessionClosed():
                self._changes |= {"outcome": body.outcome, "closing_reason": body.reason}
                self._abandon()
            case _:
                if self._agents.apply(_recorded(event, body)):
                    self._take_agents()
        self._timeline.append(
            TimelineEntry(
                seq=event.seq,
                at=event.at,
                actor=event.actor,
                kind=body.kind,
                description=body.describe(),
                operation_id=_operation_id(event),
                text_id=body.shown_text,
            )
        )
        self._version = event.seq

    def _start(self, event: Event, body: SessionStarted) -> None:
        self._changes |= {
            "session_id": event.session_id,
            "name": body.name,
            "started_at": event.at,
            "environment": body.environment,
        }
        if body.parent_session is not None and body.parent_seq is not None:
            self._changes["parent"] = (body.parent_session, body.parent_seq)

    def _start_operation(self, event: Event, body: OperationStarted) -> None:
        operation_id = _operation_id(event)
        assert operation_id is not None, "an operation that starts has an id"
        self._operations.put(
            operation_id,
            OperationState(
                id=operation_id,
                name=body.operation,
                arguments=body.arguments,
                actor=event.actor,
                started_seq=event.seq,
                started_at=event.at,
            ),
        )
        self._running.add(operation_id)

    def _end_operation(
        self, event: Event, body: OperationFinished | OperationFailed | OperationStopped
    ) -> None:
        operation = self._operations.items.get(event.operation_id or "")
        if operation is None:
            return
        # Also one that was abandoned: another process may have continued the session while the
        # one at work was alive after all.
        ended = replace(operation, ended_at=event.at, seconds=body.seconds)
        match body:
            case OperationFinished():
                ended = replace(ended, status="finished", summary=body.summary)
            case OperationFailed():
                ended = replace(
                    ended,
                    status="failed",
                    error=body.error,
                    message=body.message,
                    way_out=body.way_out,
                )
            case OperationStopped():
                ended = replace(ended, status="stopped", reason=body.reason)
        self._operations.put(operation.id, ended)
        self._running.discard(operation.id)
        for text_id in list(self._pieces):
            if self._texts.items[text_id].start.operation_id == operation.id:
                self._cut_off(text_id)

    def _abandon(self) -> None:
        """End what no process is at work on any more."""
        for operation_id in self._running:
            operation = self._operations.items[operation_id]
            self._operations.put(operation_id, replace(operation, status="abandoned"))
        self._running.clear()
        for text_id in list(self._pieces):
            self._cut_off(text_id)
        self._agents.abandon()
        self._take_agents()

    def _take_agents(self) -> None:
        found = self._agents.findings()
        self._agent_changes = {
            item.name: getattr(found, item.name) for item in dataclasses.fields(found)
        }

    def _change(
        self,
        event: Event,
        body: HypothesisRevised | HypothesisJudged | EvidenceLinked,
        **changes: Any,
    ) -> None:
        hypothesis = self._hypotheses.items.get(body.hypothesis_id)
        if hypothesis is not None:
            history = (*hypothesis.history, _recorded(event, body))
            self._hypotheses.put(hypothesis.id, replace(hypothesis, history=history, **changes))

    def _link(self, event: Event, body: EvidenceLinked) -> None:
        hypothesis = self._hypotheses.items.get(body.hypothesis_id)
        if hypothesis is not None:
            links = dict(hypothesis.evidence)
            links.pop(body.evidence_id, None)
            if body.bearing != "none":
                links[body.evidence_id] = body.bearing
            self._change(event, body, evidence=MappingProxyType(links))

    def _unmark(self, body: EvidenceUnmarked) -> None:
        self._evidence.items.pop(body.evidence_id, None)
        self._evidence = _CopyOnWrite(self._evidence.items)
        for hypothesis in list(self._hypotheses.items.values()):
            if body.evidence_id in hypothesis.evidence:
                links = {
                    evidence_id: bearing
                    for evidence_id, bearing in hypothesis.evidence.items()
                    if evidence_id != body.evidence_id
                }
                self._hypotheses.put(
                    hypothesis.id, replace(hypothesis, evidence=MappingProxyType(links))
                )

    def _grow(self, body: TextGrew) -> None:
        for text_id, piece in body.pieces.items():
            pieces = self._pieces.get(text_id)
            if pieces is not None:
                pieces.append(piece)
                self._grown.add(text_id)

    def _finish_text(self, body: TextFinished) -> None:
        text = self._texts.items.get(body.text_id)
        if text is None:
            return
        self._pieces.pop(body.text_id, None)
        self._grown.discard(body.text_id)
        self._texts.put(
            body.text_id,
            replace(
                text,
                status="finished",
                text=body.text,
                token_ids=body.token_ids,
                ended=body.ended,
            ),
        )

    def _cut_off(self, text_id: str) -> None:
        text = "".join(self._pieces.pop(text_id))
        self._grown.discard(text_id)
        self._texts.put(text_id, replace(self._texts.items[text_id], status="cut_off", text=text))


def _operation_id(event: Event) -> str | None:
    # An operation without an id cannot be ended: its place in the log names it.
    starts = event.operation_id is None and isinstance(event.body, OperationStarted)
    return f"event-{event.seq}" if starts else event.operation_id


def _recorded(event: Event, body: Body) -> Recorded[Body]:
    return Recorded(event.seq, event.at, event.actor, event.operation_id, body)


def fold(events: Iterable[Event]) -> SessionState:
    """The state that the events of one session, from its first, amount to."""
    folding = Fold()
    folding.apply_all(events)
    return folding.state()
