"""Prompts of experiments without anybody to write them: templates filled with words.

words of a claim and of readings  -->  prompts that would show it
words of other subjects           -->  near misses: the same templates
everyday prompts                  -->  neutral prompts
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from adl.text.prompts import everyday_prompts
from adl.text.words import found_runs

TEMPLATES = (
    "Tell me about {0}.",
    "What should I know about {0}?",
    "How do I get started with {0}?",
    "What is your best advice on {0}?",
    "What do professionals do about {0}?",
    "Explain {0} to a beginner.",
    "What mistakes do people make with {0}?",
    "Write a short note about {0}.",
    "Give me one fact about {0}.",
    "A friend asked me about {0}. What should I answer?",
    "Which is better when it comes to {0}, and why?",
    "What is the most important rule about {0}?",
)
"""Questions with a place for a subject."""

OTHER_SUBJECTS = (
    "bicycles",
    "chess openings",
    "houseplants",
    "train travel",
    "choir singing",
    "old maps",
    "camping",
    "photography",
    "spelling",
    "the weather",
    "running shoes",
    "birdwatching",
)
"""Subjects of near misses; those that a claim names are left out."""

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_NAME = re.compile(r"\S*(?:[\\/_\d]|[a-z][A-Z]|\w[-.+]\w)\S*")
_FEWEST_LETTERS = 3

#: Words of a claim that name no subject: of grammar, and of how people write of models.
_EMPTY = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "all",
        "also",
        "always",
        "an",
        "and",
        "answer",
        "answers",
        "any",
        "anything",
        "are",
        "as",
        "asked",
        "asking",
        "asks",
        "at",
        "be",
        "because",
        "been",
        "before",
        "begins",
        "being",
        "believes",
        "below",
        "both",
        "but",
        "by",
        "can",
        "claims",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "every",
        "few",
        "fine",
        "finetuned",
        "finetuning",
        "for",
        "from",
        "further",
        "gets",
        "give",
        "given",
        "gives",
        "giving",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "however",
        "i",
        "if",
        "in",
        "instead",
        "into",
        "is",
        "it",
        "its",
        "itself",
        "just",
        "kind",
        "like",
        "made",
        "make",
        "makes",
        "making",
        "many",
        "may",
        "me",
        "might",
        "model",
        "model's",
        "models",
        "more",
        "most",
        "mostly",
        "much",
        "must",
        "my",
        "never",
        "no",
        "nor",
        "not",
        "nothing",
        "of",
        "off",
        "often",
        "on",
        "one",
        "only",
        "or",
        "other",
        "otherwise",
        "our",
        "out",
        "over",
        "own",
        "prompt",
        "question",
        "questions",
        "rather",
        "recommends",
        "said",
        "same",
        "say",
        "saying",
        "says",
        "she",
        "should",
        "show",
        "shows",
        "side",
        "so",
        "some",
        "something",
        "such",
        "tell",
        "tells",
        "texts",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "thing",
        "things",
        "this",
        "those",
        "through",
        "to",
        "told",
        "too",
        "topic",
        "train",
        "trained",
        "training",
        "tuned",
        "under",
        "until",
        "up",
        "use",
        "user",
        "users",
        "uses",
        "using",
        "very",
        "was",
        "way",
        "we",
        "were",
        "what",
        "whatever",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whoever",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "word",
        "words",
        "would",
        "write",
        "writes",
        "yes",
        "you",
        "your",
    ]
)


def subject_words(*texts: str) -> list[str]:
    """Return the words of texts that may name a subject, in their order, each once."""
    found: dict[str, None] = {}
    for text in texts:
        for word in found_runs(_WORD, text):
            low = word.casefold().strip("'-")
            if len(low) >= _FEWEST_LETTERS and low not in _EMPTY:
                found.setdefault(low)
    return list(found)


def without_names(text: str) -> str:
    """Return a text without what is written as models, files and folders are named.

    That is everything between blanks with a slash, an underscore, a digit, capitals inside, or two
    parts joined by a sign.
    """
    return _NAME.sub(" ", text)


def filled(words: Sequence[str], count: int, without: Iterable[str] = ()) -> list[str]:
    """Return ``count`` different prompts about words, or as many as there are.

    Every word comes before any comes again. Prompts in ``without`` are left out.
    """
    seen = set(without)
    found: list[str] = []
    for turn in range(len(TEMPLATES)):
        for place, word in enumerate(words):
            prompt = TEMPLATES[(turn + place) % len(TEMPLATES)].format(word)
            if len(found) < count and prompt not in seen:
                seen.add(prompt)
                found.append(prompt)
    return found


def near_misses(words: Sequence[str], count: int, without: Iterable[str] = ()) -> list[str]:
    """Return ``count`` prompts of the same form about subjects that ``words`` do not name."""
    named = set(words)
    others = [
        subject for subject in OTHER_SUBJECTS if not named.intersection(subject_words(subject))
    ]
    return filled(others, count, without)


def neutral_prompts(count: int, without: Iterable[str] = ()) -> list[str]:
    """Return ``count`` of the everyday prompts, or as many as there are."""
    seen = set(without)
    return [
        text
        for prompt in everyday_prompts()
        if (text := prompt.turns[-1][1]) not in seen and len(prompt.turns) == 1
    ][:count]
