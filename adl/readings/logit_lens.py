"""Logit lens: a residual vector read through the final norm and the unembedding.

Source: nostalgebraist 2020; applied to activation differences by Minder et al. 2025, who read the
difference and its negative. On small models it mostly shows the same rare tokens for every vector,
so compare its lists with those of the nulls.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adl.pair.protocol import ModelPair
from adl.readings.ranking import Vocabulary, top_tokens
from adl.readings.reading import Reader, Reading, Step
from adl.records import POOLED, SIDES, Floats, Side, TokenReadout, TokenScore


def logit_lens(
    pair: ModelPair, side: Side, vectors: Floats, vocabulary: Vocabulary, top: int
) -> list[tuple[TokenScore, ...]]:
    """Return the ``top`` most probable tokens of each of ``vectors`` [n, width], scored by log-prob."""
    lists = []
    for vector in vectors:
        row = pair.unembed(side, vector[None])[0].astype(np.float64)
        lists.append(top_tokens(row, vocabulary, top, np.exp(row)))
    return lists


def _steps(reader: Reader) -> Iterator[Step]:
    yield (LOGIT_LENS.name,), _lists(reader)


def _lists(reader: Reader) -> Iterator[TokenReadout]:
    entries = reader.vectors(negative=True)
    progress = reader.stage("logit lens")
    progress(0, len(entries))
    done = 0
    comparable = not reader.columns  # closeness is of ids of base
    for side in reversed(SIDES):
        read_here = [entry for entry in entries if reader.side_of(entry[0]) == side]
        if not read_here:
            continue
        vocabulary = Vocabulary.of(reader.pair.token_texts(side))
        vectors = np.stack([vector for _, _, vector in read_here])
        lists = logit_lens(reader.pair, side, vectors, vocabulary, reader.request.top)
        for (source, position, _), tokens in zip(read_here, lists, strict=True):
            words, struck = reader.split(
                [token for token in tokens if vocabulary.words[token.token_id]]
            )
            yield TokenReadout(
                reading=LOGIT_LENS.name,
                source=source,
                # A null has the side of the list that it stands beside; base reads it.
                side="finetuned",
                site=reader.site(position),
                tokens=words,
                words_only=True,
                unfiltered=tokens,
                statistics=reader.closeness(words) if comparable and position == POOLED else {},
                struck=struck,
            )
        done += len(read_here)
        progress(done, len(entries))


LOGIT_LENS = Reading(
    name="logit_lens",
    family="logit",
    title="Logit lens",
    label="logit",
    short="logit",
    description="the vector unembedded",
    help="the difference through the final norm and the unembedding.",
    steps=_steps,
    hides="on small models, where most vectors give the same rare tokens",
)
