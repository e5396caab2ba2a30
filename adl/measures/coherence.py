"""Coherence of steered texts, judged by features of the text and, optionally, by an LLM.

By features: a text is compared with unsteered texts of the same model to the same prompts. It is
coherent if it is hardly less probable to the unsteered model, repeats words hardly more, and has
words at all. Each limit is a quantile of the unsteered texts and a margin, so that it means the same
for every model: nearly all unsteered texts pass.

    surprise    mean -log p of the text by itself under the unsteered model   95th percentile + 1 sd
    repetition  share of words that occurred before                           95th percentile + 0.05
    brevity     words of a text that the model itself ended                half the 5th percentile

The text is scored without its prompt: steering changes the topic of a text, which is improbable
after the prompt but not incoherent. A text in a loop becomes more probable, not less: repetition
finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import CorpusError, Stopped
from adl.measures.teacher_forcing import ScoredText, scored_batches
from adl.pair.protocol import ModelPair
from adl.records import EndReason, GeneratedText, Side
from adl.text.words import words_of

SURPRISE_SDS = 1.0
REPETITION_MARGIN = 0.05
FEWEST_CALIBRATING = 5


@dataclass(frozen=True)
class JudgedText:
    """The input of an LLM judge: prompt and text, both raw and untrusted."""

    prompt: str
    text: str


CoherenceJudge = Callable[[Sequence[JudgedText]], Sequence[bool | None]]
"""Returns True for each coherent text; None if the judge gave no readable verdict."""


@dataclass(frozen=True)
class TextFeatures:
    """Features of a text for the judge without an LLM.

    ``surprise`` is in nats per token, None for a text too short to have one; ``repetition`` is a share
    of its words, ``words`` their number.
    """

    surprise: float | None
    repetition: float
    words: int
    ended: EndReason


@dataclass(frozen=True)
class CoherenceLimits:
    """Limits calibrated on ``n_texts`` unsteered texts."""

    surprise: float
    repetition: float
    words: float
    n_texts: int


@dataclass(frozen=True)
class Coherence:
    """A verdict; ``faults`` lists the limits broken: surprise, repetition, brevity."""

    coherent: bool
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges on the ``n`` texts that both judged.

    ``share`` is the share of equal verdicts and ``kappa`` Cohen's kappa, None if a judge always gives
    the same verdict: chance would then agree as often.
    """

    n: int
    share: float | None
    kappa: float | None


def text_features(
    pair: ModelPair,
    side: Side,
    texts: Sequence[GeneratedText],
    *,
    batch_size: int = 16,
    should_stop: ShouldStop = never_stop,
) -> list[TextFeatures]:
    """Return features of generated texts, each tokenised as plain text.

    The surprise is that of ``side`` unsteered, whatever the steering of the text. Raises ``Stopped``
    within one batch.
    """
    prefix = pair.bos(side).before_text
    start = max(1, len(prefix))
    rows = {index: (*prefix, *text.token_ids) for index, text in enumerate(texts)}
    scorable = [index for index, row in rows.items() if len(row) > start]
    scored = [ScoredText(rows[index], start) for index in scorable]
    losses: list[float] = []
    for batch in scored_batches(scored, batch_size):
        if should_stop():
            raise Stopped("stopped while judging texts")
        losses += [float(loss) for loss in pair.token_losses(side, batch)]
    surprise = {
        index: loss / (len(rows[index]) - start)
        for index, loss in zip(scorable, losses, strict=True)
    }
    return [
        TextFeatures(
            surprise=surprise.get(index),
            repetition=repetition(text.text),
            words=len(words_of(text.text)),
            ended=text.ended,
        )
        for index, text in enumerate(texts)
    ]


def calibrate(unsteered: Sequence[TextFeatures]) -> CoherenceLimits:
    """Return limits that nearly all unsteered texts keep.

    Raises ``CorpusError`` for fewer than five: their quantiles would be single texts.
    """
    surprises = [text.surprise for text in unsteered if text.surprise is not None]
    if len(surprises) < FEWEST_CALIBRATING:
        raise CorpusError(
            f"{len(surprises)} unsteered texts are too few to calibrate coherence on",
            f"Use more prompts or samples: at least {FEWEST_CALIBRATING} texts.",
        )
    return CoherenceLimits(
        surprise=float(np.percentile(surprises, 95) + SURPRISE_SDS * np.std(surprises)),
        repetition=float(
            np.percentile([text.repetition for text in unsteered], 95) + REPETITION_MARGIN
        ),
        words=float(np.percentile([text.words for text in unsteered], 5) / 2),
        n_texts=len(unsteered),
    )


def judge(features: TextFeatures, limits: CoherenceLimits) -> Coherence:
    """Return the verdict on one text."""
    faults = []
    if features.surprise is not None and features.surprise > limits.surprise:
        faults.append("surprise")
    if features.repetition > limits.repetition:
        faults.append("repetition")
    # A text that was cut off by its length limit is not brief: only an early end counts.
    if features.words == 0 or (features.ended == "end_of_text" and features.words < limits.words):
        faults.append("brevity")
    return Coherence(not faults, tuple(faults))


def agreement(left: Sequence[bool | None], right: Sequence[bool | None]) -> Agreement:
    """Return the agreement of two judges; texts without both verdicts are left out."""
    both = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    if not both:
        return Agreement(0, None, None)
    share = sum(a == b for a, b in both) / len(both)
    first, second = (sum(pair[judge] for pair in both) / len(both) for judge in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    kappa = None if chance > 1 - 1e-12 else (share - chance) / (1 - chance)
    return Agreement(len(both), share, kappa)


def repetition(text: str) -> float:
    """Return the share of words that occurred before in the same text; 0 for a text without words."""
    words = words_of(text)
    return 1 - len(set(words)) / len(words) if words else 0.0
