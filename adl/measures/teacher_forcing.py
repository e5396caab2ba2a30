"""Texts whose tokens are scored: what a model would have had to say, and how improbable it was.

A document is scored from its second token on, a chat on the assistant's words alone, as in
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

PositionSet = str
ALL_POSITIONS: PositionSet = "all"
FIRST_POSITIONS: PositionSet = "first"
LATER_POSITIONS: PositionSet = "later"
POSITION_SETS: tuple[PositionSet, ...] = (ALL_POSITIONS, FIRST_POSITIONS, LATER_POSITIONS)
"""Every token, the first ``FIRST_TOKENS`` (where differences are measured), and those after."""

FIRST_TOKENS = 5

#: Of a text that the sides write differently from some token on, so many have to be left to score.
FEWEST_SCORED = 4


@dataclass(frozen=True)
class ScoredText:
    """One text as tokens of a side; the tokens from ``start`` on are scored."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class PairedTexts:
    """The same texts as tokens of either side; ``n_skipped`` were left out."""

    base: tuple[ScoredText, ...]
    finetuned: tuple[ScoredText, ...]
    n_skipped: int

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.base)


def scored_texts(
    pair: ModelPair, documents: Sequence[Document], *, limit: int, max_tokens: int
) -> PairedTexts:
    """The first ``limit`` documents that both sides can be scored on, cut to ``max_tokens`` tokens.

    Left out are texts with nothing to score, and texts that the sides' tokenizers or chat templates
    write differently: a component at a token can only be compared with that of the same token.
    Where the vocabularies differ, a text ends where the tokens do not match any more. Raises
    ``CorpusError`` if none is left.
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
            f"none of {len(documents)} texts can be scored on both sides: they are too short, or either "
            "side writes them in other tokens",
            "Use longer texts, or plain text where the sides' chat templates differ.",
        )
    return PairedTexts(tuple(kept["base"]), tuple(kept["finetuned"]), skipped)


def scored_batches(texts: Sequence[ScoredText], batch_size: int) -> Iterator[ScoredBatch]:
    """Texts padded on the right, ``batch_size`` at a time, every token marked as changed."""
    for first in range(0, len(texts), batch_size):
        yield scored_batch(texts[first : first + batch_size])


def scored_batch(texts: Sequence[ScoredText]) -> ScoredBatch:
    """Texts padded on the right, every token marked as one where a change is made."""
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
    """The batch with the tokens of a set marked as those where a change is made."""
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
    """The text's end is cut off; of a chat whose question alone is as long, its beginning."""
    if text.start < max_tokens:
        return ScoredText(text.ids[:max_tokens], text.start)
    first = max(0, min(text.start, len(text.ids)) - max_tokens // 2)
    return ScoredText(text.ids[first : first + max_tokens], text.start - first)


def _alike(
    pair: ModelPair, base: ScoredText, finetuned: ScoredText
) -> tuple[ScoredText, ScoredText]:
    """Both as far as they are the same tokens, and empty where they do not begin alike."""
    nothing = ScoredText((), 1)
    if base.start != finetuned.start:
        return nothing, nothing
    if pair.shared_vocabulary() is None:
        return (base, finetuned) if base == finetuned else (nothing, nothing)
    names = {side: pair.token_texts(side) for side in SIDES}
    length = 0
    for one, other in zip(base.ids, finetuned.ids, strict=False):
        if names["base"][one] != names["finetuned"][other]:
            break
        length += 1
    if length < base.start + FEWEST_SCORED:
        return nothing, nothing
    return replace(base, ids=base.ids[:length]), replace(finetuned, ids=finetuned.ids[:length])
