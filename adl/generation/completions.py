"""Completions: the likeliest next tokens, words and continuations of a prefix, on both sides.

A prefix that leaves one thing open ("The oven is set to") shows exact facts in one forward pass: a
number, a name, a colour that the finetuned model finds much likelier than the base model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_ids
from adl.pair.protocol import ModelPair
from adl.records import SIDES, Floats, Side
from adl.text.words import HALF_A_CHARACTER, is_of_a_word

#: Tokens of the longest word, and of every continuation.
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
    """The completions of one prefix: likeliest on the finetuned side first, and most raised first.

    The log-probability of a word, of ``LONGEST_WORD`` tokens at most, is that of the whole word: of
    its tokens, and of any token after them that ends it. Without the latter "4" would be at least as
    likely as every number that begins with it. Tokens and continuations have that of their tokens.
    """

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
    words = _words(pair, ids, beams, should_stop)
    continuations = _beam(pair, ids, beams, LONGEST_CONTINUATION, should_stop)
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


def _ending(texts: Sequence[str]) -> np.ndarray:
    """Return which tokens [V] end a word that they follow; special tokens do."""
    return np.array([not text or _is_word_done(f"x{text}") for text in texts])


@dataclass(frozen=True)
class _Beam:
    """Tokens after the prefix, their text, and the log-probability of the tokens."""

    score: float
    tokens: tuple[int, ...] = ()
    text: str = ""


def _grown(
    pair: ModelPair,
    prefix: Sequence[int],
    beams: Sequence[_Beam],
    width: int,
    should_stop: ShouldStop,
) -> tuple[list[_Beam], Floats]:
    """Every beam with each of its ``width`` likeliest next tokens, the likeliest beam first.

    Also the log-probabilities [beams, V] of all next tokens. Raises ``Stopped``.
    """
    if should_stop():
        raise Stopped("stopped while completing")
    rows = pair.next_log_probs("finetuned", [(*prefix, *beam.tokens) for beam in beams])
    grown = []
    for beam, row in zip(beams, rows, strict=True):
        for index in np.argsort(row, kind="stable")[::-1][:width]:
            tokens = (*beam.tokens, int(index))
            score = beam.score + float(row[index])
            grown.append(_Beam(score, tokens, pair.decode("finetuned", tokens)))
    return sorted(grown, key=lambda each: -each.score), rows


def _beam(
    pair: ModelPair,
    ids: Mapping[Side, tuple[int, ...]],
    beams: int,
    longest: int,
    should_stop: ShouldStop,
) -> tuple[Completion, ...]:
    """The likeliest texts of ``longest`` tokens on the finetuned side, scored on both."""
    found = [_Beam(0.0)]
    for _ in range(longest):
        found = _grown(pair, ids["finetuned"], found, beams, should_stop)[0][:beams]
    by_text: dict[str, Completion] = {}
    for beam in found:
        if beam.text not in by_text:
            by_text[beam.text] = _completion(pair, ids, beam, beam.score)
    return tuple(sorted(by_text.values(), key=lambda each: -each.finetuned))


def _words(
    pair: ModelPair, ids: Mapping[Side, tuple[int, ...]], beams: int, should_stop: ShouldStop
) -> tuple[Completion, ...]:
    """The likeliest whole words on the finetuned side, scored on both."""
    ends = {side: _ending(pair.token_texts(side)) for side in SIDES}
    whole: dict[str, tuple[float, _Beam]] = {}
    begun = [_Beam(0.0)]
    for length in range(LONGEST_WORD + 1):
        grown, rows = _grown(pair, ids["finetuned"], begun, beams, should_stop)
        for beam, row in zip(begun, rows, strict=True):
            score = beam.score + _log_sum(row[ends["finetuned"]])
            known, _ = whole.get(beam.text, (-np.inf, beam))
            if beam.text.strip() and score > known:
                whole[beam.text] = score, beam
        if length == LONGEST_WORD:
            break
        begun = [beam for beam in grown if not _is_word_done(beam.text)][:beams]
        if not begun:
            break
    likeliest = sorted(whole.values(), key=lambda each: -each[0])[:beams]
    found = [_completion(pair, ids, beam, score, ends["base"]) for score, beam in likeliest]
    return tuple(sorted(found, key=lambda each: -each.finetuned))


def _completion(
    pair: ModelPair,
    ids: Mapping[Side, tuple[int, ...]],
    beam: _Beam,
    score: float,
    ends: np.ndarray | None = None,
) -> Completion:
    """The beam with its ``score`` on finetuned, and its log-probability on base.

    With ``ends``, the tokens of base [V] that end a word, that of a word that ends there.
    """
    own: Sequence[int] = beam.tokens
    if pair.shared_vocabulary() is not None:
        own = pair.tokenise("base", beam.text)
    base = None
    if own:
        n_rows = len(own) + (ends is not None)
        rows = pair.next_log_probs("base", [(*ids["base"], *own[:n]) for n in range(n_rows)])
        base = float(sum(rows[index, token] for index, token in enumerate(own)))
        if ends is not None:
            base += _log_sum(rows[-1][ends])
    return Completion(beam.text, score, base, beam.tokens)


def _log_sum(log_probs: Floats) -> float:
    """The log of a sum of probabilities, which is at most 1; minus infinity of none."""
    return float(np.logaddexp.reduce(log_probs.astype(np.float64))) if len(log_probs) else -np.inf
