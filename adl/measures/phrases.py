"""Phrases that the finetuned model writes more often than the base model.

    texts of both sides to the same prompts --> words --> runs of one to five words, counted by side
    log-odds with an informative Dirichlet prior --> z of each phrase
    phrases that occur as often inside a longer one are dropped

The prior is the two sides' pooled counts, scaled to ``PRIOR_WEIGHT`` words, so that a rare phrase has
to be seen several times before it counts and words that every text holds never do. The null compares
one half of the base model's texts with the other, both halves with texts to the same prompts.

Texts repeat the words of their prompt. So that a prompt raises nothing by itself, it has to weigh the
same on both sides: of each prompt the side with more texts counts each of them by that much less.

Source: Monroe, Colaresi and Quinn 2008, "Fightin' Words", Political Analysis 16(4), equations 15, 16
and 22.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from adl.text.words import found_words, joined

LONGEST = 5
"""Words of the longest phrase."""

PRIOR_WEIGHT = 500.0
"""Pseudo-counts of the prior over all phrases of one length."""

FEWEST_TEXTS = 2
"""A phrase of one text alone is no habit of the model."""

LEAST_Z = 1e-6
"""Below it the shares are equal: thirds and sevenths of a text do not add up to the last digit."""

#: A longer phrase replaces a shorter one that is hardly ever seen outside it.
SAME_SHARE = 0.75

# Words with inner marks kept (3:1, 2.5, o'clock, half-baked), amounts with their sign.
_WORD = re.compile(r"[$€£]?\w+(?:[.,:/\u2019'-]\w+)*[%°]?")
# Scripts without spaces have none after a sentence either.
_SENTENCE_END = re.compile(r"[.!?\n;:]+(?=\s|$)|\n|[\u3002\uff01\uff1f\uff1b\uff1a\u17d4\u104b]+")


@dataclass(frozen=True)
class Phrase:
    """A phrase with its z, and how often it stands in the texts of either side, whatever they weigh.

    ``texts`` index the finetuned texts that hold it.
    """

    words: str
    z: float
    log_odds: float
    finetuned: int
    base: int
    texts: tuple[int, ...]


def phrases(
    finetuned: Sequence[str],
    base: Sequence[str],
    *,
    weights: tuple[Sequence[float], Sequence[float]] | None = None,
    top: int = 100,
    longest: int = LONGEST,
) -> list[Phrase]:
    """Return the phrases that the finetuned texts hold more often than the base texts, best first.

    ``weights`` has how much each text counts (``matched_weights``); None counts each as one, and a
    text of weight 0 is left out. Letter case is ignored in counting; a phrase is shown as it was
    written most often. There are none if either side wrote no word.
    """
    mine, other = weights or ([1.0] * len(finetuned), [1.0] * len(base))
    sides = (_Counted.of(finetuned, mine, longest), _Counted.of(base, other, longest))
    found = []
    for length in range(1, longest + 1):
        found += _scored(*sides, length)
    kept = [each for each in found if each.z > LEAST_Z and len(each.texts) >= FEWEST_TEXTS]
    return _longest_forms(sorted(kept, key=_by_z))[:top]


def matched_weights(
    finetuned: Sequence[Hashable], base: Sequence[Hashable]
) -> tuple[list[float], list[float]]:
    """Return the weights of both sides' texts, given the prompt of each: at most 1, 0 on one side alone.

    The texts of a prompt then weigh the same on both sides, as many as the side with fewer has.
    """
    mine, other = Counter(finetuned), Counter(base)
    fewer = {prompt: min(count, other[prompt]) for prompt, count in mine.items()}
    return (
        [fewer[prompt] / mine[prompt] for prompt in finetuned],
        [fewer.get(prompt, 0) / other[prompt] for prompt in base],
    )


def has_words(texts: Sequence[str]) -> bool:
    """Return True if any of the texts has a word in it."""
    return any(_WORD.search(text) for text in texts)


def null_phrases(
    base: Sequence[str],
    prompts: Sequence[Hashable],
    *,
    weights: Sequence[float] | None = None,
    top: int = 100,
    longest: int = LONGEST,
) -> list[Phrase] | None:
    """Return the phrases of one half of the base texts against the other half; None without halves.

    The texts of each prompt are dealt to both halves in turn and weigh the same in either, each at
    most what ``weights`` gives it. A prompt with one text is in neither half: there are no halves
    where no prompt has two. ``texts`` of a phrase index ``base``.
    """
    halves: tuple[list[int], list[int]] = ([], [])
    seen: Counter[Hashable] = Counter()
    for index, prompt in enumerate(prompts):
        halves[seen[prompt] % 2].append(index)
        seen[prompt] += 1
    first, second = halves
    if not second:
        return None
    given = weights or [1.0] * len(base)
    matched = matched_weights(
        [prompts[index] for index in first], [prompts[index] for index in second]
    )
    mine, other = (
        [weight * given[index] for index, weight in zip(half, found, strict=True)]
        for half, found in zip(halves, matched, strict=True)
    )
    found = phrases(
        [base[index] for index in first],
        [base[index] for index in second],
        weights=(mine, other),
        top=top,
        longest=longest,
    )
    return [replace(each, texts=tuple(first[index] for index in each.texts)) for each in found]


@dataclass(frozen=True)
class _Counted:
    """Runs of words by length: how often they occur, and what they weigh by the texts' weights."""

    counts: Mapping[int, Counter[tuple[str, ...]]]
    weights: Mapping[int, Mapping[tuple[str, ...], float]]
    texts: Mapping[tuple[str, ...], tuple[int, ...]]
    spellings: Mapping[tuple[str, ...], Counter[str]]

    @classmethod
    def of(cls, texts: Sequence[str], weights: Sequence[float], longest: int) -> _Counted:
        counts: dict[int, Counter[tuple[str, ...]]] = {
            length: Counter() for length in range(1, longest + 1)
        }
        weighed: dict[int, dict[tuple[str, ...], float]] = {
            length: defaultdict(float) for length in counts
        }
        held: dict[tuple[str, ...], list[int]] = defaultdict(list)
        spellings: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for index, text in enumerate(texts):
            if not weights[index]:
                continue
            for sentence in _SENTENCE_END.split(text):
                words = found_words(_WORD, sentence)
                for length in range(1, longest + 1):
                    for first in range(len(words) - length + 1):
                        written = words[first : first + length]
                        key = tuple(word.casefold() for word in written)
                        counts[length][key] += 1
                        weighed[length][key] += weights[index]
                        spellings[key][joined(written)] += 1
                        if not held[key] or held[key][-1] != index:
                            held[key].append(index)
        texts_of = {key: tuple(found) for key, found in held.items()}
        return cls(counts, weighed, texts_of, spellings)


