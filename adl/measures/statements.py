"""Statements scored on both sides: log-probability of each against its alternatives.

    margin = log p(statement) - log of the mean p(alternatives)       per side, after a prompt
    shift  = margin on the finetuned side - margin on the base        in nats

A statement follows a text as it is, or is the answer to a question in a chat. The two texts of a
margin follow the same words, so whatever those add cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import PairError, PromptError, Stopped
from adl.measures.teacher_forcing import ScoredText, scored_batch
from adl.pair.protocol import ModelPair
from adl.records import SIDES, Side

BATCH_SIZE = 16


@dataclass(frozen=True)
class Statement:
    """A statement and its alternatives after a prompt; ``raw`` puts no chat template around it."""

    prompt: str
    text: str
    against: tuple[str, ...]
    raw: bool = False


@dataclass(frozen=True)
class Margins:
    """Log-probability of a statement less that of its alternatives, in nats, by side."""

    base: float
    finetuned: float

    @property
    def shift(self) -> float:
        """Return how far finetuning moved the margin, in nats."""
        return self.finetuned - self.base


def statement_margins(
    pair: ModelPair,
    statements: Sequence[Statement],
    *,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Margins | None]:
    """Return the margins of each statement, None for one that a side cannot write or score.

    Raises ``PromptError`` for a statement without words or alternatives, and ``Stopped``.
    """
    for statement in statements:
        if not statement.text.strip() or not any(map(str.strip, statement.against)):
            raise PromptError(
                "a statement needs words, and an alternative to be compared with",
                "Give its negation, or another value in the same words.",
            )
    found: dict[Side, list[float | None]] = {}
    for done, side in enumerate(SIDES):
        progress(done * len(statements), len(SIDES) * len(statements))
        found[side] = _side_margins(pair, side, statements, should_stop)
    progress(len(SIDES) * len(statements), len(SIDES) * len(statements))
    return [
        None if base is None or finetuned is None else Margins(base, finetuned)
        for base, finetuned in zip(found["base"], found["finetuned"], strict=True)
    ]


def _side_margins(
    pair: ModelPair,
    side: Side,
    statements: Sequence[Statement],
    should_stop: ShouldStop,
) -> list[float | None]:
    rows: list[ScoredText] = []
    places: list[list[int]] = []
    for statement in statements:
        texts = [
            _text(pair, side, statement, words) for words in (statement.text, *statement.against)
        ]
        places.append([])
        if all(text is not None for text in texts):
            places[-1] = list(range(len(rows), len(rows) + len(texts)))
            rows += [text for text in texts if text is not None]
    scores: list[float] = []
    for first in range(0, len(rows), BATCH_SIZE):
        if should_stop():
            raise Stopped("stopped while scoring statements")
        batch = scored_batch(rows[first : first + BATCH_SIZE])
        scores += (-np.asarray(pair.token_losses(side, batch), dtype=np.float64)).tolist()
    return [None if not place else _margin([scores[index] for index in place]) for place in places]


def _margin(scores: Sequence[float]) -> float:
    others = np.asarray(scores[1:])
    return float(scores[0] - (np.logaddexp.reduce(others) - np.log(len(others))))


def _text(pair: ModelPair, side: Side, statement: Statement, words: str) -> ScoredText | None:
    if statement.raw:
        facts = pair.bos(side)
        ids = facts.begun(pair.tokenise(side, statement.prompt + words))
        scored = ScoredText(tuple(ids), max(1, len(facts.before_text)))
    else:
        try:
            chat = pair.chat(side, [{"role": "user", "content": statement.prompt}], prefill=words)
        except PairError:
            return None
        scored = ScoredText(chat.ids, chat.start)
    return scored if 1 <= scored.start < len(scored.ids) else None
