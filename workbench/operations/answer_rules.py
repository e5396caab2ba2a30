"""Rules that judge answers: phrases and regular expressions."""

from __future__ import annotations

import re
import unicodedata
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

from adl.text.words import has_no_spaces, is_of_a_word
from workbench.store.experiment_events import JudgeSpec

LONGEST_ANSWER = 4000
"""Characters of an answer that a rule looks at."""

MOST_REPEATS = 3
"""Open-ended repeats of a regular expression: with more, matching may take for ever."""

_QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d')
_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT}


def quoted_words(text: str) -> tuple[str, ...]:
    """Return what stands in quotation marks in a text, each once."""
    found = (straight or curly for straight, curly in _QUOTED.findall(text))
    return tuple(dict.fromkeys(filter(None, map(str.strip, found))))


def check_regex(pattern: str) -> str:
    """Return why a regular expression is refused, empty if it is not."""
    try:
        parsed = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        return f"{exc}"
    repeats, nested = _repeats(parsed)
    if nested:
        return "a repeat within a repeat may take for ever to match"
    if repeats > MOST_REPEATS:
        return (
            f"it has {repeats} open-ended repeats, and more than {MOST_REPEATS} may take for ever"
        )
    return ""


def rule_verdict(judge: JudgeSpec, answer: str) -> tuple[bool, str]:
    """Return whether an answer shows it by the rules, and the words that did."""
    text = answer[:LONGEST_ANSWER]
    if judge.regex:
        found = re.search(judge.regex, text, re.IGNORECASE)
        return found is not None, "" if found is None else found[0]
    text = _plain(text)
    for phrase in judge.phrases:
        for found in re.finditer(re.escape(_plain(phrase)), text, re.IGNORECASE):
            if found[0] and _stands_alone(text, *found.span()):
                return True, found[0]
    return False, ""


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
            is_open = argument[1] > LONGEST_ANSWER or argument[1] == _constants.MAXREPEAT
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
