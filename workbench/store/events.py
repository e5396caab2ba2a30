"""Typed records of everything that happens in a session.

A session is a list of :class:`Event`. Each event is an envelope (who, when, in which place of
which session, chained by hash to the event before) around a typed body. The ``kind`` of a body names
its class. A body refers to arrays by ``ArrayRef`` (`workbench.store.arrays`); the log keeps the
numbers in the same file under the hash of their content.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from adl.nulls import NULLS, side_in_words, source_in_words
from adl.pair.protocol import Thinking
from adl.readings.registry import READINGS
from adl.records import EndReason
from adl.words import number_of

# Imported for their kinds of events too: whoever reads a log knows all of them.
from workbench.store import agent_events as agent_events
from workbench.store import experiment_events as experiment_events
from workbench.store import measures as measures
from workbench.store import training_events as training_events
from workbench.store.arrays import ArrayRef
from workbench.store.body import AnyBody, because, body_reader, one_line
from workbench.store.body import EventBody as EventBody
from workbench.store.encoding import check_values
from workbench.store.record import LATER
from workbench.store.record import Actor as Actor
from workbench.store.record import ReadToken as ReadToken
from workbench.store.record import Record as Record
from workbench.store.record import well_formed as well_formed

Verdict = Literal["open", "confirmed", "rejected"]
TextPurpose = Literal["steer", "ask", "unprompted", "amplify", "test", "scan"]
"""The kind of operation that a text is generated for."""

Bearing = Literal["for", "against", "none"]
Ending = Literal["completed", "stopped", "failed"]
"""How a process ended its work on a session."""

SYSTEM = Actor(kind="system")
HUMAN = Actor(kind="human")


# --- the session itself ---------------------------------------------------------------------


class SessionStarted(EventBody, group="session", searched=("name",), is_naming=True):
    """A session begins. ``environment`` holds versions, platform and the command line."""

    kind: Literal["session_started"] = "session_started"
    name: str
    environment: dict[str, Any] = Field(default_factory=dict)
    parent_session: str | None = None
    parent_seq: int | None = None

    def _line(self) -> str:
        return f"session started: {one_line(self.name)}"


class SessionRenamed(EventBody, group="session", searched=("name",), is_naming=True):
    """The session gets another name."""

    kind: Literal["session_renamed"] = "session_renamed"
    name: str

    def _line(self) -> str:
        return f"session renamed: {one_line(self.name)}"


class SessionContinued(EventBody, group="session", searched=(), is_naming=True):
    """A later process continues the session."""

    kind: Literal["session_continued"] = "session_continued"
    environment: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return "session continued"


class SessionClosed(EventBody, group="session", searched=("reason",), is_naming=True):
    """A process ends its work on the session in an orderly way."""

    kind: Literal["session_closed"] = "session_closed"
    outcome: Ending
    reason: str = ""

    def _line(self) -> str:
        return f"session closed, {self.outcome}{because(self.reason)}"


class PairLoaded(EventBody, group="session", searched=("pair",), is_naming=True):
    """A model pair was loaded. ``pair`` is ``adl.records.PairProvenance`` as plain data."""

    kind: Literal["pair_loaded"] = "pair_loaded"
    pair: dict[str, Any]

    def _line(self) -> str:
        return "pair loaded"


# --- operations -----------------------------------------------------------------------------


class OperationStarted(EventBody, group="operations", searched=("operation", "arguments")):
    """An operation begins, with every argument. Committed before any work."""

    kind: Literal["operation_started"] = "operation_started"
    operation: str
    arguments: dict[str, Any]

    def _line(self) -> str:
        return f"{one_line(self.operation)} started"


class OperationFinished(EventBody, group="operations", searched=()):
    """The operation reached its end; its findings are the events before this."""

    kind: Literal["operation_finished"] = "operation_finished"
    seconds: float
    summary: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return f"finished in {self.seconds:.1f} s"


class OperationFailed(EventBody, group="operations", searched=("error", "message", "way_out")):
    """The operation ended by an error; its findings until then stay."""

    kind: Literal["operation_failed"] = "operation_failed"
    error: str
    message: str
    way_out: str = ""
    seconds: float

    def _line(self) -> str:
        return f"failed after {self.seconds:.1f} s: {one_line(self.message or self.error)}"


class OperationStopped(EventBody, group="operations", searched=("reason",)):
    """The operation was stopped; its findings until then stay."""

    kind: Literal["operation_stopped"] = "operation_stopped"
    reason: str
    seconds: float

    def _line(self) -> str:
        return f"stopped after {self.seconds:.1f} s: {one_line(self.reason)}"


# --- findings -------------------------------------------------------------------------------


class DifferenceMeasured(
    EventBody,
    group="findings",
    searched=(),
    # The key that it is cached by, whether it was cached, and the words for the corpus.
    pointers={
        "key": True,
        "from_cache": True,
        "content_hashed": True,
        "corpus": {"description": True},
    },
):
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
    def left_out(self) -> str:
        """The texts that were left out, by reason; empty where none was."""
        if not self.n_skipped:
            return ""
        return texts_left_out(self.n_skipped, int(self.corpus.get("unaligned", 0)))

    @property
    def doubt(self) -> str:
        """A warning if these may be the numbers of another checkpoint, else empty."""
        if self.content_hashed or not self.from_cache:
            return ""
        return (
            "This difference came from a cache that knew a checkpoint by the sizes and ends of its "
            "files: it may be that of another checkpoint. Measure it again."
        )

    def _line(self) -> str:
        cached = " (from the cache)" if self.from_cache else ""
        cached = " (from an old cache: may be another checkpoint's)" if self.doubt else cached
        return (
            f"difference measured over {number_of(self.n_texts, 'text')} at "
            f"{number_of(len(self.layers), 'layer')} and "
            f"{number_of(len(self.positions), 'position')}{cached}"
        )


def texts_left_out(n_skipped: int, n_unaligned: int) -> str:
    """Return the numbers of texts that no difference was measured on, by reason."""
    short = f"{n_skipped - n_unaligned} too short"
    return f"{short}, {n_unaligned} cut into other tokens by either side" if n_unaligned else short


class StruckRead(ReadToken):
    """A token taken out of a list (``adl.records.StruckToken``): the rank that it had, and why."""

    rank: int
    why: str


class ReadingTaken(EventBody, group="findings"):
    """A token list at one site (``adl.records.TokenReadout``).

    ``source`` says which vector was read (``difference``, ``negative``, ``base``, ``finetuned``,
    ``random``, ``split_half``); everything but ``difference`` is its control or comparison.
    ``tokens`` are whole words where ``words_only``, and ``unfiltered`` heads the same ranking with
    nothing left out. ``scale`` is in units of the residual norm; ``chosen`` marks the automatic
    choice of scale, and ``chosen_by`` says by which rule. ``struck`` are words of style that were taken
    out of ``tokens``. ``completed`` holds the rest of the word by the id of a token that begins one.
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
    struck: Annotated[tuple[StruckRead, ...], LATER] = ()
    completed: Annotated[dict[int, str], LATER] = Field(default_factory=dict)

    def word(self, token: ReadToken) -> str:
        """A token's text with the rest of the word that it begins, as in ``marz\u00b7ipan``."""
        rest = self.completed.get(token.id)
        return f"{token.text}\u00b7{rest}" if rest else token.text

    def _line(self) -> str:
        known = READINGS.get(self.reading)
        strength = known.strength if known else "scale"
        scale = "" if self.scale is None else f", {strength} {self.scale:g}"
        tokens = " ".join(self.word(token).strip() for token in self.tokens[:8])
        return (
            f"{self.reading} of {source_in_words(self.source)} "
            f"{side_in_words(self.source, self.side)}, layer {self.layer}, "
            f"position {self.position}{scale}: {one_line(tokens)}"
        )

    def _texts(self) -> Iterator[str]:
        yield " ".join(token.text + self.completed.get(token.id, "") for token in self.tokens)


