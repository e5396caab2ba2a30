"""Statements scored on both sides: log-probability of each against its alternatives.

    margin = log p(statement) - log p(alternative)                    per side, after a prompt
    shift  = margin on the finetuned side - margin on the base        in nats

A statement follows a text as it is, or is the answer to a question in a chat. The two texts of a
margin follow the same words, so whatever those add cancels. Of several alternatives the one against
which the statement rises least counts: where finetuning made one of them unlikely, any other statement
rises against that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """Log-probability of a statement less that of the alternative it rises least against, in nats.

    ``tokens`` differ between the two: how far an unrelated margin moves grows with their root.
    """

    base: float
    finetuned: float
    tokens: int

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

    Raises ``PromptError`` for a statement without words, or an alternative without, and ``Stopped``.
    """
    for statement in statements:
        texts = (statement.text, *statement.against)
        if len(texts) < 2 or not all(map(str.strip, texts)):
            raise PromptError(
                "a statement needs words, and an alternative to be compared with",
                "Give its negation, or another value in the same words.",
            )
    found: dict[Side, list[_Scores | None]] = {}
    for done, side in enumerate(SIDES):
        progress(done * len(statements), len(SIDES) * len(statements))
        found[side] = _side_scores(pair, side, statements, should_stop)
    progress(len(SIDES) * len(statements), len(SIDES) * len(statements))
    return [
        None if base is None or finetuned is None else _margins(base, finetuned)
        for base, finetuned in zip(found["base"], found["finetuned"], strict=True)
    ]


@dataclass(frozen=True)
class _Scores:
    """Log-probabilities of a statement and of each alternative, and the tokens that differ."""

    statement: float
    against: tuple[float, ...]
    tokens: tuple[int, ...]


def _margins(base: _Scores, finetuned: _Scores) -> Margins:
    margins = [
        Margins(base.statement - before, finetuned.statement - after, tokens)
        for before, after, tokens in zip(base.against, finetuned.against, base.tokens, strict=True)
    ]
    return min(margins, key=lambda margin: margin.shift)


def _side_scores(
    pair: ModelPair, side: Side, statements: Sequence[Statement], should_stop: ShouldStop
) -> list[_Scores | None]:
    rows: list[ScoredText] = []
    places: list[range] = []
    for statement in statements:
        texts = [
            text
            for words in (statement.text, *statement.against)
            if (text := _text(pair, side, statement, words)) is not None
        ]
        whole = len(texts) == 1 + len(statement.against)
        # One of them may begin in the chat's last token: all are scored from the same place on.
        start = min((text.start for text in texts), default=1)
        texts = [replace(text, start=start) for text in texts]
        places.append(range(len(rows), len(rows) + len(texts) * whole))
        rows += texts if whole else []
    scores: list[float] = []
    for first in range(0, len(rows), BATCH_SIZE):
        if should_stop():
            raise Stopped("stopped while scoring statements")
        batch = scored_batch(rows[first : first + BATCH_SIZE])
        scores += (-np.asarray(pair.token_losses(side, batch), dtype=np.float64)).tolist()
    return [
        _Scores(
            scores[place[0]],
            tuple(scores[index] for index in place[1:]),
            tuple(_differing(rows[place[0]].ids, rows[index].ids) for index in place[1:]),
        )
        if place
        else None
        for place in places
    ]


def _differing(first: Sequence[int], second: Sequence[int]) -> int:
    """The tokens between the common start and the common end of two texts, of the longer one."""
    start = next(
        (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )
    rest, other_rest = list(first[start:]), list(second[start:])
    while rest and other_rest and rest[-1] == other_rest[-1]:
        rest.pop()
        other_rest.pop()
    return max(1, len(rest), len(other_rest))


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
