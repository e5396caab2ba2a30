"""Is a steered text still coherent? Judged without a language model that reads, and with one.

Without: a text is compared with texts of the same model to the same prompts, unsteered. It is
coherent if it is hardly less probable to the unsteered model than those are, repeats words hardly
more, and has words at all. Each limit is a quantile of the unsteered texts and a margin, so it means
the same for every model: nearly all unsteered texts pass.

    surprise    mean -log p of the text by itself under the unsteered model   95th percentile + 1 sd
    repetition  share of words said before in the text                        95th percentile + 0.05
    brevity     words of a text that the model ended by itself                half the 5th percentile

The text stands by itself, without its prompt: steering changes what a text is about, which after the
prompt is improbable, but not incoherent. A text that falls into a loop becomes more probable, not
less: repetition is what finds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import CorpusError, Stopped
from adl.measures.teacher_forcing import ScoredText, scored_batches
from adl.pair.protocol import ModelPair
from adl.records import EndReason, GeneratedText, Side

SURPRISE_SDS = 1.0
REPETITION_MARGIN = 0.05
FEWEST_CALIBRATING = 5

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


@dataclass(frozen=True)
class JudgedText:
    """What an LLM judge is given: the prompt and the text, both raw and untrusted."""

    prompt: str
    text: str


CoherenceJudge = Callable[[Sequence[JudgedText]], Sequence[bool | None]]
"""Whether each text is coherent; None where the judge gave no verdict that can be read."""


@dataclass(frozen=True)
class TextFeatures:
    """What the judge without an LLM looks at.

    ``surprise`` is in nats per token, None for a text too short to have one; ``repetition`` a share of
    its words, and ``words`` how many there are.
    """

    surprise: float | None
    repetition: float
    words: int
    ended: EndReason


@dataclass(frozen=True)
class CoherenceLimits:
    """The limits that unsteered texts set; ``n_texts`` is how many they were."""

    surprise: float
    repetition: float
    words: float
    n_texts: int


@dataclass(frozen=True)
class Coherence:
    """A verdict; ``faults`` names what a text failed by: surprise, repetition, brevity."""

    coherent: bool
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on the texts that both judged.

    ``share`` is the share of equal verdicts and ``kappa`` Cohen's kappa, None where either has only
    one verdict to give: chance alone would then agree as often.
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
    """Features of generated texts, each begun as plain text is.

    The surprise is that of ``side`` unsteered, whatever the text was steered with. Raises
    ``Stopped`` within one batch.
    """
    prefix = pair.bos(side).before_text
    start = max(1, len(prefix))
    rows = {index: (*prefix, *text.token_ids) for index, text in enumerate(texts)}
    spoken = [index for index, row in rows.items() if len(row) > start]
    scored = [ScoredText(rows[index], start) for index in spoken]
    losses: list[float] = []
    for batch in scored_batches(scored, batch_size):
        if should_stop():
            raise Stopped("stopped while judging texts")
        losses += [float(loss) for loss in pair.token_losses(side, batch)]
    surprise = {
        index: loss / (len(rows[index]) - start) for index, loss in zip(spoken, losses, strict=True)
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
    """Limits that nearly all unsteered texts keep.

    Raises ``CorpusError`` for fewer than five: their quantiles would be single texts.
    """
    spoken = [one.surprise for one in unsteered if one.surprise is not None]
    if len(spoken) < FEWEST_CALIBRATING:
        raise CorpusError(
            f"{len(spoken)} unsteered texts are too few to calibrate coherence on",
            f"Use more prompts or samples: at least {FEWEST_CALIBRATING} texts.",
        )
    return CoherenceLimits(
        surprise=float(np.percentile(spoken, 95) + SURPRISE_SDS * np.std(spoken)),
        repetition=float(
            np.percentile([one.repetition for one in unsteered], 95) + REPETITION_MARGIN
        ),
        words=float(np.percentile([one.words for one in unsteered], 5) / 2),
        n_texts=len(unsteered),
    )


def judge(features: TextFeatures, limits: CoherenceLimits) -> Coherence:
    """The verdict on one text."""
    faults = []
    if features.surprise is not None and features.surprise > limits.surprise:
        faults.append("surprise")
    if features.repetition > limits.repetition:
        faults.append("repetition")
    # A text that was cut off by length is as long as it was let be: only an early end says something.
    if features.words == 0 or (features.ended == "end_of_text" and features.words < limits.words):
        faults.append("brevity")
    return Coherence(not faults, tuple(faults))


def agreement(one: Sequence[bool | None], other: Sequence[bool | None]) -> Agreement:
    """How far two judges agree; texts without a verdict of either are left out."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not both:
        return Agreement(0, None, None)
    share = sum(a == b for a, b in both) / len(both)
    first, second = (sum(pair[judge] for pair in both) / len(both) for judge in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    kappa = None if chance > 1 - 1e-12 else (share - chance) / (1 - chance)
    return Agreement(len(both), share, kappa)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [word.casefold() for word in _WORD.findall(text)]


def repetition(text: str) -> float:
    """Share of the words that were said before in the same text; 0 for a text without words."""
    words = words_of(text)
    return 1 - len(set(words)) / len(words) if words else 0.0