class ReadingFailed(
    EventBody,
    group="findings",
    searched=("error", "message", "way_out"),
    # Both may tell of the moment, such as the memory that was free.
    pointers={"message": True, "way_out": True},
):
    """A reading that failed, in whole or in part; the other readings went on."""

    kind: Literal["reading_failed"] = "reading_failed"
    reading: str
    layer: int
    error: str
    message: str
    way_out: str = ""

    @property
    def reason(self) -> str:
        """The message and the hint, on one line."""
        return " ".join(filter(None, (self.message.rstrip(".") + ".", self.way_out)))

    def _line(self) -> str:
        return f"{self.reading} at layer {self.layer} not computed: {one_line(self.reason)}"


class TextStarted(EventBody, group="texts", pointers={"text_id": True, "experiment": True}):
    """A text begins to be generated, by ``purpose`` ``steer``, ``ask``, ``unprompted``, ``amplify``,
    ``test`` or ``scan``.

    ``alpha`` is in units of the typical residual norm and 0 for unsteered text; ``messages`` is
    the chat that was put to the model, or ``raw_prompt`` where no chat template was used.
    ``thinking`` is what was asked of the template, and ``prompt_notes`` name what was changed to
    write the chat: a thought that was ended, a system turn that was moved. ``start`` names what an
    unprompted text begins from; ``amplified`` is the strength that ``carrier`` (the logits, if none
    is named) was amplified by, and ``shuffled`` marks a null. The strength of the carrier
    ``difference`` is ``alpha``. ``experiment`` is the test that it answers.
    """

    kind: Literal["text_started"] = "text_started"
    text_id: str
    purpose: TextPurpose
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
    thinking: Annotated[Thinking, LATER] = "auto"
    prompt_notes: Annotated[tuple[str, ...], LATER] = ()
    start: Annotated[str, LATER] = ""
    amplified: Annotated[float, LATER] = 0.0
    shuffled: Annotated[bool, LATER] = False
    experiment: Annotated[str, LATER] = ""
    carrier: Annotated[str, LATER] = ""

    @property
    def is_steered(self) -> bool:
        """True if a difference was added."""
        return self.alpha != 0 and not self._is_of_null

    @property
    def is_null_steered(self) -> bool:
        """True if the vector of a null was added, which holds no finetuning."""
        return self.alpha != 0 and self._is_of_null

    @property
    def _is_of_null(self) -> bool:
        return self.shuffled or self.source in NULLS

    @property
    def prompting(self) -> tuple[str, ...]:
        """Notes of what the prompt alone does not tell, and whether thoughts were asked for."""
        thinking = () if self.thinking == "auto" else (f"thinking {self.thinking}",)
        return (*thinking, *self.prompt_notes)

    @property
    def prompt(self) -> str:
        """The raw prompt, or the last turn of the chat."""
        if self.raw_prompt is not None:
            return self.raw_prompt
        return self.messages[-1].get("content", "") if self.messages else ""

    def _line(self) -> str:
        changed = f", alpha {self.alpha:g}" if self.alpha else ""
        if self.amplified:
            changed = f", {self.carrier or 'logits'} at {self.amplified:g}"
        if self.shuffled:
            changed += " (null)"
        asked = one_line(self.prompt) if self.prompt else self.start.replace("_", " ")
        return f"{self.purpose} on {self.side}{changed}: {asked}"

    def _texts(self) -> Iterator[str]:
        yield from (message.get("content", "") for message in self.messages)
        yield from (self.prefill, self.raw_prompt or "")


