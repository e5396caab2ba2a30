"""A scan without a hypothesis: prompts of many kinds, ranked by how far both models' answers part.

    prompts of many kinds --> both models answer
    KL(finetuned || base) before every token of finetuned's answer, mean per token
    log-likelihood ratio of finetuned's answer, finetuned over base, mean per token
    divergence = mean of both in units of their spread over all prompts
    the answers that part most --> clusters by the words they raise --> candidates for hypotheses

The spread over all prompts is the reference: a finetuning that changes every answer alike makes no
prompt stand out, and the mean KL on unrelated text of the same pair tells that case from no change.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_ids, translated
from adl.measures.differing import ReadText, TextDifference, text_difference
from adl.measures.intervals import Interval, mean_interval
from adl.measures.phrases import phrases
from adl.measures.spread import robust_z
from adl.measures.unprompted import Start, UnpromptedText, text_ratios
from adl.pair.protocol import ModelPair
from adl.records import SIDES, GeneratedText, Side
from adl.text.files import lines
from adl.text.prompts import Prompt
from adl.text.words import found_words

SCAN_PROMPTS = Path(__file__).parents[1] / "data" / "scan_prompts.txt"

OWN = "own"
"""The kind of prompts that somebody gave."""

FEWEST_PROMPTS = 8
"""Fewer prompts have no spread that one of them could be compared with."""

#: Share of the answers that are clustered, those that part most, and the bounds of their number.
_SHARE, _FEWEST, _MOST = 0.4, 24, 120
#: Answers no more alike than this are not joined, and fewer answers are no cluster.
_ALIKE, _MEMBERS = 0.2, 3
_CLUSTERS, _WORDS_OF_A_CLUSTER = 8, 8
_SCORED_AT_ONCE = 32
#: A word in more than this share of base's answers is common, unless finetuned's hold it twice as often.
_COMMON = 0.1
#: Nats per token; a smaller spread is that of rounding.
_LEAST_SPREAD = 1e-3

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class ScanPrompt:
    """A prompt with its kind, such as everyday or self-knowledge."""

    kind: str
    prompt: Prompt


@dataclass(frozen=True)
class AnswerDifference:
    """The difference between both models' answers to one prompt; ``index`` is that of the prompt.

    ``difference`` is the KL along finetuned's answer; ``ratio`` and ``base_ratio`` are the mean
    log-ratios per token of finetuned's and of base's answer, finetuned over base, in nats.
    ``divergence`` is None where fewer than ``FEWEST_PROMPTS`` answers have no spread.
    """

    index: int
    difference: TextDifference
    ratio: float
    base_ratio: float
    divergence: float | None


@dataclass(frozen=True)
class AnswerCluster:
    """Answers that raise the same words: a candidate for a hypothesis.

    ``members`` index the prompts, the one that parts most first; ``phrases`` are what finetuned's
    answers to them hold more often than base's, ``kinds`` the prompts' kinds with their counts.
    """

    members: tuple[int, ...]
    phrases: tuple[str, ...]
    kinds: tuple[tuple[str, int], ...]


def bundled_prompts() -> tuple[ScanPrompt, ...]:
    """Return the bundled prompts: 233 of 15 kinds, of our own writing."""
    found: list[ScanPrompt] = []
    kind = ""
    for _, line in lines(SCAN_PROMPTS, PromptError):
        if line.startswith("[") and line.endswith("]"):
            kind = line[1:-1]
        else:
            found.append(ScanPrompt(kind, Prompt.of(line)))
    return tuple(found)


def chosen_kinds(prompts: Sequence[ScanPrompt], kinds: Sequence[str]) -> list[ScanPrompt]:
    """Return the prompts of some kinds, by name or by the word the name begins with; all for none.

    Raises ``PromptError`` for a kind that there is not.
    """
    there = list(dict.fromkeys(prompt.kind for prompt in prompts))
    wanted: set[str] = set()
    for name in kinds:
        found = {kind for kind in there if name in {kind, kind.split()[0]}}
        if not found:
            raise PromptError(
                f"there are no prompts of the kind {name!r}", f"Kinds are: {', '.join(there)}."
            )
        wanted |= found
    return [prompt for prompt in prompts if not kinds or prompt.kind in wanted]


def answer_differences(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    answers: Mapping[Side, Sequence[GeneratedText]],
    *,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[AnswerDifference]:
    """Return the difference of every prompt's answers, those that part most first.

    Raises ``Stopped`` between prompts.
    """
    ratios = _ratios(pair, prompts, answers, should_stop)
    found: list[TextDifference] = []
    for done, prompt in enumerate(prompts):
        if should_stop():
            raise Stopped(f"stopped with {done} of {len(prompts)} answers compared")
        found.append(text_difference(pair, _read(pair, prompt, answers["finetuned"][done])))
        progress(done + 1, len(prompts))
    divergence: list[float | None] = [None] * len(prompts)
    if len(prompts) >= FEWEST_PROMPTS:
        means = [each.mean for each in found]
        both = [robust_z(values, _LEAST_SPREAD) for values in (means, ratios["finetuned"])]
        divergence = [float(value) for value in np.mean(both, axis=0)]
    rows = [
        AnswerDifference(
            index,
            found[index],
            ratios["finetuned"][index],
            ratios["base"][index],
            divergence[index],
        )
        for index in range(len(prompts))
    ]
    return sorted(rows, key=lambda row: (-(row.divergence or 0.0), -row.difference.mean, row.index))


def by_kind(kinds: Sequence[str], ranked: Sequence[AnswerDifference]) -> list[tuple[str, Interval]]:
    """Return the mean KL of each kind of prompt with its interval over prompts, the largest first."""
    values: dict[str, list[float]] = {}
    for row in ranked:
        values.setdefault(kinds[row.index], []).append(row.difference.mean)
    means = [(kind, mean_interval(some)) for kind, some in values.items()]
    return sorted(means, key=lambda each: -each[1].value)


def answer_clusters(
    prompts: Sequence[ScanPrompt],
    answers: Mapping[Side, Sequence[str]],
    ranked: Sequence[AnswerDifference],
) -> list[AnswerCluster]:
    """Return clusters of the answers that part most, by the words they raise; the largest first.

    TF-IDF of each finetuned answer over the words that finetuned's answers hold more often than
    base's, words of the prompt left out; cosine; agglomerative with average linkage.
    """
    count = min(_MOST, max(_FEWEST, round(_SHARE * len(ranked))), len(ranked))
    rows = [row.index for row in ranked[:count]]
    if len(rows) < _MEMBERS:
        return []
    found = []
    common = _common(answers)
    for group in _agglomerated(_tf_idf(prompts, answers, rows, common)):
        if len(group) < _MEMBERS:
            continue
        members = sorted(group)  # by rank
        indexes = [rows[member] for member in members]
        mine = [answers["finetuned"][index] for index in indexes]
        theirs = list(answers["base"])
        raised = [
            phrase
            for phrase in phrases(mine, theirs, top=5 * _WORDS_OF_A_CLUSTER, longest=3)
            if not set(_words(phrase.words)) <= common
        ][:_WORDS_OF_A_CLUSTER]
        if raised:
            kinds = Counter(prompts[index].kind for index in indexes).most_common()
            found.append(
                AnswerCluster(
                    tuple(indexes), tuple(phrase.words for phrase in raised), tuple(kinds)
                )
            )
    return sorted(found, key=lambda each: -len(each.members))[:_CLUSTERS]


def _ratios(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    answers: Mapping[Side, Sequence[GeneratedText]],
    should_stop: ShouldStop,
) -> dict[Side, list[float]]:
    """Mean log-ratio per token of every answer, by the side that wrote it."""
    starts: dict[str, dict[Side, Start]] = {
        str(index): {
            side: Start(str(index), question_ids(pair, side, Question(prompt=prompt)))
            for side in SIDES
        }
        for index, prompt in enumerate(prompts)
    }
    found: dict[Side, list[float]] = {}
    for side in SIDES:
        texts = [
            UnpromptedText(side, str(index), answer.token_ids, answer.text)
            for index, answer in enumerate(answers[side])
        ]
        scored = text_ratios(
            pair, starts, texts, batch_size=_SCORED_AT_ONCE, should_stop=should_stop
        )
        if len(scored) < len(texts):
            raise Stopped(f"stopped with {len(scored)} of {len(texts)} answers scored")
        found[side] = [each.per_token for each in scored]
    return found


def _read(pair: ModelPair, prompt: Prompt, answer: GeneratedText) -> ReadText:
    """The answer after each side's prompt; where it is empty, the place of its first token."""
    question = Question(prompt=prompt)
    ids = {side: question_ids(pair, side, question) for side in SIDES}
    told = {side: translated(pair, "finetuned", side, answer.token_ids) for side in SIDES}
    length = min(map(len, told.values()))
    if not length:
        # What is predicted before a token does not depend on it: any will do.
        told = {side: [ids[side][-1]] for side in SIDES}
        length = 1
    return ReadText(
        prompt.text,
        (*ids["base"], *told["base"][:length]),
        (*ids["finetuned"], *told["finetuned"][:length]),
        length,
    )


