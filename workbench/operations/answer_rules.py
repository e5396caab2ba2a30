"""Rules that judge answers: phrases and regular expressions.

Expressions are matched by ``regex``, which stops after a time: an answer is text of an audited model,
and some expressions take for ever on some texts.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import regex

from adl.text.words import has_no_spaces, is_of_a_word
from workbench.store.experiment_events import JudgeSpec

LONGEST_REPEAT = 4000
"""Repeats above this count as open-ended."""

MOST_REPEATS = 3
"""Open-ended repeats of a regular expression: with more, matching may take for ever."""

SECONDS = 2.0
"""Time to match one answer; an answer that takes longer is unscored."""

_QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d')
_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT}


def quoted_words(text: str) -> tuple[str, ...]:
    """Return what stands in quotation marks in a text, each once."""
    found = (straight or curly for straight, curly in _QUOTED.findall(text))
    return tuple(dict.fromkeys(filter(has_words, map(str.strip, found))))


def has_words(text: str) -> bool:
    """True if a text holds anything that an answer could show: a letter, digit or other sign."""
    return any(unicodedata.category(letter)[0] in "LNPS" for letter in text)


def check_regex(pattern: str) -> str:
    """Return why a regular expression is refused, empty if it is not."""
    try:
        parsed = _parser.parse(pattern)
        compiled = _compiled(pattern)
    except (re.error, regex.error, OverflowError, RecursionError) as exc:
        return f"{exc}"
    repeats, nested = _repeats(parsed)
    if nested:
        return "a repeat within a repeat may take for ever to match"
    if repeats > MOST_REPEATS:
        return (
            f"it has {repeats} open-ended repeats, and more than {MOST_REPEATS} may take for ever"
        )
    if compiled.search("") is not None:
        return "it matches an empty answer, so every answer would show it"
    return ""


def rule_verdict(judge: JudgeSpec, answer: str) -> tuple[bool | None, str]:
    """Return whether an answer shows it by the rules, and the words that did.

    None, and why, for an answer that an expression takes too long to match.
    """
    if judge.regex:
        try:
            found = _compiled(judge.regex).search(answer, timeout=SECONDS, concurrent=True)
        except TimeoutError:
            return None, f"the expression was not matched within {SECONDS:g} s"
        return found is not None, "" if found is None else found[0]
    text = _plain(answer)
    for phrase in judge.phrases:
        for found in re.finditer(re.escape(_plain(phrase)), text, re.IGNORECASE):
            if found[0] and _stands_alone(text, *found.span()):
                return True, found[0]
    return False, ""


@cache
def _compiled(pattern: str) -> Any:
    return regex.compile(pattern, regex.IGNORECASE)


def _plain(text: str) -> str:
    """The text in one form of its letters, apostrophes and blanks."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    return " ".join(plain.split())


def _stands_alone(text: str, begin: int, end: int) -> bool:
    """True unless the passage is a part of a longer word; some scripts put nothing between words."""
    ends = ((text[begin - 1 : begin], text[begin]), (text[end : end + 1], text[end - 1]))
    return not any(
        outside and is_of_a_word(outside) and not has_no_spaces(inside) for outside, inside in ends
    )


def _repeats(parsed: Any) -> tuple[int, bool]:
    """The number of open-ended repeats in a parsed expression, and if one is inside a repeat."""
    count, nested = 0, False
    for code, argument in parsed:
        inside = [part for part in _parts(argument) if isinstance(part, _parser.SubPattern)]
        within = [_repeats(part) for part in inside]
        below = sum(number for number, _ in within)
        nested = nested or any(is_nested for _, is_nested in within)
        if code in _REPEATS:
            is_open = argument[1] > LONGEST_REPEAT or argument[1] == _constants.MAXREPEAT
            nested = nested or bool(below and argument[1] > 1)
            count += is_open
        count += below
    return count, nested


def _parts(value: Any) -> list[Any]:
    if isinstance(value, _parser.SubPattern):
        return [value]
    if isinstance(value, (tuple, list)):
        return [part for item in value for part in _parts(item)]
    return []
