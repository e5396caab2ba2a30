"""The probes of a session, each with its answers: what the chat pane draws, gathered as it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from adl.records import SIDES, Side
from workbench.operations.generation import ASK
from workbench.operations.jobs import Job
from workbench.store.events import Actor, AnswersCompared
from workbench.store.recorded import Recorded
from workbench.store.state import OperationState, SessionState, TextState

Messages = tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class AnswerRef:
    """One answer of the session: of which probe, whose, and which of its samples."""

    probe: str
    side: Side
    sample: int = 0


@dataclass(frozen=True)
class Turn:
    """A probe and what both models answered; ``number`` counts the session's probes from 1.

    ``status`` is ``waiting`` while other work is ahead of the probe: then nothing of it is in the
    log, and ``operation`` is None. ``answers`` are by side, a sample each.
    """

    id: str
    number: int
    actor: Actor
    arguments: Mapping[str, Any]
    operation: OperationState | None
    answers: Mapping[Side, tuple[TextState, ...]] = field(default_factory=dict)
    comparisons: tuple[Recorded[AnswersCompared], ...] = ()

    @property
    def status(
        self,
    ) -> Literal["waiting", "running", "finished", "failed", "stopped", "abandoned"]:
        """The status of the probe."""
        return "waiting" if self.operation is None else self.operation.status

    @property
    def is_over(self) -> bool:
        """True once the answers are finished, failed or stopped."""
        return self.status not in {"waiting", "running"}

    @property
    def sides(self) -> tuple[Side, ...]:
        """The models that were asked, base first."""
        asked = self.arguments.get("sides") or SIDES
        return tuple(side for side in SIDES if side in asked)

    @property
    def n_samples(self) -> int:
        """The number of answers asked of each model."""
        asked = self.arguments.get("n_samples", 1)
        return max([asked if isinstance(asked, int) else 1, *map(len, self.answers.values())])

    @property
    def raw(self) -> str | None:
        """The plain text to continue, if no chat template was used."""
        raw = self.arguments.get("raw")
        return raw if isinstance(raw, str) else None

    @property
    def messages(self) -> Messages:
        """The chat sent to the models, with its system turn, without the prefill."""
        turns: list[Mapping[str, str]] = [*self.arguments.get("messages", ())]
        if self.arguments.get("prompt") is not None:
            turns.append({"role": "user", "content": self.arguments["prompt"]})
        if self.arguments.get("system") is not None:
            turns.insert(0, {"role": "system", "content": self.arguments["system"]})
        if turns and turns[-1].get("role") == "assistant":
            turns.pop()
        return tuple(turns)

    @property
    def prefill(self) -> str:
        """The prefill of the answers."""
        turns: Sequence[Mapping[str, str]] = self.arguments.get("messages") or ({},)
        last = turns[-1]
        begun = last.get("content", "") if last.get("role") == "assistant" else ""
        return str(self.arguments.get("prefill") or begun)

    @property
    def probe(self) -> str:
        """The question: the last user turn, or the raw text."""
        if self.raw is not None:
            return self.raw
        messages = self.messages
        return messages[-1].get("content", "") if messages else ""

    @property
    def history(self) -> Messages:
        """The turns before the probe, without the system turn."""
        return tuple(message for message in self.messages[:-1] if message.get("role") != "system")

    @property
    def system(self) -> str | None:
        """The system turn, if there was one."""
        for message in self.messages[:1]:
            if message.get("role") == "system":
                return message.get("content", "")
        return None

    def answer(self, side: Side, sample: int) -> TextState | None:
        """Return one answer, possibly still growing; None if there is none."""
        found = self.answers.get(side, ())
        return found[sample] if 0 <= sample < len(found) else None

    def comparison(self, sample: int) -> Recorded[AnswersCompared] | None:
        """Return the comparison of a sample's two answers, if it was computed."""
        finetuned = self.answer("finetuned", sample)
        if finetuned is not None:
            for comparison in self.comparisons:
                if comparison.body.finetuned_text == finetuned.start.body.text_id:
                    return comparison
        return None

    def is_as(self, other: Turn) -> bool:
        """True if ``other`` has nothing new."""
        return (
            self.operation is other.operation
            and len(self.comparisons) == len(other.comparisons)
            and all(
                len(self.answers.get(side, ())) == len(other.answers.get(side, ()))
                and all(map(_is, self.answers.get(side, ()), other.answers.get(side, ())))
                for side in SIDES
            )
        )