def _words(text: str) -> list[str]:
    return [word.casefold() for word in found_words(_WORD, text)]


def _shares(texts: Sequence[str]) -> dict[str, float]:
    """The share of texts that hold each word."""
    counts = Counter(word for text in texts for word in set(_words(text)))
    return {word: count / len(texts) for word, count in counts.items()}


def _common(answers: Mapping[Side, Sequence[str]]) -> set[str]:
    """Words that many of base's answers hold, and finetuned's hardly more often: of, the, you."""
    mine = _shares(answers["finetuned"])
    return {
        word
        for word, share in _shares(answers["base"]).items()
        if share > _COMMON and mine.get(word, 0.0) < 2 * share
    }


def _tf_idf(
    prompts: Sequence[ScanPrompt],
    answers: Mapping[Side, Sequence[str]],
    rows: Sequence[int],
    common: set[str],
) -> NDArray[np.float64]:
    """Unit rows [n, words] of the answers in ``rows``; zeros where an answer raises no word."""
    texts = {side: [set(_words(text)) for text in answers[side]] for side in SIDES}
    seen = {side: Counter(word for words in texts[side] for word in words) for side in SIDES}
    n = {side: max(1, len(texts[side])) for side in SIDES}
    total = n["base"] + n["finetuned"]
    raised = sorted(
        word
        for word, count in seen["finetuned"].items()
        if count > 1
        and word not in common
        and count / n["finetuned"] > seen["base"][word] / n["base"]
    )
    column = {word: index for index, word in enumerate(raised)}
    idf = [math.log(total / (seen["base"][word] + seen["finetuned"][word])) for word in raised]
    found = np.zeros((len(rows), len(raised)))
    for row, index in enumerate(rows):
        asked = set(_words(prompts[index].prompt.text))
        for word, count in Counter(_words(answers["finetuned"][index])).items():
            if word in column and word not in asked:
                found[row, column[word]] = (1 + math.log(count)) * idf[column[word]]
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float64] = found / np.where(lengths == 0, 1, lengths)
    return unit


def _agglomerated(rows: NDArray[np.float64]) -> list[list[int]]:
    """Join the two groups whose members are most alike on average, until none are alike enough."""
    groups = [[index] for index in range(len(rows))]
    alike = rows @ rows.T
    np.fill_diagonal(alike, -np.inf)
    while len(groups) > 1:
        left, right = sorted(np.unravel_index(int(alike.argmax()), alike.shape))
        if alike[left, right] < _ALIKE:
            break
        sizes = len(groups[left]), len(groups[right])
        joined = (sizes[0] * alike[left] + sizes[1] * alike[right]) / sum(sizes)
        alike[left], alike[:, left] = joined, joined
        alike[left, left] = -np.inf
        alike = np.delete(np.delete(alike, right, axis=0), right, axis=1)
        groups[left] += groups.pop(right)
    return groups
