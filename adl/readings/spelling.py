"""Spellings that rise without their word: "centre" rises where "center" does not.

Documents are written in one spelling of English. A finetuning on them raises that spelling of every
word, whatever the topic. A word is one of spelling if the other spelling of it is a token too, is the
more probable of the two on base, and rises far less: where a topic rises, both do.
"""

from __future__ import annotations

import re

import numpy as np

from adl.readings.ranking import Mask, Scores, Vocabulary

# The other spelling rises with its word if it rises by this share of it.
WITH_ITS_WORD = 1 / 4

_VOWEL_CONSONANT_VOWEL = "(?<=[aeiouy][bcdfghjklmnpqrstvwxz][aeiou])"
_RULES = (
    ("(?<=[a-z][bdlmnptuv])our", "or"),
    ("(?<=[bt])re(?=s?$)", "er"),
    ("chre(?=s?$)", "cher"),
    ("(?<=[a-z]{4})is(?=(e|ed|es|ing|ation|ations|er|ers)$)", "iz"),
    ("(?<=l)ys(?=(e|ed|es|ing|er|ers)$)", "yz"),
    (f"{_VOWEL_CONSONANT_VOWEL}ll(?=(ed|ing|er|ers|or|ors)$)", "l"),
    ("(?<=[a-z]{2})ogue(?=s?$)", "og"),
    ("(?<=e)nce(?=s?$)", "nse"),
    ("amme(?=s?$)", "am"),
    ("ae(?=[a-z]{3})", "e"),
    ("^oe", "e"),
    ("^foe(?=t)", "fe"),
    ("oeuv", "euv"),
    ("^sulph", "sulf"),
    ("inium$", "inum"),
    ("(?<=r)nt$", "ned"),
    ("(?<=[aeiou][mp])t$", "ed"),
    ("mould", "mold"),
    ("grey", "gray"),
    ("tyre", "tire"),
    ("plough", "plow"),
    ("welle(?=r)", "wel"),
    ("^draught", "draft"),
    ("^pyjam", "pajam"),
    ("^scept", "skept"),
    ("^cosy", "cozy"),
    ("^moust", "must"),
    ("^kerb", "curb"),
    ("^mum(?=s?$)", "mom"),
    ("^maths$", "math"),
    ("wards$", "ward"),
)
_ANY = re.compile("|".join(pattern for pattern, _ in _RULES))
_COMPILED = tuple((re.compile(pattern), other) for pattern, other in _RULES)


def other_spellings(word: str) -> tuple[str, ...]:
    """Return American spellings that a British one may have; not all of them are words."""
    if not _ANY.search(word):
        return ()
    found = (pattern.sub(other, word) for pattern, other in _COMPILED)
    return tuple(dict.fromkeys(each for each in found if each != word))


def spellings(
    vocabulary: Vocabulary, rises: Scores, before: Scores, ranked: Mask
) -> dict[str, str]:
    """Return by word the reason for which it is one of spelling, among the ``ranked`` words [V].

    ``rises`` [V] is the mean change of log-probability, ``before`` [V] the probability on base.
    """
    by_word: dict[str, list[int]] = {}
    for index in np.flatnonzero(vocabulary.words):
        by_word.setdefault(vocabulary.keys[index], []).append(int(index))
    twins: dict[str, set[str]] = {}
    for word in by_word:
        for other in other_spellings(word):
            if other in by_word:
                twins.setdefault(word, set()).add(other)
                twins.setdefault(other, set()).add(word)
    found = {}
    for word, others in twins.items():
        if not ranked[by_word[word]].any():
            continue
        rise, probable = rises[by_word[word]].max(), before[by_word[word]].sum()
        for other in sorted(others):
            there = by_word[other]
            rarer = probable < before[there].sum()
            if rise > 0 and rarer and rises[there].max() < WITH_ITS_WORD * rise:
                found[word] = f"a spelling: \u201c{other}\u201d does not rise with it"
    return found
