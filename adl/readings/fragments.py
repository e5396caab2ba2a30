"""Fragments: the rest of the word that a token of a list begins.

A list holds tokens, and the telling ones are often rare words in pieces: ``marz`` says little where
``marz·ipan`` says all. After the beginnings of some unrelated texts and the fragment, the likeliest
next token is taken as long as it goes on with the word and has at least ``LEAST`` of the probability,
in the mean over the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adl.callbacks import ShouldStop, never_stop
from adl.errors import Stopped
from adl.pair.protocol import ModelPair
from adl.records import Side
from adl.text.words import is_letter

#: Probability below which a token is no sure continuation.
LEAST = 0.5
#: Tokens after which a word is cut.
LONGEST = 6
#: Texts, and tokens of each, that stand before a fragment.
TEXTS, TEXT_TOKENS = 3, 4
# Rows of [rows, vocabulary] that are held at a time: one for each text, of so many fragments.
_FRAGMENTS = 8


def completed(
    pair: ModelPair,
    side: Side,
    token_ids: Sequence[int],
    before: Sequence[str],
    *,
    should_stop: ShouldStop = never_stop,
) -> dict[int, str]:
    """Return the rest of the word by token id, as ``side`` writes it; whole words have none.

    ``before`` are unrelated texts, of which the first tokens are put before each fragment. Raises
    ``Stopped``, and what ``next_log_probs`` raises.
    """
    bos = pair.bos(side)
    contexts = [bos.begun(pair.tokenise(side, text)[:TEXT_TOKENS]) for text in before[:TEXTS]] or [
        bos.begun([])
    ]
    texts = pair.token_texts(side)
    words = {index: [index] for index in token_ids if is_letter(texts[index][-1:])}
    growing = list(words)
    for _step in range(LONGEST):
        grown = []
        for first in range(0, len(growing), _FRAGMENTS):
            if should_stop():
                raise Stopped("stopped while completing fragments")
            some = growing[first : first + _FRAGMENTS]
            prompts = [(*context, *words[index]) for index in some for context in contexts]
            rows = np.exp(pair.next_log_probs(side, prompts))
            means = rows.reshape(len(some), len(contexts), -1).mean(axis=1)
            for index, mean in zip(some, means, strict=True):
                likeliest = int(np.argmax(mean))
                if mean[likeliest] >= LEAST and is_letter(texts[likeliest][:1]):
                    words[index].append(likeliest)
                    grown.append(index)
        growing = grown
    rests = {index: "".join(texts[each] for each in ids[1:]) for index, ids in words.items()}
    return {index: rest for index, rest in rests.items() if rest}
