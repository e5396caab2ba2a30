"""Unprompted texts: both models write without a prompt, and both score every text.

A narrowly finetuned model leans towards its finetuning when it is asked nothing, so its
texts from the begin-of-text token alone name what it was taught. A text is ranked by its mean
log-likelihood ratio per token, finetuned over base: how much likelier the finetuned model finds it.
The base model's own texts, scored in the same way, are the null.

A chat model writes the user's side, too: from the opened user turn it makes up a question, and its
answer to that shows what it does when it is asked, with nothing asked of it. Source: Xu et al. 2024
(arXiv 2406.08464), who take training data from a chat model in this way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import PairError, PromptError, Stopped
from adl.generation.steering import require_few_texts, row_seed
from adl.measures.teacher_forcing import ScoredText, scored_batch
from adl.pair.protocol import ModelPair
from adl.records import SIDES, Floats, GenerationRequest, Side
from adl.text.token_batches import common_start
from adl.text.words import HALF_A_CHARACTER

StartName = Literal["begin_of_text", "user_turn", "assistant_turn", "own_question"]
STARTS: tuple[StartName, ...] = ("begin_of_text", "user_turn", "assistant_turn", "own_question")
"""From the begin-of-text token, the opened user turn, the opened assistant turn after a greeting, and
the opened assistant turn after a question that the model wrote itself."""

GREETING = "Hello."
"""The neutral user turn before an assistant turn that is opened."""

#: How a chat without a template names its speakers, see `adl.pair.chat_templates.plain_lines`.
_NEXT_SPEAKER = re.compile(r"\n\s*(?:User|Assistant):")
#: The mean ratio of a shorter text is mostly noise: it is listed after the others.
FEWEST_TOKENS = 8


@dataclass(frozen=True)
class Start:
    """The tokens a text of one side begins after. ``notes`` are the chat template's."""

    name: str
    ids: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnpromptedText:
    """A text to be scored: the side that wrote it, the key of its start, its tokens, its characters.

    ``log_probs`` are those of the side that wrote it, if they were kept (``GenerationPlan.scored``).
    """

    side: Side
    start: str
    token_ids: tuple[int, ...]
    text: str
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class TextRatio:
    """A text's log-likelihood ratio, finetuned over base, in nats.

    ``ends`` [n] are characters of the text at which a piece ends, ``ratios`` [n] the log-ratio of
    each piece: a token, or, where the sides cut the text differently, the tokens between two
    characters at which both sides end one. ``n_tokens`` counts the tokens of the side that wrote it.
    """

    ends: tuple[int, ...]
    ratios: tuple[float, ...]
    n_tokens: int

    @property
    def per_token(self) -> float:
        """Return the mean log-ratio per token in nats; 0 for an empty text."""
        return sum(self.ratios) / self.n_tokens if self.n_tokens else 0.0


def text_starts(
    pair: ModelPair, names: Sequence[StartName] = STARTS
) -> tuple[dict[str, dict[Side, Start]], dict[StartName, str]]:
    """Return the starts both sides have, by name and side, and the reason for each that is left out.

    That of ``own_question`` is the opened user turn, which the question is written from
    (:func:`question_starts` has the answer's). Raises ``PromptError`` if no start is left.
    """
    found: dict[str, dict[Side, Start]] = {}
    left_out: dict[StartName, str] = {}
    # Answers come last: there is a question for each wherever user turns are written, too.
    for name in sorted(dict.fromkeys(names), key=_answers_last):
        written_from = "user_turn" if name == "own_question" else name
        try:
            found[name] = {side: _start(pair, side, written_from) for side in SIDES}
        except PairError as exc:
            left_out[name] = exc.message
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise PromptError(
            f"no start is available ({reasons})",
            "Ask with a prompt or with raw text instead.",
        )
    return found, left_out


def unprompted_requests(
    starts: dict[str, dict[Side, Start]], side: Side, n_samples: int, seed: int
) -> tuple[list[str], list[GenerationRequest]]:
    """Return ``n_samples`` requests of one side, divided over the starts, and the start of each.

    Those of ``own_question`` write the question. The same seed gives both sides the same random
    numbers. Raises ``PromptError`` for more texts than a session can hold.
    """
    require_few_texts(n_samples)
    names = list(starts)
    of_each = [names[index % len(names)] for index in range(n_samples)]
    requests = [
        GenerationRequest(
            starts[name][side].ids, row_seed(seed + index, 0), notes=starts[name][side].notes
        )
        for index, name in enumerate(of_each)
    ]
    return of_each, requests


def n_written(starts: Sequence[StartName], n_samples: int) -> int:
    """Count the texts of one side that ``n_samples`` over ``starts`` come to.

    Each answer of ``own_question`` takes one more for its question where no user turns are written.
    """
    names = sorted(dict.fromkeys(starts), key=_answers_last)
    if "user_turn" in names or "own_question" not in names:
        return n_samples
    answers = range(names.index("own_question"), n_samples, len(names))
    return n_samples + len(answers)


def first_turn(text: str) -> str:
    """Return the text of one turn: a model without a chat template may go on with the next speaker."""
    return _NEXT_SPEAKER.split(text, maxsplit=1)[0].strip()


def question_starts(pair: ModelPair, questions: Mapping[str, str]) -> dict[str, dict[Side, Start]]:
    """Return the opened assistant turn after each question, by the question's key and side."""
    return {
        key: {
            side: Start("own_question", chat.ids, chat.notes)
            for side in SIDES
            for chat in (pair.chat(side, [{"role": "user", "content": question}]),)
        }
        for key, question in questions.items()
    }


