"""Words of a text, in every script.

A vowel sign of Hindi or Thai and an accent by itself are marks, which Python takes for no part of a
word: they belong to the letter before them. Where a script puts no space between words, each character
counts as one: a run of them is a sentence, and no two are alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

#: What a tokenizer writes for the first bytes of a character until its last byte comes.
HALF_A_CHARACTER = "\ufffd"

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
# They join letters within a word, or keep them apart.
_JOINERS = "\u200c\u200d"


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return [word.casefold() for word in found_words(_WORD, text)]


def found_words(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the words that ``pattern`` finds, marks counted as letters.

    In a script without spaces each character is a word.
    """
    runs = found_runs(pattern, text)
    if text.isascii() or not any(map(has_no_spaces, text)):
        return runs
    return [
        word
        for run in runs
        for part in _parted(run)
        for word in ([part] if has_no_spaces(part) else found_runs(pattern, part))
    ]


def found_runs(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return what ``pattern`` finds, marks counted as letters; text without spaces stays in one piece."""
    if text.isascii():
        plain = text
    else:
        plain = "".join("x" if _is_mark(character) else character for character in text)
    return [text[found.start() : found.end()] for found in pattern.finditer(plain)]


def joined(words: Sequence[str]) -> str:
    """Join words by spaces, except between two characters of a script without spaces."""
    text = ""
    for before, word in zip(("", *words), words, strict=False):
        apart = before and not (has_no_spaces(before) and has_no_spaces(word))
        text += f" {word}" if apart else word
    return text


def is_letters(text: str) -> bool:
    """Return True for letters with their marks, and nothing else."""
    if text.isascii():
        return text.isalpha()
    return text[:1].isalpha() and all(map(is_letter, text))


def is_letter(character: str) -> bool:
    """Return True for a letter, and for a mark of one."""
    return character.isalpha() or _is_mark(character)


def is_of_a_word(character: str) -> bool:
    """Return True for a letter, a mark of one, or a digit."""
    return character.isalnum() or _is_mark(character)


def has_no_spaces(text: str) -> bool:
    """Return True for Han, kana, Thai, Lao, Khmer and Burmese, which put no space between words."""
    blocks = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF))
    ideographs = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
    return any(low <= ord(text[0]) <= high for low, high in blocks + ideographs)


def _parted(run: str) -> list[str]:
    """Return the characters that have no spaces with their marks, and what stands between them."""
    parts: list[str] = []
    for character in run:
        goes_on = _is_mark(character) or not (
            has_no_spaces(character) or (parts and has_no_spaces(parts[-1]))
        )
        if parts and goes_on:
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _is_mark(character: str) -> bool:
    return not character.isascii() and (
        character in _JOINERS or unicodedata.category(character).startswith("M")
    )
