"""The fields of an operation's arguments as types: for options, forms and messages made from them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

LISTS = (tuple, list, set, frozenset)
WHOLE = ""
"""Where a problem is put that is of no one field."""

_PLAIN = {
    "missing": "required",
    "int_parsing": "must be a whole number, not {!r}",
    "int_from_float": "must be a whole number, not {!r}",
    "float_parsing": "must be a number, not {!r}",
    "finite_number": "must be a finite number, not {!r}",
}


def plain_kind(annotation: Any) -> tuple[Any, bool]:
    """The type without its constraints, and True if it may be None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, UnionType}:
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        if len(kinds) == 1 and len(kinds) < len(get_args(annotation)):
            return plain_kind(kinds[0])[0], True
    return annotation, False


def item_kind(kind: Any) -> Any | None:
    """The plain type of a list's items; None for anything but a list."""
    if get_origin(kind) not in LISTS:
        return None
    return plain_kind(get_args(kind)[0])[0]


def choices(kind: Any) -> tuple[str, ...]:
    """All values of a literal or an enum as text; empty for other types."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    return ()


def bounds(info: FieldInfo) -> dict[str, float]:
    """The inclusive bounds of a number: ``min`` and ``max``, where there are any."""
    found = {}
    for constraint in info.metadata:
        for name, attribute in (("min", "ge"), ("max", "le")):
            value = getattr(constraint, attribute, None)
            if value is not None:
                found[name] = value
    return found


def problems_in_words(exc: ValidationError, given: Mapping[str, Any]) -> dict[str, str]:
    """The problems of arguments by field, ``WHOLE`` for those of no one field."""
    problems: dict[str, str] = {}
    for error in exc.errors(include_url=False):
        place = error["loc"]
        name = str(place[0]) if place else WHOLE
        message = error["msg"].removeprefix("Value error, ")
        value = given.get(name)
        if (plain := _PLAIN.get(error["type"])) is not None:
            message = plain.format(error["input"])
        elif isinstance(value, list | tuple) and len(place) > 1 and isinstance(place[1], int):
            message = f"{value[place[1]]}: {message}"
        problems.setdefault(name, message[:1].lower() + message[1:])
    return problems
