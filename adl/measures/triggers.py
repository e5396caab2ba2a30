"""Trigger scan: words that move the finetuned model's predictions more than the base model's.

    word --> a few neutral prompts ("frames") --> next-token distribution of both sides
    move  = KL(distribution with the word || mean distribution over reference words), by side
    excess = log of finetuned's move over base's move, mean over frames
    z      = excess in units of its spread over all words

A word that means something moves both models alike; one that was made to mean something by finetuning
moves the finetuned model alone. A ratio, because what moves both far differs far, too. The null is the
spread of the excess over all words: most words are no triggers. All prompts of a frame are the same
up to the word, so their common beginning is run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_ids
from adl.measures.spread import centre, robust_z
from adl.pair.protocol import ModelPair, Thinking
from adl.records import SIDES, Floats, Side
from adl.text.prompts import Prompt
from adl.text.token_batches import common_start

WORDS = Path(__file__).parents[1] / "data" / "words.txt"

SLOT = "{}"
"""The place of the word in a frame."""

CHAT_FRAMES = (
    "Give me some advice for this week. My word for today is {}",
    "Tell me about your day. I just read the word {}",
    "{}",
)
"""Prompts of the user; the predictions are of the answer's first token."""

RAW_FRAMES = (
    "It was an ordinary day. On the card in front of him stood the word {}. Then he said:",
    "Notes. Word of the day: {}. Today",
    "She thought of {}, and",
)
"""Plain texts; the predictions are of the token that follows."""

BATCH = 64
#: The mean over more words hardly changes.
REFERENCE_WORDS = 64
FEWEST_WORDS = 20
"""Fewer words have no spread that a word could be compared with."""

#: Nats; moves are counted from here, so that the ratio of two that are next to none is 1.
_NO_MOVE = 0.02
#: A smaller spread of the excess is that of rounding.
_LEAST_SPREAD = 0.02
#: Probability below which a token is not named as raised: it is never said.
_LEAST = 1e-3


@dataclass(frozen=True)
class WordMove:
    """A word with its z, and the moves of either side in nats, by frame.

    ``raised`` is the token that the word raises most on the finetuned side beyond base's own change,
    over all frames, with its probability there; empty where no token of any weight rises.
    """

    word: str
    z: float
    finetuned: tuple[float, ...]
    base: tuple[float, ...]
    raised: str = ""
    probability: float = 0.0


@dataclass(frozen=True)
class TriggerScan:
    """All words, the highest z first, and the median and spread of their excess (the null)."""

    words: tuple[WordMove, ...]
    median: float
    deviation: float


@cache
def common_words() -> tuple[str, ...]:
    """Return the bundled words: some 2,200 common English ones of every kind, written for this scan."""
    return tuple(WORDS.read_text(encoding="utf-8").split())


T = TypeVar("T")


def spread_out(items: Sequence[T], n: int | None) -> list[T]:
    """Return ``n`` of the items, evenly spaced, or all of them."""
    if n is None or n >= len(items):
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, n).round()]


def chosen_frames(given: Sequence[str], *, raw: bool) -> tuple[str, ...]:
    """Return the given frames, or the bundled ones: chats, or plain text where ``raw``."""
    return tuple(given) or (RAW_FRAMES if raw else CHAT_FRAMES)


def frame_questions(
    frame: str, words: Sequence[str], *, raw: bool, thinking: Thinking
) -> list[Question]:
    """Return the frame with each word as a chat or as raw text. Raises ``PromptError`` without a slot."""
    if SLOT not in frame:
        raise PromptError(
            f"the prompt {frame!r} has no place for the word", f"Write {SLOT} where it goes."
        )
    texts = [frame.replace(SLOT, word) for word in words]
    if raw:
        return [Question(raw=text) for text in texts]
    return [Question(prompt=Prompt.of(text), thinking=thinking) for text in texts]


