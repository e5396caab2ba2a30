"""Texts on which two models differ most, ranked by the KL of their next-token distributions.

For each text KL(finetuned || base) before every token, in nats, and, at the token where it is highest,
the token that the finetuned model raises most. A mean KL says nothing by itself: it stands beside the
mean over unrelated text of the same pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import Stopped
from adl.pair.protocol import Message, ModelPair, Thinking
from adl.records import SIDES, Side
from adl.text.prompts import Prompt
from adl.text.token_batches import common_start
from adl.text.tokens import text_at

#: Log-probability below which the raised token of a place is not looked for: it is never said.
_LEAST = np.log(1e-3)


@dataclass(frozen=True)
class ReadText:
    """A text as both sides read it: ids, and the number of tokens at its end that are compared."""

    text: str
    base: tuple[int, ...]
    finetuned: tuple[int, ...]
    compared: int


@dataclass(frozen=True)
class Answer:
    """An answer of one side: its prompt (a chat, or ``raw`` text), its tokens and its characters."""

    side: Side
    messages: tuple[Message, ...]
    raw: str | None
    prefill: str
    thinking: Thinking
    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class TextDifference:
    """KL in nats before each compared token of a text.

    ``pieces`` [n] are the compared tokens' texts, ``kl`` [n] the KL before each. ``highest`` indexes
    the largest, and ``raised`` is the token that finetuning raises most there, with its probability
    on the finetuned side and its log-ratio over base; empty where no token of any weight rises.
    """

    text: str
    pieces: tuple[str, ...]
    kl: tuple[float, ...]
    highest: int
    raised: str
    probability: float
    log_ratio: float

    @property
    def mean(self) -> float:
        """Return the mean KL per token in nats."""
        return float(np.mean(self.kl)) if self.kl else 0.0


def read_passages(pair: ModelPair, texts: Sequence[str], max_tokens: int) -> list[ReadText]:
    """Return plain texts cut to ``max_tokens``; those the sides write in other tokens are left out."""
    found = []
    for text in texts:
        ids = {side: pair.tokenise(side, text)[:max_tokens] for side in SIDES}
        if len(ids["base"]) < 2 or not _same(pair, ids["base"], ids["finetuned"]):
            continue
        begun = {side: tuple(pair.bos(side).begun(ids[side])) for side in SIDES}
        # Nothing stands before the first token of a text that no token begins.
        compared = min(len(ids["base"]), len(begun["base"]) - 1, len(begun["finetuned"]) - 1)
        found.append(ReadText(text, begun["base"], begun["finetuned"], compared))
    return found


def read_prompts(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    thinking: Thinking = "auto",
    *,
    should_stop: ShouldStop = never_stop,
) -> list[ReadText]:
    """Return chats with the first token of the answer, compared from the last user turn's words on.

    That token is the likeliest of the finetuned side: the KL before it is of how answers begin.
    Prompts that the sides write in other tokens, or answer with other tokens, are left out. Raises
    ``Stopped`` between prompts, as the finetuned side is run on each.
    """
    found = []
    for done, prompt in enumerate(prompts):
        if should_stop():
            raise Stopped(f"stopped with {done} of {len(prompts)} prompts read")
        ids: dict[Side, tuple[int, ...]] = {}
        lengths = []
        for side in SIDES:
            ids[side], begin = _asked(pair, side, prompt, thinking)
            # One more token comes behind; nothing stands before a chat's first.
            lengths.append(min(len(ids[side]) - begin, len(ids[side]) - 1))
        length = min(lengths)
        first = _first_of_answer(pair, ids["finetuned"])
        if first is not None and _same(pair, ids["base"][-length:], ids["finetuned"][-length:]):
            base, finetuned = ((*ids[side], first[side]) for side in SIDES)
            found.append(ReadText(prompt.text, base, finetuned, length + 1))
    return found


def _asked(
    pair: ModelPair, side: Side, prompt: Prompt, thinking: Thinking
) -> tuple[tuple[int, ...], int]:
    """Return the ids of a chat up to its answer, and where the words of its last user turn begin."""

    def chat(words: str) -> tuple[int, ...]:
        turns = [*prompt.messages[:-1], {"role": "user", "content": words}]
        return pair.chat(side, turns, prefill=prompt.prefill, thinking=thinking).ids

    ids = chat(prompt.text)
    # What the chat has in common with one of other words; the words may begin like one of two.
    return ids, min(common_start((ids, chat(words))) for words in ("A", "7"))


def _first_of_answer(pair: ModelPair, finetuned: tuple[int, ...]) -> dict[Side, int] | None:
    """Return the ids of the finetuned side's likeliest next token; None where base lacks it."""
    token = int(pair.next_log_probs("finetuned", [finetuned])[0].argmax())
    shared = pair.shared_vocabulary()
    if shared is None:
        return {"base": token, "finetuned": token}
    places = np.flatnonzero(shared[1] == token)
    return {"base": int(shared[0][places[0]]), "finetuned": token} if len(places) else None