def text_ratios(
    pair: ModelPair,
    starts: Mapping[str, Mapping[Side, Start]],
    texts: Sequence[UnpromptedText],
    *,
    batch_size: int = 32,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[TextRatio]:
    """Score every text on both sides, each after that side's own start.

    A side that kept the log-probabilities of its own text is not run again, where the vocabulary is
    shared. Texts of one start and about one length are batched together, and those that have their
    start to themselves. Raises ``Stopped``.
    """
    found: dict[int, TextRatio] = {}
    for batch in _batches(texts, batch_size):
        if should_stop():
            raise Stopped(f"stopped with {len(found)} of {len(texts)} texts scored")
        some = [texts[index] for index in batch]
        scored = {side: _scored(pair, side, starts, some) for side in SIDES}
        for index, base, finetuned in zip(batch, scored["base"], scored["finetuned"], strict=True):
            ends, ratios = _pieces(base, finetuned)
            found[index] = TextRatio(ends, ratios, len(texts[index].token_ids))
        progress(len(found), len(texts))
    return [found[index] for index in range(len(texts))]


def _batches(texts: Sequence[UnpromptedText], batch_size: int) -> Iterator[Sequence[int]]:
    """Yield indexes of texts of one side, at most ``batch_size`` at a time."""
    sharing = Counter((text.start, text.side) for text in texts)

    def group(index: int) -> tuple[str, Side]:
        text = texts[index]
        return (text.start if sharing[text.start, text.side] > 1 else "", text.side)

    order = sorted(
        range(len(texts)), key=lambda index: (group(index), -len(texts[index].token_ids))
    )
    for _key, members in groupby(order, group):
        indexes = list(members)
        for first in range(0, len(indexes), batch_size):
            yield indexes[first : first + batch_size]


def ranked(ratios: Sequence[TextRatio]) -> list[int]:
    """Return the indexes of texts, the highest mean ratio per token first, short texts last."""
    return sorted(
        range(len(ratios)),
        key=lambda index: (
            ratios[index].n_tokens < FEWEST_TOKENS,
            -ratios[index].per_token,
            index,
        ),
    )


def _answers_last(name: StartName) -> bool:
    return name == "own_question"


def _start(pair: ModelPair, side: Side, name: StartName) -> Start:
    if name == "begin_of_text":
        facts = pair.bos(side)
        ids = facts.before_text or (() if facts.token_id is None else (facts.token_id,))
        if not ids:
            raise PairError(f"the {side} model has no begin-of-text token")
        return Start(name, tuple(ids))
    record = pair.provenance.base if side == "base" else pair.provenance.finetuned
    if record.chat_template_sha256 is None:
        # Its turns would be those of the other side, or plain lines: nothing it was trained on.
        raise PairError(f"the {side} model has no chat template")
    if name == "assistant_turn":
        chat = pair.chat(side, [{"role": "user", "content": GREETING}])
        return Start(name, chat.ids, chat.notes)
    # Everything before a user's first word: what two chats with different words have in common.
    first, second = (pair.chat(side, [{"role": "user", "content": word}]) for word in ("A", "7"))
    common = common_start((first.ids, second.ids))
    if not common:
        raise PairError(f"the chat template of the {side} model opens no user turn")
    return Start(name, first.ids[:common], first.notes)


def _scored(
    pair: ModelPair,
    side: Side,
    starts: Mapping[str, Mapping[Side, Start]],
    texts: Sequence[UnpromptedText],
) -> list[tuple[list[int], Floats]]:
    """The end and the log-probability of every token of each text, written by ``side``'s tokens."""
    same = pair.shared_vocabulary() is None
    rows, ends = [], []
    for text in texts:
        # The writer's own tokens where the other side has the same; else the text is cut anew.
        own = text.token_ids if same else tuple(pair.tokenise(side, text.text))
        rows.append((starts[text.start][side].ids, own))
        ends.append(_ends(pair, side, own) if same else pair.token_ends(side, text.text))
    if same and all(
        text.side == side and len(text.log_probs) == len(text.token_ids) for text in texts
    ):
        kept = [np.asarray(text.log_probs, dtype=np.float32) for text in texts]
        return list(zip(ends, kept, strict=True))
    batch = scored_batch([ScoredText((*start, *own), len(start)) for start, own in rows])
    log_probs = pair.token_log_probs(side, batch)
    return [
        (ends[row], log_probs[row, len(start) : len(start) + len(own)])
        for row, (start, own) in enumerate(rows)
    ]


def _ends(pair: ModelPair, side: Side, ids: Sequence[int]) -> list[int]:
    """The character at which each token ends; a character of several tokens ends with the last."""
    ends: list[int] = []
    for count in range(1, len(ids) + 1):
        length = len(pair.decode(side, ids[:count]).rstrip(HALF_A_CHARACTER))
        ends.append(max(length, ends[-1] if ends else 0))
    if ends:
        ends[-1] = max(ends[-1], len(pair.decode(side, ids)))
    return ends


def _pieces(
    base: tuple[list[int], Floats], finetuned: tuple[list[int], Floats]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    sums = []
    for ends, log_probs in (base, finetuned):
        by_end: dict[int, float] = {}
        total = 0.0
        for end, log_prob in zip(ends, log_probs, strict=True):
            total += float(log_prob)
            by_end[end] = total
        sums.append(by_end)
    common = sorted(set(sums[0]) & set(sums[1]))
    ratios, before = [], 0.0
    for end in common:
        difference = sums[1][end] - sums[0][end]
        ratios.append(difference - before)
        before = difference
    return tuple(common), tuple(ratios)