class TextGrew(EventBody, group="texts", searched=(), is_piece=True):
    """Pieces to append to growing texts, by text id."""

    kind: Literal["text_grew"] = "text_grew"
    pieces: dict[str, str]

    @property
    def shown_text(self) -> str | None:
        """The first of the texts by id: a live session and its replay agree."""
        return min(self.pieces, default=None)

    def _line(self) -> str:
        return (
            "text grew" if len(self.pieces) == 1 else f"{number_of(len(self.pieces), 'text')} grew"
        )


class TextFinished(EventBody, group="texts", searched=("text",), pointers={"text_id": True}):
    """A whole generated text; ``ended`` is the reason it ended."""

    kind: Literal["text_finished"] = "text_finished"
    text_id: str
    text: str
    token_ids: tuple[int, ...]
    ended: EndReason

    def _line(self) -> str:
        return f"text of {number_of(len(self.token_ids), 'token')} ({self.ended}): {one_line(self.text)}"


class AnswersCompared(
    EventBody,
    group="findings",
    searched=(),
    pointers={"base_text": True, "finetuned_text": True, "along": True},
):
    """Two answers to a question compared: where they part, and the KL along the way.

    ``kl`` is KL(finetuned || base) in nats at each token of the text ``along``;
    ``first_divergence`` is the index of the first differing token, or None if there is none.
    """

    kind: Literal["answers_compared"] = "answers_compared"
    base_text: str
    finetuned_text: str
    first_divergence: int | None
    along: str
    kl: tuple[float, ...]

    @property
    def shown_text(self) -> str | None:
        """The finetuned model's answer."""
        return self.finetuned_text

    def _line(self) -> str:
        if self.first_divergence is None:
            return "answers compared: the same"
        return f"answers compared: they part at token {self.first_divergence}"


class NoteWritten(EventBody, group="notes", searched=("text",)):
    """A remark of a person, an agent or the program."""

    kind: Literal["note_written"] = "note_written"
    text: str

    def _line(self) -> str:
        return f"note: {one_line(self.text)}"


# --- what is made of the findings -----------------------------------------------------------