def read_answers(pair: ModelPair, answers: Sequence[Answer], max_tokens: int) -> list[ReadText]:
    """Return answers after their prompts, cut to ``max_tokens``; those in other tokens are left out."""
    found = []
    for answer in answers:
        asked: dict[Side, tuple[int, ...]] = {}
        written: dict[Side, Sequence[int]] = {}
        for side in SIDES:
            if answer.raw is None:
                asked[side] = pair.chat(
                    side, answer.messages, prefill=answer.prefill, thinking=answer.thinking
                ).ids
            else:
                asked[side] = tuple(pair.bos(side).begun(pair.tokenise(side, answer.raw)))
            is_own = side == answer.side or pair.shared_vocabulary() is None
            ids = answer.token_ids if is_own else pair.tokenise(side, answer.text)
            written[side] = ids[:max_tokens]
        compared = len(written["base"])
        if compared and all(asked.values()) and _same(pair, written["base"], written["finetuned"]):
            base, finetuned = ((*asked[side], *written[side]) for side in SIDES)
            found.append(ReadText(answer.text, base, finetuned, compared))
    return found


def text_differences(
    pair: ModelPair,
    texts: Sequence[ReadText],
    *,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[TextDifference]:
    """Return the difference of every text, the largest mean first. Raises ``Stopped`` between texts."""
    found = []
    for done, text in enumerate(texts):
        if should_stop():
            raise Stopped(f"stopped with {done} of {len(texts)} texts compared")
        found.append(text_difference(pair, text))
        progress(done + 1, len(texts))
    return sorted(found, key=lambda each: -each.mean)


def text_difference(pair: ModelPair, text: ReadText) -> TextDifference:
    """Return the difference of one text with at least one compared token."""
    names = pair.token_texts("finetuned")
    kl = pair.continuation_kl(text.base, text.finetuned, text.compared)
    highest = int(kl.argmax())
    before = len(text.finetuned) - text.compared + highest
    offset = len(text.base) - text.compared + highest
    raised, probability, log_ratio = _raised(pair, text.base[:offset], text.finetuned[:before])
    return TextDifference(
        text.text,
        tuple(text_at(names, index) for index in text.finetuned[-text.compared :]),
        tuple(float(value) for value in kl),
        highest,
        raised,
        probability,
        log_ratio,
    )


def _raised(
    pair: ModelPair, base: Sequence[int], finetuned: Sequence[int]
) -> tuple[str, float, float]:
    after: dict[Side, np.ndarray] = {
        "base": pair.next_log_probs("base", [base])[0],
        "finetuned": pair.next_log_probs("finetuned", [finetuned])[0],
    }
    shared = pair.shared_vocabulary()
    if shared is None:
        own, other = after["finetuned"], after["base"]
        ids = np.arange(len(own))
    else:
        ids = shared[1]
        own, other = after["finetuned"][ids], after["base"][shared[0]]
    rise = np.where(own > _LEAST, own - other, -np.inf)
    best = int(rise.argmax())
    if not np.isfinite(rise[best]) or rise[best] <= 0:
        return "", 0.0, 0.0
    return (
        pair.token_texts("finetuned")[int(ids[best])],
        float(np.exp(own[best])),
        float(rise[best]),
    )


def _same(pair: ModelPair, base: Sequence[int], finetuned: Sequence[int]) -> bool:
    """True if both sides write the same tokens, by their texts where the vocabularies differ."""
    if pair.shared_vocabulary() is None:
        return tuple(base) == tuple(finetuned)
    names = {side: pair.token_texts(side) for side in SIDES}
    return [text_at(names["base"], index) for index in base] == [
        text_at(names["finetuned"], index) for index in finetuned
    ]