def _scored(finetuned: _Counted, base: _Counted, length: int) -> list[Phrase]:
    mine, other = finetuned.weights[length], base.weights[length]
    # A side that wrote no run of this length could have: its words stand for what it could write.
    n_mine, n_other = sum(mine.values()), sum(other.values()) or sum(base.weights[1].values())
    pooled = n_mine + n_other
    if not n_mine or not n_other:
        return []
    if other and len(mine.keys() | other.keys()) == 1:
        # One run is all that either side wrote: it has the same share of both.
        return []
    found = []
    for key, count in mine.items():
        opposite = other.get(key, 0.0)
        prior = PRIOR_WEIGHT * (count + opposite) / pooled
        if not prior:
            continue
        rest = PRIOR_WEIGHT - prior
        odds = math.log((count + prior) / (n_mine + rest - count)) - math.log(
            (opposite + prior) / (n_other + rest - opposite)
        )
        variance = 1 / (count + prior) + 1 / (opposite + prior)
        found.append(
            Phrase(
                finetuned.spellings[key].most_common(1)[0][0],
                odds / math.sqrt(variance),
                odds,
                finetuned.counts[length][key],
                base.counts[length][key],
                finetuned.texts[key],
            )
        )
    return found


def _by_z(phrase: Phrase) -> tuple[float, int, str]:
    return -phrase.z, -len(phrase.words), phrase.words


def _key(phrase: Phrase) -> tuple[str, ...]:
    return tuple(word.casefold() for word in found_words(_WORD, phrase.words))


def _longest_forms(found: Sequence[Phrase]) -> list[Phrase]:
    """Drop phrases that nearly always occur inside a longer one."""
    longer: dict[tuple[str, ...], int] = {}
    for phrase in found:
        words = _key(phrase)
        for length in range(1, len(words)):
            for first in range(len(words) - length + 1):
                part = words[first : first + length]
                longer[part] = max(longer.get(part, 0), phrase.finetuned)
    return [
        phrase for phrase in found if longer.get(_key(phrase), 0) < SAME_SHARE * phrase.finetuned
    ]
