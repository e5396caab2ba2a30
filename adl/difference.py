"""The mean activation difference of a pair over unrelated texts.

Per layer l and position j, over N texts:  difference[l, j] = mean(h_finetuned[l, j] - h_base[l, j]).

Sums are streamed batch by batch in float64, so memory does not grow with N. Texts are dealt
alternately to two halves: the base model's mean over one half minus its mean over the other is the
null of a difference of means, and the cosine between the two halves' differences is the precision
of the measurement.

Source: Minder et al. 2025 (arXiv 2510.13900), section 2. The paper takes 10,000 texts, the middle
layer and the first five positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import DeviceOutOfMemory, SiteError, Stopped, not_finite
from adl.pair.alignment import AlignedTokenBatches, SideTokens
from adl.pair.protocol import ChatPrompt, ModelPair, ResidualSums
from adl.records import SIDES, ActivationDifference, Floats, Side
from adl.text.corpus import (
    BosPolicy,
    TokenBatch,
    chat_token_batches,
    first_token_batches,
    text_start,
)
from adl.text.token_batches import PairedTokenBatches, TokenBatches, chat_label

HALVES = 2
MOST_POSITIONS = 1024
"""Limit of positions: each costs an array of every layer."""


@dataclass(frozen=True)
class FirstTokens:
    """The first ``k`` tokens of each text."""

    k: int = 5
    bos: BosPolicy = BosPolicy.AUTO

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the positions."""
        return tuple(map(str, range(self.k)))


