"""Limits of a value that hold wherever it is given: command line, form, tool call, settings."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Above it a number is not the same in every program that reads a session's JSON, nor in SQLite.
LARGEST_NUMBER = 2**53 - 1


def refusal(value: Any) -> str | None:
    """The reason why a value cannot be used, in words that follow its name; None if it can be."""
    match value:
        case bool():
            return None
        case int() if abs(value) > LARGEST_NUMBER:
            sign = "-" if value < 0 else ""
            return f"must be at {'least' if sign else 'most'} {sign}{LARGEST_NUMBER}"
        case float() if not math.isfinite(value):
            return "must be a finite number"
        case Path() if "\0" in os.fspath(value):
            return "must be a path without NUL characters"
        case str() | bytes():
            return None
        case Mapping():
            return refusal([*value.keys(), *value.values()])
        case Iterable():
            return next((why for item in value if (why := refusal(item))), None)
    return None
