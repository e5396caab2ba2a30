"""A form made of an operation's arguments: what may be typed, and what was typed made arguments again.

    arguments (pydantic)  -->  FormField, one for each        labels, defaults, choices, descriptions
    typed texts           -->  Checked                        arguments, or what is wrong by field

Any operation will do: nothing here knows one by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from workbench.fields import WHOLE as WHOLE
from workbench.fields import choices, item_kind, plain_kind, problems_in_words
from workbench.operations.documents import DocumentArguments
from workbench.operations.running import Arguments

A_co = TypeVar("A_co", bound=Arguments, covariant=True)
NONE, NO, YES = "none", "no", "yes"
_BETWEEN_WORDS = re.compile(r"[,;\s]+")
_BETWEEN_TEXTS = re.compile(r"\s*;\s*")


@dataclass(frozen=True)
class FormField:
    """One line of the form.

    ``values`` are all there are to choose from, empty where one types. ``between`` says how several
    values are kept apart, and is empty for one value. ``default`` is as one would type it; nothing
    typed means the default.
    """

    name: str
    label: str
    said: str
    default: str
    values: tuple[str, ...] = ()
    between: str = ""
    required: bool = False


@dataclass(frozen=True)
class Checked(Generic[A_co]):
    """The arguments, or None and what is wrong, by field (``WHOLE`` for all of it)."""

    arguments: A_co | None
    problems: Mapping[str, str] = field(default_factory=dict)


def fields_of(arguments: type[Arguments]) -> tuple[FormField, ...]:
    """The fields of a form for these arguments: what has to be given first, then what is its own."""
    found = (_form_field(name, info) for name, info in arguments.model_fields.items())
    own = arguments.__annotations__.keys() | DocumentArguments.model_fields.keys()
    return tuple(sorted(found, key=lambda one: (not one.required, one.name not in own)))


def first_texts(arguments: type[Arguments], known: Mapping[str, str]) -> dict[str, str]:
    """What stands in the fields at first: what is ``known`` by name, and the defaults otherwise.

    A known value that is none of a field's choices is left out.
    """
    texts = {}
    for one in fields_of(arguments):
        value = known.get(one.name, one.default)
        texts[one.name] = one.default if one.values and value not in one.values else value
    return texts


def check(arguments: type[Arguments], texts: Mapping[str, str]) -> Checked[Arguments]:
    """The arguments that were typed, or what is wrong with them."""
    given: dict[str, Any] = {}
    for one in fields_of(arguments):
        typed = texts.get(one.name, "").strip()
        if typed:
            given[one.name] = _value(one, typed, arguments.model_fields[one.name])
    try:
        made = arguments.model_validate(given)
    except ValidationError as exc:
        return Checked(None, problems_in_words(exc, arguments))
    if needs_documents(made):
        return Checked(
            None, {"documents": "name a file of finetuning documents here, or an organism below"}
        )
    return Checked(made)


def needs_documents(arguments: Arguments) -> bool:
    """Whether finetuning documents are to be compared with and none are named."""
    return isinstance(arguments, DocumentArguments) and not sees_truth(arguments)


def sees_truth(arguments: Arguments) -> bool:
    """Whether running it shows something of what the model was finetuned on."""
    return isinstance(arguments, DocumentArguments) and bool(
        arguments.documents or arguments.truth_of or getattr(arguments, "words", ())
    )


# --- parts ----------------------------------------------------------------------------------------


def _form_field(name: str, info: FieldInfo) -> FormField:
    kind, optional = plain_kind(info.annotation)
    values = _values(kind)
    if values and optional:
        values = (NONE, *values)
    required = info.is_required()
    default = None if required else info.get_default(call_default_factory=True)
    between = _between(kind, default)
    return FormField(
        name=name,
        label=_label(name),
        said=info.description or "",
        default=_typed(default, between, values),
        values=values,
        between=between,
        required=required,
    )


def _values(kind: Any) -> tuple[str, ...]:
    return (NO, YES) if kind is bool else choices(kind)


def _between(kind: Any, default: Any) -> str:
    """How several values are kept apart: texts by semicolons, as a comma may be part of one."""
    item = item_kind(kind)
    if item is None:
        return ""
    words = item is not str or (default and not any(" " in one for one in default))
    return ", " if words else "; "


def _typed(value: Any, between: str, values: Sequence[str]) -> str:
    if value is None:
        return NONE if values else ""
    if between:
        return between.join(_typed(one, "", ()) for one in value)
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def _label(name: str) -> str:
    words = name.removeprefix("n_").replace("_", " ")
    return f"Number of {words}" if name.startswith("n_") else words.capitalize()


def _value(one: FormField, typed: str, info: FieldInfo) -> Any:
    """What pydantic is given: it reads numbers out of text by itself."""
    if one.values:
        return {NONE: None, YES: True, NO: False}.get(typed, typed)
    kind, optional = plain_kind(info.annotation)
    if optional and typed == NONE:
        return None
    if one.between:
        split = _BETWEEN_WORDS if one.between == ", " else _BETWEEN_TEXTS
        return [part for part in split.split(typed) if part]
    if kind not in {str, int, float} and typed[0] in "{[":
        try:
            return json.loads(typed)
        except ValueError:
            return typed
    return typed