class Turns(Sequence[Turn]):
    """The probes of a session in the order they were asked, those still waiting last.

    Updates are incremental: the cost is proportional to the new events of a state.
    """

    def __init__(self) -> None:
        self._state = SessionState()
        self._waiting: tuple[Turn, ...] = ()
        self._forget()

    def _forget(self) -> None:
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._texts: dict[str, list[str]] = {}
        self._comparisons: dict[str, list[Recorded[AnswersCompared]]] = {}
        self._counts = (0, 0, 0)
        self._parents: dict[str, AnswerRef | None] = {}

    def __len__(self) -> int:
        return len(self._ids) + len(self._waiting)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if place < 0:
            place += len(self)
        if place >= len(self._ids):
            return self._waiting[place - len(self._ids)]
        return self._recorded(place)

    def take(self, state: SessionState) -> None:
        """Add the new probes of ``state``; start over if it is older than the last one."""
        counts = (len(state.operations), len(state.texts), len(state.comparisons))
        same_session = state.session_id == self._state.session_id
        if not same_session or any(map(int.__lt__, counts, self._counts)):
            self._forget()
        operations, texts, comparisons = self._counts
        for operation in _last(state.operations, counts[0] - operations):
            self._take_operation(operation)
        for text in _last(state.texts, counts[1] - texts):
            if text.start.body.purpose == "ask" and text.start.operation_id in self._texts:
                self._texts[text.start.operation_id].append(text.start.body.text_id)
        for comparison in state.comparisons[comparisons:]:
            self._comparisons.setdefault(comparison.operation_id or "", []).append(comparison)
        self._counts = counts
        self._state = state
        self._waiting = tuple(turn for turn in self._waiting if turn.id not in self._places)

    def _take_operation(self, operation: OperationState) -> None:
        if operation.name == ASK.name:
            self._places[operation.id] = len(self._ids)
            self._ids.append(operation.id)
            self._texts[operation.id] = []

    def take_jobs(self, jobs: Sequence[Job]) -> bool:
        """Take the waiting probes; return True if they changed."""
        waiting = [
            job for job in jobs if job.operation.name == ASK.name and job.id not in self._places
        ]
        if [job.id for job in waiting] == [turn.id for turn in self._waiting]:
            return False
        self._waiting = tuple(
            Turn(
                job.id,
                len(self._ids) + 1 + index,
                job.actor,
                job.arguments.model_dump(mode="json"),
                None,
            )
            for index, job in enumerate(waiting)
        )
        return True

    def place(self, probe: str) -> int | None:
        """Return the place of a probe."""
        found = self._places.get(probe)
        if found is None:
            waiting = [turn.id for turn in self._waiting]
            return len(self._ids) + waiting.index(probe) if probe in waiting else None
        return found

    def find(self, probe: str) -> Turn | None:
        """Return a probe by its id."""
        place = self.place(probe)
        return None if place is None else self[place]

    def parent(self, turn: Turn) -> AnswerRef | None:
        """The answer that a probe follows; None if it begins a conversation or follows no answer."""
        if turn.id not in self._parents:
            self._parents[turn.id] = self._find_parent(turn)
        return self._parents[turn.id]

    def chain(self, turn: Turn) -> list[tuple[Turn, AnswerRef | None]]:
        """A conversation up to ``turn``: every probe, and the answer that was followed up."""
        found: list[tuple[Turn, AnswerRef | None]] = [(turn, None)]
        while (parent := self.parent(found[0][0])) is not None:
            before = self.find(parent.probe)
            if before is None:
                break
            found.insert(0, (before, parent))
        return found

    def at(self, seq: int) -> AnswerRef | None:
        """The answer that event ``seq`` names, or the first of its probe; None for any other event."""
        if not 1 <= seq <= len(self._state.timeline):
            return None
        entry = self._state.timeline[seq - 1]
        if entry.operation_id not in self._places:
            return None
        turn: Turn = self[self._places[entry.operation_id]]
        for side in turn.sides:
            for sample, text in enumerate(turn.answers.get(side, ())):
                if text.start.body.text_id == entry.text_id:
                    return AnswerRef(turn.id, side, sample)
        return AnswerRef(turn.id, turn.sides[-1])

    def _recorded(self, place: int) -> Turn:
        probe = self._ids[place]
        operation = self._state.operations[probe]
        texts = [self._state.texts[text_id] for text_id in self._texts[probe]]
        return Turn(
            id=probe,
            number=place + 1,
            actor=operation.actor,
            arguments=operation.arguments,
            operation=operation,
            answers={
                side: tuple(text for text in texts if text.start.body.side == side)
                for side in SIDES
            },
            comparisons=tuple(self._comparisons.get(probe, ())),
        )

    def _find_parent(self, turn: Turn) -> AnswerRef | None:
        history = turn.history
        if turn.raw is not None or not history or history[-1].get("role") != "assistant":
            return None
        place = self._places.get(turn.id, len(self._ids))
        for probe in reversed(self._ids[:place]):
            for text_id in self._texts[probe]:
                text = self._state.texts[text_id]
                if whole_answer(text) == history[-1]["content"]:
                    before: Turn = self[self._places[probe]]
                    if before.raw is None and _chat(before) == history[:-1]:
                        side: Side = "base" if text.start.body.side == "base" else "finetuned"
                        return AnswerRef(probe, side, before.answers[side].index(text))
        return None


def whole_answer(text: TextState) -> str:
    """Return an answer as a later turn quotes it, with its prefill."""
    return text.start.body.prefill + text.text


def _chat(turn: Turn) -> Messages:
    return tuple(message for message in turn.messages if message.get("role") != "system")


def _last(items: Mapping[str, Any], count: int) -> list[Any]:
    """Return the last ``count`` values in order, without iterating over the others."""
    # A proxy of a dict can be gone through backwards, which the type ``Mapping`` does not declare.
    keys = reversed(cast("dict[str, Any]", items))
    return [items[key] for _, key in zip(range(count), keys, strict=False)][::-1]


def _is(one: object, other: object) -> bool:
    return one is other
