"""Token relevance: the share of a list's tokens that belong to the finetuning documents.

A token is relevant if it is one of the given words: a careful grader's, or those distinctive of the
documents against unrelated text. The null is the share of a list of random directions, or of the
models' own activations.

Source of the measure: Minder et al. 2025 (arXiv 2510.13900), token relevance, there judged by an LLM.
Source of the words' weights: log-odds ratios in standard deviations, half a mention added to every
count (Haldane 1956, Anscombe 1956).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from adl.errors import CorpusError
from adl.measures.intervals import Interval, share_difference, share_interval
from adl.records import TokenScore
from adl.text.words import has_no_spaces, is_letters, words_of

TOKENS = 20
N_WORDS = 300
FEWEST_MENTIONS = 3
# In standard deviations. Some words pass by chance: compare with the share of a random direction.
DISTINCTIVE = 1.96
# Function words: a form of text may have more of them, but they name no topic.
COMMON_SHARE = 0.03
SHORTEST = 3


@dataclass(frozen=True)
class Relevance:
    """Share of a list's first tokens that are relevant, with its 95% interval over tokens.

    ``relevant`` names them, in the list's order; raw and untrusted.
    """

    share: Interval
    relevant: tuple[str, ...]


def distinctive_words(
    documents: Sequence[str], reference: Sequence[str], limit: int = N_WORDS
) -> tuple[str, ...]:
    """Return words significantly more frequent in ``documents`` than in ``reference``, strongest first.

    They have at least three letters (one where a script has no spaces), three mentions, and a
    log-odds ratio above 1.96 standard deviations. Words of over 3% of the reference texts name no
    topic and are left out. Raises ``CorpusError`` if no word is left.
    """
    own, other = _counts(documents), _counts(reference)
    n_own, n_other = sum(own.values()), sum(other.values())
    spread = Counter(word for text in reference for word in set(words_of(text)))
    found: list[tuple[float, str]] = []
    for word, count in own.items():
        if count < FEWEST_MENTIONS or not is_letters(word):
            continue
        if len(word) < SHORTEST and not has_no_spaces(word):
            continue
        if spread[word] > COMMON_SHARE * len(reference):
            continue
        odds = _log_odds(count, n_own) - _log_odds(other[word], n_other)
        error = np.sqrt(1 / (count + 0.5) + 1 / (other[word] + 0.5))
        if odds / error > DISTINCTIVE:
            found.append((-odds / error, word))
    if not found:
        raise CorpusError(
            f"no word stands out in {len(documents)} documents against {len(reference)} other texts",
            "Give more documents, or the words themselves.",
        )
    return tuple(word for _, word in sorted(found)[:limit])


def token_relevance(
    tokens: Sequence[TokenScore], words: Iterable[str], top: int = TOKENS
) -> Relevance | None:
    """Return the share among the first ``top`` tokens; None for an empty list."""
    known = frozenset(word.casefold() for word in words)
    shown = [token.text for token in tokens[:top]]
    if not shown:
        return None
    hits = [_is_known(text, known) for text in shown]
    relevant = tuple(text for text, hit in zip(shown, hits, strict=True) if hit)
    return Relevance(share_interval(hits), relevant)


def relevance_over(
    tokens: Sequence[TokenScore],
    baseline: Sequence[TokenScore],
    words: Iterable[str],
    top: int = TOKENS,
) -> Interval | None:
    """Return the share minus that of a baseline's list; None if either list is empty."""
    known = frozenset(word.casefold() for word in words)
    own, null = (
        [_is_known(token.text, known) for token in listed[:top]] for listed in (tokens, baseline)
    )
    return share_difference(own, null) if own and null else None


def _is_known(text: str, known: frozenset[str]) -> bool:
    """Return True for a token that is one of the words, or each of whose characters is, without spaces."""
    key = text.strip().casefold()
    if not key or key in known or not has_no_spaces(key):
        return key in known
    characters = words_of(key)
    return bool(characters) and known.issuperset(characters)


def _counts(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in words_of(text))


def _log_odds(count: int, total: int) -> float:
    return float(np.log(count + 0.5) - np.log(total - count + 0.5))