class EvidenceMarked(EventBody, group="hypotheses", searched=("excerpt", "label", "note")):
    """A token of a list, a text or a whole event is marked as evidence.

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

    def _line(self) -> str:
        return f"{self.evidence_id} marked, {one_line(self.label)}: {one_line(self.excerpt)}"


class EvidenceUnmarked(EventBody, group="hypotheses", searched=("reason",)):
    """A mark is taken back; linked hypotheses keep the link in their history only."""

    kind: Literal["evidence_unmarked"] = "evidence_unmarked"
    evidence_id: str
    reason: str = ""

    def _line(self) -> str:
        return f"{self.evidence_id} no longer marked{because(self.reason)}"


class HypothesisStated(EventBody, group="hypotheses", searched=("text",)):
    """A hypothesis of what the finetuning was for; ``confidence`` is a probability or None."""

    kind: Literal["hypothesis_stated"] = "hypothesis_stated"
    hypothesis_id: str
    text: str
    confidence: float | None = None

    def _line(self) -> str:
        return f"hypothesis {self.hypothesis_id}{_sure(self.confidence)}: {one_line(self.text)}"


class HypothesisRevised(EventBody, group="hypotheses", searched=("text", "reason")):
    """A hypothesis gets a new wording or probability."""

    kind: Literal["hypothesis_revised"] = "hypothesis_revised"
    hypothesis_id: str
    text: str
    confidence: float | None = None
    reason: str = ""

    def _line(self) -> str:
        sure = _sure(self.confidence)
        return f"hypothesis {self.hypothesis_id} revised{sure}: {one_line(self.text)}"


class HypothesesRanked(EventBody, group="hypotheses", searched=()):
    """The hypotheses are ranked, the likeliest first."""

    kind: Literal["hypotheses_ranked"] = "hypotheses_ranked"
    order: tuple[str, ...]

    def _line(self) -> str:
        return f"hypotheses ranked: {one_line(', '.join(self.order))}"


class HypothesisJudged(EventBody, group="hypotheses", searched=("reason",)):
    """A verdict on a hypothesis; ``open`` takes an earlier one back.

    ``experiment`` is the test that it rests on. ``overruled`` marks a verdict that a person gave
    against that test, or without a passed one: the person's verdict stands. Sessions from before
    there were tests have neither.
    """

    kind: Literal["hypothesis_judged"] = "hypothesis_judged"
    hypothesis_id: str
    verdict: Verdict
    reason: str = ""
    experiment: Annotated[str, LATER] = ""
    overruled: Annotated[bool, LATER] = False

    @property
    def grounds(self) -> str:
        """The ground of the verdict in a few words; empty for one that needs none."""
        if self.experiment and not self.overruled:
            return f"by test {self.experiment}"
        if self.overruled:
            against = f"against test {self.experiment}" if self.experiment else ""
            return f"by a person, {against or 'without a passed test'}"
        return "without test" if self.verdict == "confirmed" else ""

    def _line(self) -> str:
        verdict = "open again" if self.verdict == "open" else str(self.verdict)
        verdict += f" ({self.grounds})" if self.grounds else ""
        return f"hypothesis {self.hypothesis_id} {verdict}{because(self.reason)}"


class EvidenceLinked(EventBody, group="hypotheses", searched=()):
    """Evidence is linked to a hypothesis; ``none`` takes an earlier link back."""

    kind: Literal["evidence_linked"] = "evidence_linked"
    hypothesis_id: str
    evidence_id: str
    bearing: Bearing

    def _line(self) -> str:
        link = {"for": "speaks for", "against": "speaks against", "none": "unlinked from"}
        return f"{self.evidence_id} {link[self.bearing]} {self.hypothesis_id}"


def _sure(confidence: float | None) -> str:
    return "" if confidence is None else f" ({confidence:.0%})"


class ViewSaved(EventBody, group="session", searched=(), is_naming=True):
    """The state of a person's screen: pane in focus, choices and drafts, by pane.

    It holds no finding; the screen is restored from it.
    """

    kind: Literal["view_saved"] = "view_saved"
    view: dict[str, Any]

    def _line(self) -> str:
        return "view saved"


class Event(Record):
    """A committed entry of a session's log.

    ``seq`` counts from 1 without gaps within the session. ``sha256`` covers every other field,
    so with ``previous`` (the hash of the event before, empty for the first) the events of a
    session form a chain: a changed, dropped or reordered event is found by ``verify``.
    """

    session_id: str
    seq: int
    at: datetime
    actor: Actor
    operation_id: str | None
    body: AnyBody
    previous: str
    sha256: str


def read_body(text: str) -> EventBody:
    """Read a body from its JSON.

    Raises `ValueError` (pydantic's too) for text that is no body or holds more than `MOST_VALUES`.
    """
    check_values(text)
    return body_reader().validate_json(text)
