"""Typed records of everything that happens in a session.

A session is a list of :class:`Event`. Each event is an envelope (who, when, in which place of
which session, chained by hash to the one before) around a typed body. Bodies are told apart by
their ``kind``. Arrays never stand in a body: a body names them by :class:`ArrayRef`, and the log
keeps the numbers in the same file under the hash of their content.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
from pydantic import Field, TypeAdapter

from workbench.store.agent_events import (
    AgentCalled,
    AgentCompacted,
    AgentControlled,
    AgentEnded,
    AgentInterrupted,
    AgentMessaged,
    AgentNoticed,
    AgentReplied,
    AgentReplyGrew,
    AgentRequested,
    AgentRequestFailed,
    AgentResumed,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    ApprovalGiven,
    AuditSealed,
    AuditUnblinded,
    EvaluationCell,
    EvaluationStarted,
    GradeGiven,
    ReportSubmitted,
    ScaleJudged,
)
from workbench.store.errors import StoreError
from workbench.store.measure_events import (
    CausalEffectMeasured,
    CoherentAlphaFound,
    RelevanceMeasured,
    SimilarityMeasured,
    TraceMeasured,
)
from workbench.store.record import LATER
from workbench.store.record import Actor as Actor
from workbench.store.record import Record as Record
from workbench.store.record import well_formed as well_formed
from workbench.store.training_events import (
    MixingStudied,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
    TrainingStarted,
)

Verdict = Literal["open", "confirmed", "rejected"]
Bearing = Literal["for", "against", "none"]

SYSTEM = Actor(kind="system")
HUMAN = Actor(kind="human")


class ArrayRef(Record):
    """An array kept in the session's file, named by the hash of its dtype, shape and bytes."""

    sha256: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> ArrayRef:
        """Name ``array`` (numbers or booleans, any shape; stored little-endian, C order).

        Raises `StoreError` for any other dtype.
        """
        canonical = canonical_array(array)
        digest = hashlib.sha256()
        digest.update(f"{canonical.dtype.str}{list(canonical.shape)}".encode())
        digest.update(canonical.tobytes())
        return cls(
            sha256=digest.hexdigest(), dtype=canonical.dtype.str, shape=tuple(canonical.shape)
        )


ReadArray = Callable[[ArrayRef], np.ndarray]
"""Return a recorded array; see ``SessionLog.array``."""


def canonical_array(array: np.ndarray) -> np.ndarray:
    """The same numbers, little-endian and C-contiguous, so that equal arrays have equal bytes.

    Raises `StoreError` for a dtype that is not a number or boolean: the bytes of an object array
    are addresses, and the name of a structured dtype does not say what is in it.
    """
    if np.asarray(array).dtype.kind not in "biufc":
        raise StoreError(
            f"an array of dtype {array.dtype} cannot be kept in a session",
            "Convert it to numbers first, for example with .astype(numpy.float32).",
        )
    contiguous = np.asarray(array, order="C")  # ascontiguousarray would turn a scalar into [1]
    return contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False)


# --- the session itself ---------------------------------------------------------------------


class SessionStarted(Record):
    """A session begins. ``environment`` holds versions, platform and the command line."""

    kind: Literal["session_started"] = "session_started"
    name: str
    environment: dict[str, Any] = Field(default_factory=dict)
    parent_session: str | None = None
    parent_seq: int | None = None


class SessionRenamed(Record):
    """The session's name from here on."""

    kind: Literal["session_renamed"] = "session_renamed"
    name: str


class SessionContinued(Record):
    """A later process went on with this session."""

    kind: Literal["session_continued"] = "session_continued"
    environment: dict[str, Any] = Field(default_factory=dict)


class SessionClosed(Record):
    """A process ended its work on the session in an orderly way."""

    kind: Literal["session_closed"] = "session_closed"
    outcome: Literal["completed", "stopped", "failed"]
    reason: str = ""


class PairLoaded(Record):
    """A model pair is at hand. ``pair`` is ``adl.records.PairProvenance`` as plain data."""

    kind: Literal["pair_loaded"] = "pair_loaded"
    pair: dict[str, Any]


# --- operations -----------------------------------------------------------------------------


class OperationStarted(Record):
    """Committed before any work: which operation, with every argument, defaults included."""

    kind: Literal["operation_started"] = "operation_started"
    operation: str
    arguments: dict[str, Any]


class OperationFinished(Record):
    """The operation did all it was asked to; what it found stands in the events before this."""

    kind: Literal["operation_finished"] = "operation_finished"
    seconds: float
    summary: dict[str, Any] = Field(default_factory=dict)