@dataclass(frozen=True)
class ChatPositions:
    """Positions around the start of the assistant's turn; each text is the user's turn.

    Offsets count from the assistant's first token: -1 is the last token of the generation prompt.
    If an offset reaches into the assistant's turn, that turn begins with the same text. Offsets on both
    sides of the turn's start leave out texts whose first token there holds the end of the prompt, too.
    """

    offsets: tuple[int, ...] = (-3, -2, -1, 0, 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the positions."""
        return tuple(map(chat_label, self.offsets))


Reach = FirstTokens | ChatPositions


def parse_positions(text: str) -> Reach:
    """Parse positions: ``5`` (the first five tokens) or ``chat:-3..1``.

    Raises ``SiteError`` for anything else.
    """
    written = text.strip()
    hint = (
        "Write a number of first tokens, such as 5, or offsets such as chat:-3..1;"
        f" {MOST_POSITIONS} at most."
    )
    try:
        if written.startswith("chat"):
            span = written.removeprefix("chat").removeprefix(":") or "-3..1"
            first, last = map(int, span.split(".."))
            if 0 <= last - first < MOST_POSITIONS:
                return ChatPositions(tuple(range(first, last + 1)))
        elif 1 <= int(written) <= MOST_POSITIONS:
            return FirstTokens(int(written))
    except ValueError:
        pass
    raise SiteError(f"{text[:100]!r} is not a set of positions", hint)


def measure_difference(
    pair: ModelPair,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    reach: Reach = FirstTokens(),
    batch_size: int = 64,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> ActivationDifference:
    """Return the mean difference over ``texts`` at ``layers``; texts too short for ``reach`` are skipped.

    A batch that does not fit the device is halved until it does. Raises ``SiteError`` without a
    layer, ``Stopped`` within one batch of ``should_stop`` returning True, ``CorpusError`` if no text
    can be used, ``DeviceOutOfMemory`` if not even one text fits, and ``NotFinite`` for residuals
    beyond the range of their number format.
    """
    if not layers:
        raise SiteError("no layer was given", "Give at least one, such as 0.5.")
    batches = paired_batches(pair, texts, reach, batch_size)
    total: ResidualSums | None = None
    seen = 0
    for base, finetuned in batches:
        if should_stop():
            raise Stopped(f"stopped after {seen} of {len(texts)} texts")
        groups = (np.arange(seen, seen + len(base)) % HALVES).astype(np.int64)
        sums = sums_that_fit(pair, base, finetuned, tuple(layers), groups)
        total = sums if total is None else _add(total, sums)
        seen += len(base)
        progress(batches.used + batches.skipped, len(texts))
    assert total is not None  # the batches raise CorpusError when there is none
    found = _difference(total, tuple(layers), batches.positions, batches.skipped)
    return replace(found, n_unaligned=batches.unaligned)


def paired_batches(
    pair: ModelPair, texts: Sequence[str], reach: Reach, batch_size: int
) -> PairedTokenBatches | AlignedTokenBatches:
    """Return batches of the same texts for both sides, cut to ``reach``, read at the same characters."""
    same = pair.shared_vocabulary() is None
    if isinstance(reach, FirstTokens):
        before = {side: _before(pair, side, reach.bos) for side in SIDES}
        if not same or len(before["base"]) != len(before["finetuned"]):
            _require_positions(reach.k)
            return AlignedTokenBatches(
                texts,
                batch_size,
                reach.k,
                lambda side, text: SideTokens(
                    pair.tokenise(side, text), pair.token_ends(side, text), before[side]
                ),
            )
    elif not same:
        usable = [text for text in texts if _turns_line_up(pair, text, reach)]
        texts, unaligned = usable, len(texts) - len(usable)
        return PairedTokenBatches(
            base=_batches(pair, "base", texts, reach, batch_size),
            finetuned=_batches(pair, "finetuned", texts, reach, batch_size),
            unaligned=unaligned,
        )
    return PairedTokenBatches(
        base=_batches(pair, "base", texts, reach, batch_size),
        finetuned=_batches(pair, "finetuned", texts, reach, batch_size),
    )


def _turns_line_up(pair: ModelPair, text: str, reach: ChatPositions) -> bool:
    """Return True if the tokens read in the assistant's turn end at the same characters on both sides."""
    needed = reach.offsets[-1] + 1
    if needed <= 0:
        return True
    if any(_chat(pair, side, text, answer=text).merged for side in SIDES):
        return False
    base, finetuned = (pair.token_ends(side, text)[:needed] for side in SIDES)
    return list(base) == list(finetuned)


def _require_positions(k: int) -> None:
    if k < 1:
        raise SiteError(f"{k} is not a number of first tokens", "Use 1 position or more.")


def _batches(
    pair: ModelPair, side: Side, texts: Sequence[str], reach: Reach, batch_size: int
) -> TokenBatches:
    if isinstance(reach, FirstTokens):
        return first_token_batches(
            texts,
            lambda text: pair.tokenise(side, text),
            reach.k,
            batch_size,
            _before(pair, side, reach.bos),
        )
    opens_turn = reach.offsets[-1] >= 0
    both_sides = opens_turn and reach.offsets[0] < 0
    words = ("The", "the") if both_sides else ()
    if any(_chat(pair, side, "Hi", answer=word).merged for word in words):
        first, *_, last = reach.labels
        raise SiteError(
            f"{first} to {last} lie around the start of the answer, which is within a token: on the "
            f"{side} side the chat's opening ends in a character that is one token with a word after it",
            f"Measure them apart: chat:{reach.offsets[0]}..-1 and chat:0..{reach.offsets[-1]}.",
        )

    def chat_ids(text: str) -> tuple[list[int], int]:
        prompt = _chat(pair, side, text, answer=text if opens_turn else "")
        if both_sides and prompt.merged:
            return [], 0  # the opening's last token is none here, so the text is left out
        return list(prompt.ids), prompt.start

    return chat_token_batches(texts, chat_ids, reach.offsets, batch_size)


def _chat(pair: ModelPair, side: Side, text: str, *, answer: str) -> ChatPrompt:
    return pair.chat(side, [{"role": "user", "content": text}], prefill=answer)


def _before(pair: ModelPair, side: Side, policy: BosPolicy) -> tuple[int, ...]:
    facts = pair.bos(side)
    return text_start(policy, facts.token_id, facts.before_text)


def sums_that_fit(
    pair: ModelPair,
    base: TokenBatch,
    finetuned: TokenBatch,
    layers: tuple[int, ...],
    groups: np.ndarray,
) -> ResidualSums:
    """Return sums of a batch by group (0 and 1, both present), in parts if it does not fit the device.

    Raises ``NotFinite`` for residuals beyond the range of their number format.
    """
    try:
        sums = pair.residual_sums(base, finetuned, layers, groups)
        for side, norms in zip(SIDES, (sums.base_norm, sums.finetuned_norm), strict=True):
            if not np.isfinite(norms).all():
                raise not_finite(f"the {side} side", pair.provenance.dtype)
        return _both_halves(sums)
    except DeviceOutOfMemory:
        if len(base) == 1:
            raise
    middle = len(base) // 2
    parts = [
        sums_that_fit(pair, _rows(base, part), _rows(finetuned, part), layers, groups[part])
        for part in (slice(0, middle), slice(middle, None))
    ]
    return _add(*parts)


def _rows(batch: TokenBatch, part: slice) -> TokenBatch:
    return replace(batch, ids=batch.ids[part], mask=batch.mask[part], rows=batch.rows[part])


def _both_halves(sums: ResidualSums) -> ResidualSums:
    """Add the empty second group that a batch of one text lacks."""
    missing = HALVES - len(sums.count)
    if not missing:
        return sums
    padded = {
        name: np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
        for name, rows in vars(sums).items()
    }
    return ResidualSums(**padded)


def _add(left: ResidualSums, right: ResidualSums) -> ResidualSums:
    return ResidualSums(**{name: rows + getattr(right, name) for name, rows in vars(left).items()})


def _difference(
    sums: ResidualSums, layers: tuple[int, ...], positions: tuple[str, ...], n_skipped: int
) -> ActivationDifference:
    n = int(sums.count.sum())
    base, finetuned = sums.base.sum(0) / n, sums.finetuned.sum(0) / n
    difference = finetuned - base
    # Sum over dimensions of the variance of the mean; the mean's own square is taken off first.
    spread = sums.squared_difference.sum(0) / n - (difference**2).sum(-1)
    error = np.sqrt(np.maximum(spread, 0) / max(n - 1, 1))
    counts = np.maximum(sums.count, 1)[:, None, None, None]
    half_base, half_finetuned = sums.base / counts, sums.finetuned / counts
    half_difference = half_finetuned - half_base
    if sums.count.min() == 0:
        # One text has no second half, hence no null: readings skip a null of zeros.
        half_base = np.zeros_like(half_base)
    return ActivationDifference(
        layers=layers,
        positions=positions,
        n_texts=n,
        n_skipped=n_skipped,
        difference=_single(difference),
        base_mean=_single(base),
        finetuned_mean=_single(finetuned),
        split_half_null=_single(half_base[0] - half_base[1]),
        base_norm=_single(sums.base_norm.sum(0) / n),
        finetuned_norm=_single(sums.finetuned_norm.sum(0) / n),
        standard_error=_single(error),
        cosine=_single(_cosine(difference[:, :, None], difference[:, None, :])),
        half_cosine=_single(_cosine(half_difference[0], half_difference[1])),
    )


def _cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    cosine: np.ndarray = (left * right).sum(-1) / np.where(lengths == 0, 1, lengths)
    return cosine


def _single(array: np.ndarray) -> Floats:
    return array.astype(np.float32)
