"""Texts that operations generate, recorded as they come, and what they are generated from.

A text is started before the model is touched, grown a few times a second, and finished as a whole,
so that a killed process leaves what had been shown.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adl.errors import SiteError, Stopped
from adl.generation.sampling import SamplingListener, sample
from adl.generation.steering import Sample, SteeringVector, steering_requests
from adl.nulls import null_vector
from adl.pair.protocol import Thinking
from adl.pair.self_checks import DIFFERENCE, require
from adl.records import (
    POOLED,
    ActivationDifference,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Side,
    Site,
)
from adl.text.prompts import Prompt, everyday_prompts, load_prompts
from workbench.operations.running import Context
from workbench.store.events import TextFinished, TextGrew, TextPurpose, TextStarted

# Often enough to look live, seldom enough that the log stays small and commits stay unnoticed.
SECONDS_BETWEEN_PIECES = 0.25


@dataclass(frozen=True)
class AnnouncedText:
    """The record of a text before it is generated, without its id."""

    side: Side
    alpha: float
    seed: int
    prompt: Prompt | None
    raw: str | None
    prompt_index: int
    start: str = ""
    amplified: float = 0.0
    shuffled: bool = False
    experiment: str = ""
    carrier: str = ""


class _Recorder:
    """Records a running batch as events, several pieces of text at once."""

    def __init__(
        self,
        context: Context,
        purpose: TextPurpose,
        plan: GenerationPlan,
        vector: SteeringVector | None,
        texts: Sequence[AnnouncedText],
        notes: Sequence[tuple[str, ...]],
        thinking: Thinking,
    ) -> None:
        self.ids = [uuid.uuid4().hex for _ in texts]
        self._context = context
        self._purpose = purpose
        self._plan = plan
        self._vector = vector
        self._texts = texts
        self._notes = notes
        self._thinking = thinking
        self._pending: dict[str, str] = {}
        self._last = time.monotonic()

    def listener(self) -> SamplingListener:
        return SamplingListener(started=self._started, text=self._grew, finished=self._finished)

    def _started(self, indexes: Sequence[int]) -> None:
        self._context.record_many([self._start(index) for index in indexes])

    def _start(self, index: int) -> TextStarted:
        text = self._texts[index]
        steered = self._vector if text.alpha else None
        return TextStarted(
            text_id=self.ids[index],
            purpose=self._purpose,
            side=text.side,
            alpha=text.alpha,
            layer=steered.site.layer if steered else None,
            position=steered.site.position if steered else None,
            source=steered.source if steered else None,
            seed=text.seed,
            temperature=self._plan.temperature,
            max_new_tokens=self._plan.max_new_tokens,
            messages=tuple(text.prompt.messages) if text.prompt else (),
            prefill=text.prompt.prefill if text.prompt else "",
            raw_prompt=text.raw,
            prompt_index=text.prompt_index,
            thinking=self._thinking,
            prompt_notes=self._notes[index],
            start=text.start,
            amplified=text.amplified,
            shuffled=text.shuffled,
            experiment=text.experiment,
            carrier=text.carrier,
        )

    def _grew(self, pieces: dict[int, str]) -> None:
        for index, piece in pieces.items():
            text_id = self.ids[index]
            self._pending[text_id] = self._pending.get(text_id, "") + piece
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_PIECES:
            self._flush()
            self._last = now

    def _flush(self) -> None:
        if self._pending:
            self._context.record(TextGrew(pieces=self._pending))
            self._pending = {}

    def _finished(self, index: int, text: GeneratedText) -> None:
        self._pending = {}  # the finished text holds all of it
        self._context.record(
            TextFinished(
                text_id=self.ids[index],
                text=text.text,
                token_ids=text.token_ids,
                ended=text.ended,
            )
        )


def generate_steered(
    context: Context,
    plan: GenerationPlan,
    prompts: Sequence[Prompt],
    wanted: Sequence[Sample],
    vector: SteeringVector,
    batch_size: int,
    thinking: Thinking = "auto",
) -> list[tuple[str, GeneratedText]]:
    """Generate and record steered texts; return (text id, text) of each. Raises ``Stopped``."""
    announced = [
        AnnouncedText(
            side=plan.side,
            alpha=chosen.alpha,
            seed=chosen.seed,
            prompt=prompts[chosen.prompt_index],
            raw=None,
            prompt_index=chosen.prompt_index,
        )
        for chosen in wanted
    ]
    requests = steering_requests(context.pair, plan.side, prompts, wanted, vector, thinking)
    return generate_texts(context, "steer", plan, vector, announced, requests, batch_size, thinking)


def generate_texts(
    context: Context,
    purpose: TextPurpose,
    plan: GenerationPlan,
    vector: SteeringVector | None,
    announced: Sequence[AnnouncedText],
    requests: Sequence[GenerationRequest],
    batch_size: int,
    thinking: Thinking = "auto",
    *,
    n_before: int = 0,
    n_after: int = 0,
) -> list[tuple[str, GeneratedText]]:
    """Generate and record texts; return (text id, text) of each request. Raises ``Stopped``.

    ``n_before`` and ``n_after`` count texts of the same stage that other calls generate.
    """
    notes = [request.notes for request in requests]
    recorder = _Recorder(context, purpose, plan, vector, announced, notes, thinking)
    stage = "steer" if purpose == "steer" else f"{purpose} {plan.side}"
    n_all = n_before + len(requests) + n_after
    # The first batch takes a while, in which the stage before it, with all of its texts, is over.
    context.progress(stage, n_before, n_all)
    texts = sample(
        context.pair,
        plan,
        requests,
        batch_size=batch_size,
        listener=recorder.listener(),
        progress=lambda done, _: context.progress(stage, n_before + done, n_all),
        should_stop=context.should_stop,
    )
    if context.should_stop():
        raise Stopped(f"stopped with {len(texts)} of {len(requests)} texts begun")
    return list(zip(recorder.ids, texts, strict=True))


def chosen_prompts(
    given: Sequence[str], prompt_file: str | None, n_prompts: int | None
) -> Sequence[Prompt]:
    """Return the first ``n_prompts`` of the given prompts, of a file, or of the everyday ones."""
    if given:
        prompts: Sequence[Prompt] = [Prompt.of(text) for text in given]
    elif prompt_file:
        prompts = load_prompts(Path(prompt_file))
    else:
        prompts = everyday_prompts()
    return prompts[:n_prompts]


def steering_vector(
    context: Context, layer: int, position: str, source: str, seed: int
) -> SteeringVector:
    """Return the measured difference, or a null of its norm.

    Raises ``SiteError`` without one, and for a difference of zero.
    """
    difference = measured_at(context, layer, position)
    site = Site(layer, position)
    if source == "difference":
        return SteeringVector.at(difference, site)
    null = null_vector(difference, site, source, seed)
    if null is None:
        raise SiteError(
            "a difference over one text has no split-half null", "Measure over at least two texts."
        )
    return SteeringVector.of(difference, site, null, source)


def measured_at(context: Context, layer: int, position: str) -> ActivationDifference:
    """Return the session's newest difference at a layer and position.

    Raises ``SiteError`` if it was not measured, ``NotAvailable`` where it means nothing.
    """
    require(context.pair.provenance, DIFFERENCE)
    _, difference = context.session.require_difference(layer)
    there = (*difference.positions, POOLED)
    if position not in there:
        raise no_position(position, there)
    return difference


def no_position(position: str, there: Sequence[str]) -> SiteError:
    """Return the error of a position that is not among those measured."""
    return SiteError(f"position {position!r} was not measured", f"Use one of: {', '.join(there)}.")