class OperationFailed(Record):
    """The operation ended by an error; what it had recorded until then stays."""

    kind: Literal["operation_failed"] = "operation_failed"
    error: str
    message: str
    way_out: str = ""
    seconds: float


class OperationStopped(Record):
    """The operation ended because it was asked to; what it had recorded until then stays."""

    kind: Literal["operation_stopped"] = "operation_stopped"
    reason: str
    seconds: float


# --- findings -------------------------------------------------------------------------------


class DifferenceMeasured(Record):
    """A mean activation difference (``adl.records.ActivationDifference``).

    ``arrays`` names float32 arrays: ``difference``, ``base_mean``, ``finetuned_mean`` and
    ``split_half_null`` of shape [layers, positions, width], ``base_norm``, ``finetuned_norm``,
    ``standard_error`` and ``half_cosine`` of shape [layers, positions], ``cosine`` [layers,
    positions, positions]. ``content_hashed`` is True where the key that a cached one was found by
    holds hashes of all of the weights, as it does in every session since they are recorded.
    """

    kind: Literal["difference_measured"] = "difference_measured"
    key: str
    corpus: dict[str, Any]
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    n_texts: int
    n_skipped: int
    from_cache: bool
    residual_norm: dict[str, float]
    arrays: dict[str, ArrayRef]
    content_hashed: Annotated[bool, LATER] = False

    @property
    def doubt(self) -> str:
        """Why these may be the numbers of another checkpoint; empty if they cannot be."""
        if self.content_hashed or not self.from_cache:
            return ""
        return (
            "This difference came from a cache that knew a checkpoint by the sizes and ends of its "
            "files: it may be that of another checkpoint. Measure it again."
        )


class ReadToken(Record):
    """One token of a readout; ``score`` is what the list is ordered by."""

    id: int
    text: str
    score: float
    probability: float | None = None


class ReadingTaken(Record):
    """A token list at one site (``adl.records.TokenReadout``).

    ``source`` says which vector was read (``difference``, ``negative``, ``base``, ``finetuned``,
    ``random``, ``split_half``); everything but ``difference`` is its control or comparison.
    ``tokens`` are whole words where ``words_only``, and ``unfiltered`` heads the same ranking with
    nothing left out. ``scale`` is in units of the residual norm; ``chosen`` marks the automatic
    choice of scale, and ``chosen_by`` says by which rule.
    """

    kind: Literal["reading_taken"] = "reading_taken"
    reading: str
    source: str
    side: str
    layer: int
    position: str
    scale: float | None = None
    chosen: bool = True
    chosen_by: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    statistics: dict[str, float] = Field(default_factory=dict)
    tokens: tuple[ReadToken, ...]
    words_only: bool = False
    unfiltered: tuple[ReadToken, ...] = ()


class ReadingFailed(Record):
    """A reading that was not computed, or not all of it, and why; the other readings went on."""

    kind: Literal["reading_failed"] = "reading_failed"
    reading: str
    layer: int
    error: str
    message: str
    way_out: str = ""

    @property
    def reason(self) -> str:
        """What was wrong and what to do about it, in one line."""
        return " ".join(filter(None, (self.message.rstrip(".") + ".", self.way_out)))


class TextStarted(Record):
    """A text begins to be generated, by ``purpose`` ``steer`` or ``ask``.

    ``alpha`` is in units of the typical residual norm and 0 for unsteered text; ``messages`` is
    the chat that was put to the model, or ``raw_prompt`` where no chat template was used.
    ``thinking`` is what was asked of the template, and ``prompt_notes`` name what was changed to
    write the chat: a thought that was ended, a system turn that was moved.
    """

    kind: Literal["text_started"] = "text_started"
    text_id: str
    purpose: Literal["steer", "ask"]
    side: str
    alpha: float
    layer: int | None
    position: str | None
    source: str | None
    seed: int
    temperature: float
    max_new_tokens: int
    messages: tuple[dict[str, str], ...] = ()
    prefill: str = ""
    raw_prompt: str | None = None
    prompt_index: int = 0
    thinking: Annotated[Literal["auto", "on", "off"], LATER] = "auto"
    prompt_notes: Annotated[tuple[str, ...], LATER] = ()


class TextGrew(Record):
    """More of the texts under way: what to append to each, by text id."""

    kind: Literal["text_grew"] = "text_grew"
    pieces: dict[str, str]


class TextFinished(Record):
    """A generated text as a whole; ``ended`` says why it ended there."""

    kind: Literal["text_finished"] = "text_finished"
    text_id: str
    text: str
    token_ids: tuple[int, ...]
    ended: Literal["end_of_text", "length", "stopped"]


