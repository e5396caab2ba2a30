"""Fields of a form made from an operation's arguments, and arguments made from typed texts.

    arguments (pydantic)  -->  a FormField for each           labels, defaults, choices, descriptions
    typed texts           -->  Checked                        arguments, or problems by field

Nothing here knows an operation by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from workbench.fields import LISTS, choices, item_kind, plain_kind, problems_in_words
from workbench.fields import WHOLE as WHOLE
from workbench.operations.documents import DocumentArguments
from workbench.operations.running import Arguments

A_co = TypeVar("A_co", bound=Arguments, covariant=True)
NONE, NO, YES = "none", "no", "yes"
_BETWEEN_WORDS = re.compile(r"[,;\s]+")
_BETWEEN_TEXTS = re.compile(r"\s*;\s*")


@dataclass(frozen=True)
class FormField:
    """A line of the form.

    ``values`` are the choices, empty for a typed field. ``between`` separates several values and is
    empty for a single value. ``default`` is written as it would be typed; nothing
    typed means the default.
    """

    name: str
    label: str
    help: str
    default: str
    values: tuple[str, ...] = ()
    between: str = ""
    required: bool = False


@dataclass(frozen=True)
class Checked(Generic[A_co]):
    """The arguments, or None and the problems by field (``WHOLE`` for the form as a whole)."""

    arguments: A_co | None
    problems: Mapping[str, str] = field(default_factory=dict)


def fields_of(arguments: type[Arguments]) -> tuple[FormField, ...]:
    """Return the fields of a form: required ones first, then those of the operation's own."""
    found = (form_field(name, info) for name, info in arguments.model_fields.items())
    own = arguments.__annotations__.keys() | DocumentArguments.model_fields.keys()
    return tuple(sorted(found, key=lambda field: (not field.required, field.name not in own)))


def first_texts(arguments: type[Arguments], known: Mapping[str, str]) -> dict[str, str]:
    """Return the first texts of the fields: values ``known`` by name, else the defaults.

    A known value that is none of a field's choices is left out.
    """
    texts = {}
    for line in fields_of(arguments):
        value = known.get(line.name, line.default)
        refused = line.values and value not in line.values
        texts[line.name] = line.default if refused else value
    return texts


def check(arguments: type[Arguments], texts: Mapping[str, str]) -> Checked[Arguments]:
    """Return the typed arguments, or the problems with them."""
    given: dict[str, Any] = {}
    for line in fields_of(arguments):
        typed = texts.get(line.name, "").strip()
        if typed:
            given[line.name] = from_typed(line, typed, arguments.model_fields[line.name])
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
    """True if finetuning documents are needed and none are named."""
    return isinstance(arguments, DocumentArguments) and not sees_truth(arguments)


def sees_truth(arguments: Arguments) -> bool:
    """True if a run shows something of the finetuning documents."""
    return isinstance(arguments, DocumentArguments) and bool(
        arguments.documents or arguments.truth_of or getattr(arguments, "words", ())
    )


def form_field(name: str, info: FieldInfo) -> FormField:
    """Return the line of a form for a field of a model."""
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
        help=info.description or "",
        default=NONE if default is None and values else typed_text(default, between),
        values=values,
        between=between,
        required=required,
    )


def typed_text(value: Any, between: str = " ") -> str:
    """Return a value as it would be typed, with ``between`` between several."""
    if value is None:
        return ""
    if isinstance(value, LISTS):
        return between.join(typed_text(item, between) for item in value)
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def from_typed(line: FormField, typed: str, info: FieldInfo) -> Any:
    """Return what was typed for pydantic, which reads numbers from text itself."""
    if line.values:
        return {NONE: None, YES: True, NO: False}.get(typed, typed)
    kind, optional = plain_kind(info.annotation)
    if optional and typed == NONE:
        return None
    if line.between:
        split = _BETWEEN_WORDS if line.between == ", " else _BETWEEN_TEXTS
        return [part for part in split.split(typed) if part]
    if kind not in {str, int, float} and typed.startswith(("{", "[")):
        try:
            return json.loads(typed)
        except ValueError:
            return typed
    return typed


# --- parts ----------------------------------------------------------------------------------------


def _values(kind: Any) -> tuple[str, ...]:
    return (NO, YES) if kind is bool else choices(kind)


def _between(kind: Any, default: Any) -> str:
    """Return the separator of several values: semicolons for texts, which may hold commas."""
    item = item_kind(kind)
    if item is None:
        return ""
    words = item is not str or (default and not any(" " in text for text in default))
    return ", " if words else "; "


def _label(name: str) -> str:
    words = name.removeprefix("n_").replace("_", " ")
    return f"Number of {words}" if name.startswith("n_") else words.capitalize()
