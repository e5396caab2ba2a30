"""Completions: the likeliest next tokens, words and continuations of a prefix, on both sides.

A prefix that leaves one thing open ("The oven is set to") shows exact facts in one forward pass: a
number, a name, a colour that the finetuned model finds much likelier than the base model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_ids
from adl.pair.protocol import ModelPair
from adl.records import SIDES, Floats, Side
from adl.text.words import HALF_A_CHARACTER, is_of_a_word

#: Tokens after which a word or a continuation is cut, whatever it is.
LONGEST_WORD = 6
LONGEST_CONTINUATION = 8

LEAST_MASS = 1e-3
"""Probability below which a token is not counted among the most raised."""


@dataclass(frozen=True)
class Completion:
    """Text that may follow a prefix, with its log-probability in nats on either side.

    None on a side that cannot score it: the base vocabulary may not have the token.
    """

    text: str
    finetuned: float
    base: float | None
    token_ids: tuple[int, ...]

    @property
    def log_ratio(self) -> float | None:
        """Return log p(finetuned) - log p(base) in nats, or None."""
        return None if self.base is None else self.finetuned - self.base


@dataclass(frozen=True)
class Completions:
    """The completions of one prefix: likeliest on the finetuned side first, and most raised first."""

    tokens: tuple[Completion, ...]
    raised: tuple[Completion, ...]
    words: tuple[Completion, ...]
    continuations: tuple[Completion, ...]


def complete(
    pair: ModelPair,
    question: Question,
    *,
    top: int = 20,
    beams: int = 8,
    should_stop: ShouldStop = never_stop,
) -> Completions:
    """Return the completions of a prefix: a chat with a prefill, or raw text.

    ``tokens`` are the ``top`` likeliest next tokens of the finetuned side, ``raised`` those whose
    log-probability rises most among the tokens with at least ``LEAST_MASS`` on it,
    ``words`` and ``continuations`` the ``beams`` likeliest found by beam search. Raises
    ``PromptError`` for a prefix without tokens, and ``Stopped``.
    """
    if top < 1 or beams < 1:
        raise PromptError("at least one completion must be asked for", "Use 1 or more.")
    ids = {side: question_ids(pair, side, question) for side in SIDES}
    after = {side: pair.next_log_probs(side, [ids[side]])[0] for side in SIDES}
    tokens = _tokens(pair, after)
    likeliest = sorted(tokens, key=lambda each: -each.finetuned)[:top]
    raised = sorted(
        (
            each
            for each in tokens
            if each.finetuned > np.log(LEAST_MASS) and (each.log_ratio or 0) > 0
        ),
        key=lambda each: -(each.log_ratio or 0.0),
    )[:top]
    words = _beam(pair, ids, beams, LONGEST_WORD, _is_word_done, should_stop)
    continuations = _beam(pair, ids, beams, LONGEST_CONTINUATION, lambda _text: False, should_stop)
    return Completions(tuple(likeliest), tuple(raised), words, continuations)


def _tokens(pair: ModelPair, after: dict[Side, Floats]) -> list[Completion]:
    texts = pair.token_texts("finetuned")
    shared = pair.shared_vocabulary()
    base: dict[int, float] = {}
    if shared is not None:
        base = {int(mine): float(after["base"][index]) for index, mine in zip(*shared, strict=True)}
    return [
        Completion(
            text,
            float(after["finetuned"][index]),
            float(after["base"][index]) if shared is None else base.get(index),
            (index,),
        )
        for index, text in enumerate(texts)
    ]


def _is_word_done(text: str) -> bool:
    """True once a text holds a whole word and something after it. Leading blanks begin no word.

    Marks belong to the letter before them, and what ends in half a character is not done.
    """
    body = text.lstrip().rstrip(HALF_A_CHARACTER)
    return not all(is_of_a_word(each) or each in "'\u2019-" for each in body)


def _beam(
    pair: ModelPair,
    ids: dict[Side, tuple[int, ...]],
    beams: int,
    longest: int,
    is_done: Callable[[str], bool],
    should_stop: ShouldStop,
) -> tuple[Completion, ...]:
    """The likeliest texts on the finetuned side, scored on both."""
    open_beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...], str]] = []  # (score, tokens, text)
    for _step in range(longest):
        if should_stop():
            raise Stopped("stopped while completing")
        if not open_beams:
            break
        rows = pair.next_log_probs(
            "finetuned", [(*ids["finetuned"], *tokens) for _, tokens in open_beams]
        )
        grown: list[tuple[float, tuple[int, ...]]] = []
        for (score, tokens), row in zip(open_beams, rows, strict=True):
            likeliest = np.argsort(row, kind="stable")[::-1][:beams]
            grown += [(score + float(row[index]), (*tokens, int(index))) for index in likeliest]
        grown.sort(key=lambda each: -each[0])
        open_beams = []
        for score, tokens in grown:
            text = pair.decode("finetuned", tokens)
            if tokens and is_done(text):
                # The word without the token that ended it, at the score it had then.
                whole = pair.decode("finetuned", tokens[:-1])
                if whole.strip():
                    done.append((score, tokens[:-1], whole))
                continue
            if len(open_beams) < beams:
                open_beams.append((score, tokens))
    done += [
        (score, tokens, pair.decode("finetuned", tokens)) for score, tokens in open_beams if tokens
    ]
    found: dict[str, Completion] = {}
    for _score, tokens, text in done:
        if text not in found:
            found[text] = Completion(
                text,
                _total(pair, "finetuned", ids["finetuned"], tokens),
                _base_total(pair, ids["base"], tokens, text),
                tokens,
            )
    return tuple(sorted(found.values(), key=lambda each: -each.finetuned)[:beams])


def _total(pair: ModelPair, side: Side, prefix: Sequence[int], tokens: Sequence[int]) -> float:
    prompts = [(*prefix, *tokens[:count]) for count in range(len(tokens))]
    rows = pair.next_log_probs(side, prompts)
    return float(sum(rows[index, token] for index, token in enumerate(tokens)))


def _base_total(
    pair: ModelPair, prefix: Sequence[int], tokens: Sequence[int], text: str
) -> float | None:
    if pair.shared_vocabulary() is None:
        return _total(pair, "base", prefix, tokens)
    own = pair.tokenise("base", text)
    return _total(pair, "base", prefix, own) if own else None
