"""Words of a text."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return [word.casefold() for word in _WORD.findall(text)]
