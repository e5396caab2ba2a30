"""JSON that others wrote, refused where it is nested so deeply that reading it may not end well.

Parsers, validators and serializers each give up at a depth of their own, some by ending the process;
nothing that an endpoint may send needs a tenth of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Lists and objects inside each other.
DEEPEST = 64

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class TooDeep(ValueError):
    """Nested too deeply."""

    def __init__(self) -> None:
        super().__init__(f"JSON nested more than {DEEPEST} deep")


def read_json(text: str) -> Any:
    """The JSON value. Raises ``ValueError`` if it is none, ``TooDeep`` before it is parsed."""
    depth = 0
    for found in _BRACKETS.finditer(text):
        bracket = found[0]
        if bracket in "[{":
            depth += 1
            if depth > DEEPEST:
                raise TooDeep
        elif bracket in "]}":
            depth -= 1
    return json.loads(text)
