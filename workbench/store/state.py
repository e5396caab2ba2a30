"""The state of a session: a pure fold of its events, the same live, in replay and in export.

    events  -->  Fold.apply     each slice takes the events that change its field
                 Fold.state --> SessionState, which never changes

A field is declared once, in `SessionState`: its slice has the empty value, the events that change
it, and how it is redacted in a blind session.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, Self

from workbench.store.agent_events import (
    AuditSealed,
    AuditUnblinded,
    EvaluationCell,
    EvaluationStarted,
    GradeGiven,
)
from workbench.store.body import EventBody
from workbench.store.events import (
    AnswersCompared,
    DifferenceMeasured,
    Event,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    NoteWritten,
    PairLoaded,
    ReadingFailed,
    ReadingTaken,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    SessionStarted,
    ViewSaved,
)
from workbench.store.findings import NOT_COMPUTED as NOT_COMPUTED
from workbench.store.findings import Measure
from workbench.store.recorded import Prefix as Prefix
from workbench.store.recorded import Recorded as Recorded
from workbench.store.slices.agents import Agents, AgentState
from workbench.store.slices.digest import digest_of
from workbench.store.slices.experiments import AnswerKey as AnswerKey
from workbench.store.slices.experiments import Experiments
from workbench.store.slices.experiments import ExperimentState as ExperimentState
from workbench.store.slices.hypotheses import Hypotheses
from workbench.store.slices.hypotheses import HypothesisState as HypothesisState
from workbench.store.slices.operations import Operations
from workbench.store.slices.operations import OperationState as OperationState
from workbench.store.slices.slice import (
    Growing,
    Handler,
    Items,
    Latest,
    Slice,
    part,
    recorded,
    slices_of,
)
from workbench.store.slices.texts import Texts
from workbench.store.slices.texts import TextState as TextState
from workbench.store.slices.timeline import Timeline
from workbench.store.slices.timeline import TimelineEntry as TimelineEntry
from workbench.store.training_events import (
    MixingStudied,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
    TrainingStarted,
)


class ReadingKey(NamedTuple):
    """Identifies a reading's list: of two with the same key the later one counts."""

    reading: str
    source: str
    side: str
    layer: int
    position: str
    scale: float | None


Lists = Mapping[ReadingKey, Recorded[ReadingTaken]]
"""Token lists as a session has them."""


def chosen_lists(readings: Lists) -> dict[ReadingKey, Recorded[ReadingTaken]]:
    """Return the list of every reading at its chosen scale, in the order they were first taken.

    A reading that is taken again may choose another scale: the list that was chosen last is the one.
    """
    newest: dict[ReadingKey, tuple[ReadingKey, Recorded[ReadingTaken]]] = {}
    for key, taken in readings.items():
        known = newest.get(any_scale := key._replace(scale=None))
        if taken.body.chosen and (known is None or known[1].seq < taken.seq):
            newest[any_scale] = key, taken
    return dict(newest.values())


def _of_body(*names: str) -> Any:
    return attrgetter(*(f"body.{name}" for name in names))


def _parent(event: Event) -> tuple[str, int] | None:
    body: Any = event.body
    branched = body.parent_session is not None and body.parent_seq is not None
    return (body.parent_session, body.parent_seq) if branched else None


def _constant(value: Any) -> Any:
    return lambda _event: value


_KEY = _of_body(*ReadingKey._fields)
_READING = _of_body("reading", "layer")


