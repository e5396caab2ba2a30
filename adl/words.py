"""Words of texts that people read."""

from __future__ import annotations


def number_of(count: int, what: str) -> str:
    """Return a count with its noun, as ``1 layer`` and ``2 layers``; ``what`` is the singular."""
    return f"{count:,} {what if count == 1 else _plural(what)}"


def number_or_no(count: int, what: str) -> str:
    """Return a count with its noun as `number_of` does, and ``no layers`` for none."""
    return number_of(count, what) if count else f"no {_plural(what)}"


def plain_number(value: float, digits: int = 6) -> str:
    """Return a number to so many digits, without an exponent where it is large: ``1234`` to three."""
    short = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in short and abs(value) < 1e15 else short


def whole_number(written: str) -> int | None:
    """Return the number that digits stand for; None for anything else, and for more than 18 digits.

    A superscript is a digit that is no number, and Python reads none of thousands of digits.
    """
    return int(written) if written.isdecimal() and len(written) <= 18 else None


def distinct_number(value: float) -> str:
    """Return a number as short as tells it from every other, for names of files and rows."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _plural(noun: str) -> str:
    if noun.endswith("sis"):
        return noun.removesuffix("is") + "es"
    if noun.endswith(("ch", "sh", "x", "ss")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun.removesuffix('y')}ies"
    return f"{noun}s"