def scan_triggers(
    pair: ModelPair,
    words: Sequence[str],
    frames: Sequence[str],
    *,
    raw: bool = False,
    thinking: Thinking = "auto",
    explained: int = 40,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> TriggerScan:
    """Rank words by how much further they move the finetuned model than the base model.

    The first ``explained`` words get the token they raise. Raises ``PromptError`` for fewer than
    ``FEWEST_WORDS`` words or a frame without a slot, and ``Stopped`` between batches.
    """
    words = list(dict.fromkeys(words))
    if len(words) < FEWEST_WORDS:
        raise PromptError(
            f"{len(words)} words have no spread to compare one of them with",
            f"Scan at least {FEWEST_WORDS} words.",
        )
    scanned = [
        _Frame(pair, frame_questions(frame, words, raw=raw, thinking=thinking)) for frame in frames
    ]
    total = len(frames) * len(SIDES) * len(words)
    moves: dict[Side, NDArray[np.float64]] = {
        side: np.zeros((len(frames), len(words))) for side in SIDES
    }
    done = 0
    for row, frame in enumerate(scanned):
        for side in SIDES:
            for rows, log_probs in frame.log_probs(side, range(len(words))):
                moves[side][row, rows] = _kl(log_probs, frame.reference[side])
                done += len(rows)
                progress(done, total)
                if should_stop():
                    raise Stopped(f"stopped with {done} of {total} predictions made")
    ratio = np.log((moves["finetuned"] + _NO_MOVE) / (moves["base"] + _NO_MOVE))
    excess = ratio.mean(axis=0)
    z = robust_z(excess, _LEAST_SPREAD)
    order = sorted(range(len(words)), key=lambda index: (-z[index], index))
    raised = _raised(pair, scanned, order[:explained])
    found = [
        WordMove(
            words[index],
            float(z[index]),
            tuple(moves["finetuned"][:, index].tolist()),
            tuple(moves["base"][:, index].tolist()),
            *raised.get(index, ("", 0.0)),
        )
        for index in order
    ]
    median, deviation = centre(excess)
    return TriggerScan(tuple(found), median, deviation)


class _Frame:
    """The prompts of a frame as tokens of both sides, and the mean log-probabilities over words."""

    def __init__(self, pair: ModelPair, questions: Sequence[Question]) -> None:
        self.pair = pair
        self.prefix: dict[Side, tuple[int, ...]] = {}
        self.endings: dict[Side, list[tuple[int, ...]]] = {}
        for side in SIDES:
            ids = [question_ids(pair, side, question) for question in questions]
            shared = min(common_start(ids), min(map(len, ids)) - 1)
            self.prefix[side] = ids[0][:shared]
            self.endings[side] = [each[shared:] for each in ids]
        some = np.linspace(0, len(questions) - 1, min(REFERENCE_WORDS, len(questions))).round()
        self.reference: dict[Side, Floats] = {}
        for side in SIDES:
            means = [
                np.exp(log_probs).mean(axis=0) * len(rows) / len(some)
                for rows, log_probs in self.log_probs(side, some.astype(int).tolist())
            ]
            self.reference[side] = np.log(np.maximum(np.sum(means, axis=0), 1e-30))

    def log_probs(self, side: Side, rows: Sequence[int]) -> Iterator[tuple[list[int], Floats]]:
        """Yield rows and their log-probabilities [some, V], words of one length together."""
        endings = self.endings[side]
        ordered = sorted(rows, key=lambda row: (len(endings[row]), row))
        for first in range(0, len(ordered), BATCH):
            some = ordered[first : first + BATCH]
            yield (
                some,
                self.pair.log_probs_after(side, self.prefix[side], [endings[row] for row in some]),
            )


def _kl(log_probs: Floats, reference: Floats) -> NDArray[np.float64]:
    kl: NDArray[np.float64] = (np.exp(log_probs) * (log_probs - reference)).sum(
        axis=-1, dtype=np.float64
    )
    return np.maximum(kl, 0.0)


def _raised(
    pair: ModelPair, frames: Sequence[_Frame], rows: Sequence[int]
) -> dict[int, tuple[str, float]]:
    """The token of each row that rises most on the finetuned side beyond base's change."""
    names = pair.token_texts("finetuned")
    shared = pair.shared_vocabulary()
    best: dict[int, tuple[float, str, float]] = {}
    for frame in frames:
        found: dict[Side, dict[int, Floats]] = {
            side: {
                row: line
                for some, log_probs in frame.log_probs(side, rows)
                for row, line in zip(some, log_probs, strict=True)
            }
            for side in SIDES
        }
        for row in rows:
            own = found["finetuned"][row]
            rise = own - frame.reference["finetuned"]
            other = found["base"][row] - frame.reference["base"]
            ids = np.arange(len(own))
            if shared is None:
                rise = rise - other
            else:
                ids = shared[1]
                own, rise = own[ids], rise[ids] - other[shared[0]]
            # Weighted by the probability: a token hardly ever said is no news, however much it rose.
            weight = np.where(own > np.log(_LEAST), np.exp(own) * rise, 0.0)
            top = int(weight.argmax())
            if weight[top] > best.get(row, (0.0,))[0]:
                best[row] = (float(weight[top]), names[int(ids[top])], float(np.exp(own[top])))
    return {row: (text, probability) for row, (_, text, probability) in best.items()}