@dataclass(frozen=True)
class SessionState:
    """A session after its event ``seq``; nothing in it ever changes.

    ``operations``, ``texts``, ``hypotheses``, ``experiments`` and ``evidence`` are by id, in the
    order they began.
    ``differences`` are by key, the one measured last at the end. ``outcome`` is None until the
    session is closed, and again once it is continued. ``view`` is the screen as it was left.
    ``failed_readings`` are by reading and layer, those that failed the last time they were taken.
    ``agents`` are by the id of their run, ``grades`` every grade ever given, edits after what they
    edit, and ``cells`` the progress of each audit of an evaluation. ``measures`` and ``trainings``
    are in the order they were recorded.
    """

    seq: int = part(Latest(0, "plain", {EventBody: attrgetter("seq")}))
    session_id: str = part(Latest("", "plain", {SessionStarted: attrgetter("session_id")}))
    name: str = part(
        Latest("", "naming", {SessionStarted: _of_body("name"), SessionRenamed: _of_body("name")})
    )
    started_at: datetime | None = part(Latest(None, "plain", {SessionStarted: attrgetter("at")}))
    last_at: datetime | None = part(Latest(None, "plain", {EventBody: attrgetter("at")}))
    parent: tuple[str, int] | None = part(Latest(None, "naming", {SessionStarted: _parent}))
    environment: dict[str, Any] = part(
        Latest(
            {},
            "naming",
            {SessionStarted: _of_body("environment"), SessionContinued: _of_body("environment")},
        )
    )
    pair: dict[str, Any] | None = part(Latest(None, "naming", {PairLoaded: _of_body("pair")}))
    outcome: str | None = part(
        Latest(
            None,
            "plain",
            {SessionContinued: _constant(None), SessionClosed: _of_body("outcome")},
        )
    )
    closing_reason: str = part(
        Latest("", "naming", {SessionContinued: _constant(""), SessionClosed: _of_body("reason")})
    )
    operations: Mapping[str, OperationState] = part(Operations())
    differences: Mapping[str, Recorded[DifferenceMeasured]] = part(
        Items(put={DifferenceMeasured: _of_body("key")}, latest_last=True)
    )
    readings: Mapping[ReadingKey, Recorded[ReadingTaken]] = part(
        Items(put={ReadingTaken: lambda event: ReadingKey(*_KEY(event))})
    )
    # A reading that comes after the failure was taken again.
    failed_readings: Mapping[tuple[str, int], Recorded[ReadingFailed]] = part(
        Items(put={ReadingFailed: _READING}, drop={ReadingTaken: _READING}, later=True)
    )
    texts: Mapping[str, TextState] = part(Texts())
    comparisons: Sequence[Recorded[AnswersCompared]] = part(Growing(AnswersCompared))
    notes: Sequence[Recorded[NoteWritten]] = part(Growing(NoteWritten))
    hypotheses: Mapping[str, HypothesisState] = part(Hypotheses())
    experiments: Mapping[str, ExperimentState] = part(Experiments())
    ranking: tuple[str, ...] = part(Latest((), "text", {HypothesesRanked: _of_body("order")}))
    evidence: Mapping[str, Recorded[EvidenceMarked]] = part(
        Items(
            put={EvidenceMarked: _of_body("evidence_id")},
            drop={EvidenceUnmarked: _of_body("evidence_id")},
        )
    )
    agents: Mapping[str, AgentState] = part(Agents())
    seal: Recorded[AuditSealed] | None = part(Latest(None, "naming", {AuditSealed: recorded}))
    unblinded: Sequence[Recorded[AuditUnblinded]] = part(Growing(AuditUnblinded))
    grades: Sequence[Recorded[GradeGiven]] = part(Growing(GradeGiven))
    evaluation: Recorded[EvaluationStarted] | None = part(
        Latest(None, "naming", {EvaluationStarted: recorded})
    )
    cells: Mapping[str, Recorded[EvaluationCell]] = part(
        Items(put={EvaluationCell: _of_body("cell")})
    )
    measures: Sequence[Recorded[Measure]] = part(Growing(Measure))
    trainings: Sequence[Recorded[EventBody]] = part(
        Growing(TrainingStarted, TrainingAdvanced, OrganismTrained, MixtureMeasured, MixingStudied)
    )
    view: dict[str, Any] = part(Latest({}, "naming", {ViewSaved: _of_body("view")}))
    timeline: Sequence[TimelineEntry] = part(Timeline())

    def not_computed(self, reading: str, layer: int) -> str:
        """Text for a reading without lists, with the reason of its failure if there is one."""
        failed = self.failed_readings.get((reading, layer))
        return NOT_COMPUTED if failed is None else f"{NOT_COMPUTED}: {failed.body.reason}"

    def concluded(self) -> list[ExperimentState]:
        """The experiments with a result, that which ended last at the end."""
        ended = [(found.result.seq, found) for found in self.experiments.values() if found.result]
        return [found for _, found in sorted(ended, key=itemgetter(0))]

    def experiments_of(self, hypothesis: str) -> list[ExperimentState]:
        """The experiments of a hypothesis, the first one first."""
        return [found for found in self.experiments.values() if found.hypothesis_id == hypothesis]

    def ranked(self) -> list[HypothesisState]:
        """The hypotheses, the highest ranked first, then those that nobody has ranked."""
        places = {hypothesis_id: place for place, hypothesis_id in enumerate(self.ranking)}
        return sorted(
            self.hypotheses.values(),
            key=lambda hypothesis: places.get(hypothesis.id, len(self.ranking)),
        )

    def digest(self) -> str:
        """SHA-256 of the state but for the timeline's words; see `digest_of`."""
        return digest_of(self)


SLICES: Mapping[str, Slice[Any]] = slices_of(SessionState)
"""The slices of `SessionState` by field, before any event."""


class Fold:
    """Takes a session's events one by one; `state` is the state after the last.

    Applying an event costs the same however long the session is, and a state shares all that did
    not change with the one before, so a screen may ask for one at every event. Not for use by two
    threads at once; states are.
    """

    def __init__(self) -> None:
        self._take(SLICES, SessionState())

    @property
    def version(self) -> int:
        """The seq of the last event applied: two folds of one session agree if these do."""
        return self._version

    def copy(self) -> Self:
        """A fold that goes on from here independently, so that replay can seek from checkpoints."""
        twin = type(self).__new__(type(self))
        twin._take(self._slices, self._head, self._version)
        return twin

    def _take(self, slices: Mapping[str, Slice[Any]], head: SessionState, version: int = 0) -> None:
        self._slices = {name: slice_.copy() for name, slice_ in slices.items()}
        # By class of body, found when the first event of it comes.
        self._handlers: dict[type, list[tuple[Handler, Slice[Any]]]] = {}
        self._head = head
        self._version = version

    def state(self) -> SessionState:
        """The state after the last event applied."""
        if self._head.seq != self._version:
            values = {name: slice_.value() for name, slice_ in self._slices.items()}
            self._head = SessionState(**values)
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

        Raises `ValueError` if it is not the next one: a fold with a gap would be of no session.
        """
        if event.seq != self._version + 1:
            raise ValueError(f"event {event.seq} cannot follow event {self._version}")
        kind = type(event.body)
        for handle, slice_ in self._handlers.get(kind) or self._find_handlers(kind):
            handle(slice_, event)
        self._version = event.seq

    def _find_handlers(self, body: type) -> list[tuple[Handler, Slice[Any]]]:
        """The slices that events of this class change, each after what applies an event to it."""
        self._handlers[body] = [
            (handler, slice_)
            for slice_ in self._slices.values()
            for kind, handler in slice_.handlers.items()
            if issubclass(body, kind)
        ]
        return self._handlers[body]


def fold(events: Iterable[Event]) -> SessionState:
    """The state after all events of one session, from its first."""
    folding = Fold()
    folding.apply_all(events)
    return folding.state()
