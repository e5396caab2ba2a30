"""Teacher forcing: given texts whose tokens are scored by a model.

A document is scored from its second token on, a chat on the assistant's turn alone, as in
finetuning. Both sides of a pair see the same tokens, or the text is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adl.errors import CorpusError
from adl.pair.protocol import ModelPair, ScoredBatch
from adl.records import SIDES, Ids, Side
from adl.text.documents import Document
from adl.text.tokens import text_at

PositionSet = str
ALL_POSITIONS: PositionSet = "all"
FIRST_POSITIONS: PositionSet = "first"
LATER_POSITIONS: PositionSet = "later"
POSITION_SETS: tuple[PositionSet, ...] = (ALL_POSITIONS, FIRST_POSITIONS, LATER_POSITIONS)
"""Every token, the first ``FIRST_TOKENS`` (where differences are measured), and those after."""

FIRST_TOKENS = 5

FEWEST_SCORED = 4
"""Tokens that must remain of a text if the sides tokenise its end differently."""


@dataclass(frozen=True)
class ScoredText:
    """One text as tokens of a side; the tokens from ``start`` on are scored."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class PairedTexts:
    """The same texts as tokens of both sides; ``n_skipped`` were left out."""

    base: tuple[ScoredText, ...]
    finetuned: tuple[ScoredText, ...]
    n_skipped: int

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.base)


def scored_texts(
    pair: ModelPair, documents: Sequence[Document], *, limit: int, max_tokens: int
) -> PairedTexts:
    """Return the first ``limit`` documents that both sides can score, cut to ``max_tokens`` tokens.

    Left out are texts without tokens to score, and texts that the sides tokenise differently:
    components can only be compared at the same token. If the vocabularies differ, a text ends at
    the first token that does not match. Raises ``CorpusError`` if none is left.
    """
    kept: dict[Side, list[ScoredText]] = {side: [] for side in SIDES}
    skipped = 0
    for document in documents:
        if len(kept["base"]) == limit:
            break
        base, finetuned = (_cut(_tokens(pair, side, document), max_tokens) for side in SIDES)
        base, finetuned = _alike(pair, base, finetuned)
        if base.start >= len(base.ids):
            skipped += 1
            continue
        kept["base"].append(base)
        kept["finetuned"].append(finetuned)
    if not kept["base"]:
        raise CorpusError(
            f"none of {len(documents)} texts can be scored on both sides: they are too short, or the sides "
            "tokenise them differently",
            "Use longer texts, or plain text where the sides' chat templates differ.",
        )
    return PairedTexts(tuple(kept["base"]), tuple(kept["finetuned"]), skipped)


def scored_batches(texts: Sequence[ScoredText], batch_size: int) -> Iterator[ScoredBatch]:
    """Yield batches of ``batch_size`` texts padded on the right, every token marked as changed."""
    for first in range(0, len(texts), batch_size):
        yield scored_batch(texts[first : first + batch_size])


def scored_batch(texts: Sequence[ScoredText]) -> ScoredBatch:
    """Return texts padded on the right, every token marked as changed."""
    shape = (len(texts), max(len(text.ids) for text in texts))
    ids: Ids = np.zeros(shape, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.bool_)
    scored = np.zeros(shape, dtype=np.bool_)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = True
        scored[row, text.start : len(text.ids)] = True
    return ScoredBatch(ids, mask, scored, mask)


def changed_at(batch: ScoredBatch, positions: PositionSet) -> ScoredBatch:
    """Return the batch with the tokens of a set of positions marked as changed."""
    columns = np.arange(batch.ids.shape[1])
    chosen: dict[PositionSet, NDArray[np.bool_]] = {
        ALL_POSITIONS: columns >= 0,
        FIRST_POSITIONS: columns < FIRST_TOKENS,
        LATER_POSITIONS: columns >= FIRST_TOKENS,
    }
    return replace(batch, changed=batch.mask & chosen[positions])


def _tokens(pair: ModelPair, side: Side, document: Document) -> ScoredText:
    if document.messages:
        turns = [{"role": role, "content": content} for role, content in document.messages]
        if turns[-1]["role"] == "assistant":
            chat = pair.chat(side, turns[:-1], prefill=turns[-1]["content"])
            return ScoredText(chat.ids, chat.start)
    facts = pair.bos(side)
    ids = facts.begun(pair.tokenise(side, document.text))
    return ScoredText(tuple(ids), max(1, len(facts.before_text)))


def _cut(text: ScoredText, max_tokens: int) -> ScoredText:
    """Cut the end of a text; of a chat with a question as long as the limit, its beginning."""
    if text.start < max_tokens:
        return ScoredText(text.ids[:max_tokens], text.start)
    first = max(0, min(text.start, len(text.ids)) - max_tokens // 2)
    return ScoredText(text.ids[first : first + max_tokens], text.start - first)


def _alike(
    pair: ModelPair, base: ScoredText, finetuned: ScoredText
) -> tuple[ScoredText, ScoredText]:
    """Cut both texts at the first token that differs; empty if too little is left to score."""
    empty = ScoredText((), 1)
    if base.start != finetuned.start:
        return empty, empty
    if pair.shared_vocabulary() is None:
        return (base, finetuned) if base == finetuned else (empty, empty)
    names = {side: pair.token_texts(side) for side in SIDES}
    length = 0
    for base_id, finetuned_id in zip(base.ids, finetuned.ids, strict=False):
        if text_at(names["base"], base_id) != text_at(names["finetuned"], finetuned_id):
            break
        length += 1
    if length < base.start + FEWEST_SCORED:
        return empty, empty
    return replace(base, ids=base.ids[:length]), replace(finetuned, ids=finetuned.ids[:length])
