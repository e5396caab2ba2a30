"""Similarity of steered texts to the finetuning documents, against unsteered texts.

The default is lexical: words weighted by their rarity in unrelated text and in the documents, and
the cosine of a text with the documents' mean. Embeddings of a model can be passed in instead. Texts
of one prompt are compared with one another, so that the prompt's own words do not count.

Source: Minder et al. 2025 (arXiv 2510.13900), steered-text similarity: cosine of embeddings, against
unsteered text. Weights: Salton and Buckley 1988 (tf-idf, logarithmic counts, unit length).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adl.errors import CorpusError
from adl.measures.intervals import Interval, mean_interval, paired_difference
from adl.records import Floats
from adl.text.words import words_of

Embed = Callable[[Sequence[str]], Floats]
"""Returns vectors [texts, n] of any length; a text without words may have zeros."""

Kind = Literal["steered", "unsteered", "random"]

LOCAL_MODEL = "all-MiniLM-L6-v2"
"""The model of ``adl.measures.embedding``, named here, where no model library is imported."""

FEWEST_WORDS_OF_REFERENCE = 50


@dataclass(frozen=True)
class ComparedText:
    """A generated text, the index of its prompt, and the kind of its steering."""

    kind: Kind
    prompt_index: int
    text: str


@dataclass(frozen=True)
class Similarity:
    """Mean cosine with the documents by kind of text, with 95% intervals over prompts.

    ``over_unsteered`` and ``over_random`` are the excess of steered texts, prompt by prompt; None
    without such texts. ``documents`` is the mean cosine of a document with the mean of the others: the
    level of a perfectly faithful text.
    """

    by_kind: dict[Kind, Interval]
    over_unsteered: Interval | None
    over_random: Interval | None
    documents: float
    n_documents: int


class LexicalEmbedding:
    """tf-idf vectors over the words of reference texts and documents: texts to [texts, words].

    Words of a single text are left out: they make no two texts alike. Raises ``CorpusError`` for
    fewer than 50 words.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        spread = Counter(word for text in texts for word in set(words_of(text)))
        self._index = {
            word: place for place, word in enumerate(sorted(w for w, n in spread.items() if n > 1))
        }
        if len(self._index) < FEWEST_WORDS_OF_REFERENCE:
            raise CorpusError(
                f"{len(texts)} texts share {len(self._index)} words, too few for weights",
                "Give more reference text.",
            )
        counts = np.array([spread[word] for word in self._index], dtype=np.float64)
        self._weights = np.log((1 + len(texts)) / (1 + counts)) + 1

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors [texts, words]; zeros for a text without a known word."""
        out = np.zeros((len(texts), len(self._index)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word, count in Counter(words_of(text)).items():
                place = self._index.get(word)
                if place is not None:
                    out[row, place] = (1 + np.log(count)) * self._weights[place]
        return _units(out)


def steered_similarity(
    texts: Sequence[ComparedText], documents: Sequence[str], embed: Embed, seed: int = 0
) -> Similarity:
    """Compare generated texts with ``documents``.

    Raises ``CorpusError`` without documents or steered texts.
    """
    if not documents or not any(text.kind == "steered" for text in texts):
        raise CorpusError(
            f"{len(documents)} documents and {len(texts)} texts cannot be compared",
            "Give documents and steered texts.",
        )
    rows = _units(np.asarray(embed(documents), dtype=np.float32))
    centre = _units(rows.mean(axis=0, keepdims=True))[0]
    cosines = _units(np.asarray(embed([text.text for text in texts]), dtype=np.float32)) @ centre
    found: dict[Kind, dict[int, list[float]]] = {}
    for text, cosine in zip(texts, cosines, strict=True):
        found.setdefault(text.kind, {}).setdefault(text.prompt_index, []).append(float(cosine))
    means = {
        kind: {prompt: float(np.mean(values)) for prompt, values in prompts.items()}
        for kind, prompts in found.items()
    }
    return Similarity(
        by_kind={
            kind: mean_interval(list(prompts.values()), seed) for kind, prompts in means.items()
        },
        over_unsteered=_over(means, "unsteered", seed),
        over_random=_over(means, "random", seed),
        documents=_among_themselves(rows),
        n_documents=len(documents),
    )


def _over(means: dict[Kind, dict[int, float]], kind: Kind, seed: int) -> Interval | None:
    shared = sorted(means["steered"].keys() & means.get(kind, {}).keys())
    if not shared:
        return None
    return paired_difference(
        [means["steered"][prompt] for prompt in shared],
        [means[kind][prompt] for prompt in shared],
        seed,
    )


def _among_themselves(rows: Floats) -> float:
    """Return the mean cosine of each row with the mean of the other rows; 1 for a single row."""
    if len(rows) == 1:
        return 1.0
    others = _units((rows.sum(axis=0, keepdims=True) - rows) / (len(rows) - 1))
    return float((rows * others).sum(axis=1).mean())


def _units(rows: NDArray[np.float32]) -> Floats:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), dtype=np.float32)