class AnswersCompared(Record):
    """Two answers to one question: where they part, and the KL along the way.

    ``kl`` is KL(finetuned || base) in nats at each token of the text ``along``;
    ``first_divergence`` is the index of the first differing token, or None if there is none.
    """

    kind: Literal["answers_compared"] = "answers_compared"
    base_text: str
    finetuned_text: str
    first_divergence: int | None
    along: str
    kl: tuple[float, ...]


class NoteWritten(Record):
    """A remark of a person, an agent or the program."""

    kind: Literal["note_written"] = "note_written"
    text: str


# --- what is made of the findings -----------------------------------------------------------


class EvidenceMarked(Record):
    """Something in an earlier event that counts: a token of a list, a text, or the whole event.

    ``excerpt`` is the token, or the part of the text, as it was shown; raw and untrusted.
    ``label`` says where it stands, in words.
    """

    kind: Literal["evidence_marked"] = "evidence_marked"
    evidence_id: str
    of_seq: int
    excerpt: str
    label: str = ""
    token_id: int | None = None
    text_id: str | None = None
    note: str = ""


class EvidenceUnmarked(Record):
    """A mark is taken back; hypotheses it was linked to keep the link in their history alone."""

    kind: Literal["evidence_unmarked"] = "evidence_unmarked"
    evidence_id: str
    reason: str = ""


class HypothesisStated(Record):
    """What the finetuning may have been for; ``confidence`` is a probability, if one was given."""

    kind: Literal["hypothesis_stated"] = "hypothesis_stated"
    hypothesis_id: str
    text: str
    confidence: float | None = None


class HypothesisRevised(Record):
    """The hypothesis as it reads from here on, with why."""

    kind: Literal["hypothesis_revised"] = "hypothesis_revised"
    hypothesis_id: str
    text: str
    confidence: float | None = None
    reason: str = ""


class HypothesesRanked(Record):
    """The hypotheses by how likely they are thought to be, the likeliest first."""

    kind: Literal["hypotheses_ranked"] = "hypotheses_ranked"
    order: tuple[str, ...]


class HypothesisJudged(Record):
    """A verdict on a hypothesis; ``open`` takes an earlier one back."""

    kind: Literal["hypothesis_judged"] = "hypothesis_judged"
    hypothesis_id: str
    verdict: Verdict
    reason: str = ""


class EvidenceLinked(Record):
    """Marked evidence speaks for or against a hypothesis; ``none`` takes an earlier link back."""

    kind: Literal["evidence_linked"] = "evidence_linked"
    hypothesis_id: str
    evidence_id: str
    bearing: Bearing


class ViewSaved(Record):
    """How a person's screen was left: pane in focus, choices and drafts, by pane.

    It holds no finding, only what it takes to go on exactly where one was.
    """

    kind: Literal["view_saved"] = "view_saved"
    view: dict[str, Any]


EventBody = Annotated[
    SessionStarted
    | SessionRenamed
    | SessionContinued
    | SessionClosed
    | PairLoaded
    | OperationStarted
    | OperationFinished
    | OperationFailed
    | OperationStopped
    | DifferenceMeasured
    | ReadingTaken
    | ReadingFailed
    | TextStarted
    | TextGrew
    | TextFinished
    | AnswersCompared
    | NoteWritten
    | EvidenceMarked
    | EvidenceUnmarked
    | HypothesisStated
    | HypothesisRevised
    | HypothesesRanked
    | HypothesisJudged
    | EvidenceLinked
    | ViewSaved
    | AgentStarted
    | AgentResumed
    | AgentTold
    | AgentRequested
    | AgentReplyGrew
    | AgentRequestFailed
    | AgentReplied
    | AgentCalled
    | AgentCompacted
    | AgentNoticed
    | ApprovalAsked
    | ApprovalGiven
    | AgentControlled
    | AgentMessaged
    | ReportSubmitted
    | AgentInterrupted
    | AgentEnded
    | AuditSealed
    | AuditUnblinded
    | GradeGiven
    | ScaleJudged
    | EvaluationStarted
    | EvaluationCell
    | TraceMeasured
    | CoherentAlphaFound
    | RelevanceMeasured
    | SimilarityMeasured
    | CausalEffectMeasured
    | TrainingStarted
    | TrainingAdvanced
    | OrganismTrained
    | MixtureMeasured
    | MixingStudied,
    Field(discriminator="kind"),
]
BODY: TypeAdapter[EventBody] = TypeAdapter(EventBody)


