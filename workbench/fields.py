"""The fields of pydantic models: types for options and forms, and a ``ValidationError`` in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from adl.words import plain_number
from workbench.display import shorten

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LISTS = (tuple, list, set, frozenset)
WHOLE = ""
"""Where a problem is put that is of no one field."""

REQUIRED = "required"

_LONGEST_VALUE = 60
_PYDANTIC = re.compile(r"^(Input|String|List|Tuple|Dictionary|Value) should ")
_OF_NUMBERS = ("int_", "float_", "finite_number", "greater_than", "less_than")
_LIMITS = {
    "ge": "{} or more",
    "gt": "more than {}",
    "le": "{} or less",
    "lt": "less than {}",
}
# A message of ours, or one that counts the items.
_SAYS_ENOUGH = {
    "missing",
    "extra_forbidden",
    "value_error",
    "too_short",
    "too_long",
    "string_too_short",
    "string_too_long",
}


class FieldsConflict(ValueError):
    """A refusal by a validator of the whole model; ``fields`` are those that it is about."""

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = fields


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


def problems_in_words(
    exc: ValidationError,
    model: type[BaseModel] | None = None,
    *,
    values: bool = True,
) -> dict[str, str]:
    """The problems of a model's fields by field name, ``WHOLE`` for those of no one field.

    A problem is words that follow the name, such as ``must be a whole number, 1 or more``; one of
    several fields begins with their names. It ends
    with the value that was refused unless ``values`` is False. ``model`` gives the bounds that a
    value would have had to keep too, had it been a number.
    """
    problems: dict[str, str] = {}
    for fields, message in _problems(exc, model, values=values):
        if len(fields) == 1:
            problems.setdefault(fields[0], message)
        else:
            problems.setdefault(WHOLE, _sentence(", ".join(map(_in_words, fields)), message))
    return problems


def _problems(
    exc: ValidationError, model: type[BaseModel] | None, *, values: bool
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each problem with the fields that it is of: none of the whole, several that clash."""
    for error in exc.errors(include_url=False):
        name, *inner = map(str, error["loc"]) if error["loc"] else (WHOLE,)
        # The item of a list is best named by its value.
        is_item = len(inner) == 1 and isinstance(error["loc"][1], int)
        shown = _shown(error["input"]) if values else None
        message = _message(error, model)
        if inner:
            where = shown if is_item and shown else ".".join(inner)
            message = _sentence(where, message)
        if shown and not is_item and error["type"] not in _SAYS_ENOUGH:
            message += f", not {shown}"
        raised = error.get("ctx", {}).get("error")
        clash = raised.fields if isinstance(raised, FieldsConflict) else ()
        yield (name,) if name else clash, message


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def in_words(
    exc: ValidationError,
    model: type[BaseModel] | None = None,
    *,
    values: bool = True,
    most: int | None = None,
    names: Callable[[str], str] = _in_words,
) -> str:
    """All problems as one line, each with its field's name; ``most`` of them at most.

    ``names`` gives a field's name as the reader knows it, such as an option. See
    `problems_in_words`.
    """
    problems: dict[tuple[str, ...], str] = {}
    for fields, message in _problems(exc, model, values=values):
        problems.setdefault(fields, message)
    return "; ".join(
        _sentence(", ".join(map(names, fields)), message)
        for fields, message in list(problems.items())[:most]
    )


def _sentence(name: str, problem: str) -> str:
    if not name:
        return problem
    if problem == REQUIRED:
        return f"{name} is {REQUIRED}"
    return f"{name} {problem}" if problem.startswith("must ") else f"{name}: {problem}"


def _shown(value: Any) -> str | None:
    """A plain value for a message; None for others, whose text is long and tells little."""
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return shorten(repr(value), _LONGEST_VALUE) if plain else None


def _message(error: ErrorDetails, model: type[BaseModel] | None) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return REQUIRED
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind.startswith("bool_"):
        return "must be true or false"
    if kind == "string_too_short" and context.get("min_length") == 1:
        return "must not be empty"
    if kind.startswith(_OF_NUMBERS):
        return f"must be {_wanted(error, model)}"
    message = error["msg"].removeprefix("Value error, ")
    message = _PYDANTIC.sub("must ", message).replace(" after validation", "")
    return message[:1].lower() + message[1:]


def _wanted(error: ErrorDetails, model: type[BaseModel] | None) -> str:
    """The number that would have done: kind and bounds, those of the field where it is known."""
    kind, limits = error["type"], dict(error.get("ctx", {}))
    whole = kind.startswith("int")
    info = model.model_fields.get(str(error["loc"][0])) if model and error["loc"] else None
    if info is not None and len(error["loc"]) == 1:
        whole = plain_kind(info.annotation)[0] is int
        limits |= {
            name: value
            for constraint in info.metadata
            for name in _LIMITS
            if (value := getattr(constraint, name, None)) is not None
        }
    noun = "a whole number" if whole else "a finite number" if "finite" in kind else "a number"
    if "ge" in limits and "le" in limits:
        return f"{noun} from {plain_number(limits['ge'])} to {plain_number(limits['le'])}"
    bounds = [
        words.format(plain_number(limits[name]))
        for name, words in _LIMITS.items()
        if name in limits
    ]
    if info is None and kind.startswith(("greater", "less")):
        return ", ".join(bounds)
    return ", ".join([noun, *bounds])