class Event(Record):
    """One committed entry of a session's log.

    ``seq`` counts from 1 without gaps within the session. ``sha256`` covers every other field,
    so with ``previous`` (the hash of the event before, empty for the first) the events of a
    session form a chain: a changed, dropped or reordered event is found by ``verify``.
    """

    session_id: str
    seq: int
    at: datetime
    actor: Actor
    operation_id: str | None
    body: EventBody
    previous: str
    sha256: str


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and ASCII only: one text for one value.

    ASCII keeps NUL bytes and escapes of model text out of the database's TEXT. What JSON cannot
    say is replaced: broken surrogates as in `well_formed`, and numbers that are not finite by the
    strings ``NaN``, ``Infinity`` and ``-Infinity``, which a field of type float reads back.
    """
    try:
        text = _dumps(value)
    except ValueError:
        return _dumps(_sayable(value))
    # Half of what looks like a surrogate is half of an emoji, and comes out of this unchanged.
    return _dumps(_sayable(value)) if "\\ud" in text else text


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def _dumps(value: Any) -> str:
    return _ENCODER.encode(value)


def _sayable(value: Any) -> Any:
    """The value with everything that JSON cannot say replaced, see `canonical_json`."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {_sayable(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(item) for item in value]
    return value


def body_json(body: EventBody) -> str:
    """The body as canonical JSON, as stored and as hashed."""
    try:
        plain = body.model_dump(mode="json")
    except UnicodeEncodeError:
        # pydantic stumbles over a broken surrogate in a key.
        body = type(body).model_validate(_sayable(body.model_dump()))
        plain = body.model_dump(mode="json")
    return canonical_json(plain)


#: Values in a body: what reading one may take in memory depends on them, most of all one that does
#: not fit, every value of which is an error of its own.
MOST_VALUES = 200_000

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')


def read_body(text: str) -> EventBody:
    """The body that stands as JSON in ``text``.

    Raises `ValueError` (pydantic's too) for one that is none, or that holds more than `MOST_VALUES`.
    """
    check_values(text)
    return BODY.validate_json(text)


def check_values(text: str) -> None:
    """Raise `ValueError` for JSON with more than `MOST_VALUES` values, without reading it."""
    if text.count(",") + text.count("[") > MOST_VALUES:
        # Only what stands between the strings counts.
        bare = _STRINGS.sub("", text)
        if bare.count(",") + bare.count("[") > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES} values")


def array_refs(body: EventBody) -> Iterator[tuple[str, ArrayRef]]:
    """Every array that the body names, each with where in the body it stands (``arrays.cosine``)."""
    if _may_name_arrays(type(body)):
        for name, value in body.__dict__.items():
            yield from _refs(name, value)


@cache
def _may_name_arrays(kind: type[Record]) -> bool:
    """Whether a record of this class can hold an `ArrayRef`: most cannot, and lists of them are long."""
    return any(_may_hold_array(field.annotation) for field in kind.model_fields.values())


def _may_hold_array(annotation: Any) -> bool:
    if get_origin(annotation) is not None:
        return any(map(_may_hold_array, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation is ArrayRef or _may_name_arrays(annotation)
    return annotation in {Any, object, dict, list, tuple}


def _refs(name: str, value: Any) -> Iterator[tuple[str, ArrayRef]]:
    if isinstance(value, ArrayRef):
        yield name, value
    elif isinstance(value, Record):
        if not _may_name_arrays(type(value)):
            return
        for field, item in value.__dict__.items():
            yield from _refs(f"{name}.{field}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _refs(f"{name}.{key}", item)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            if isinstance(item, Record) and not _may_name_arrays(type(item)):
                continue
            if isinstance(item, (Record, dict, tuple)):
                yield from _refs(f"{name}.{index}", item)


def event_hash(
    *,
    session_id: str,
    seq: int,
    at: str,
    actor: Actor,
    operation_id: str | None,
    body_text: str,
    previous: str,
) -> str:
    """SHA-256 over every field of an event but the hash itself (``at`` as stored text)."""
    # `canonical_json` of the fields, put together by hand: it is done for every event of a file.
    operation = "null" if operation_id is None else _quoted(operation_id)
    envelope = (
        f'{{"actor":[{_quoted(actor.kind)},{_quoted(actor.name)}],"at":{_quoted(at)},'
        f'"body":{_quoted(body_text)},"operation_id":{operation},"previous":{_quoted(previous)},'
        f'"seq":{seq},"session_id":{_quoted(session_id)}}}'
    )
    if "\\ud" in envelope:  # perhaps half of a surrogate pair
        envelope = canonical_json(json.loads(envelope))
    return hashlib.sha256(envelope.encode()).hexdigest()


def utc_text(moment: datetime | None = None) -> str:
    """ISO 8601 in UTC with microseconds and a Z, the one time format of the database."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
