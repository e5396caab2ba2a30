"""Options of a command made from an operation's arguments: names, help, bounds and choices.

    SteerArguments (pydantic)  -->  options_of(SteerArguments)  -->  one typer option per field

An option that is not given stays out of what a command gets, so defaults are those of the arguments.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from adl.words import plain_number
from workbench.cli.stdin import with_stdin
from workbench.fields import (
    LISTS,
    bounds,
    choices,
    in_words,
    item_kind,
    plain_kind,
)
from workbench.operations.running import Arguments

A = TypeVar("A", bound=Arguments)
Given = dict[str, Any]
"""Values by field of the arguments, of the options that were given."""

#: Options that are called otherwise than their field: short, and in the singular where they repeat.
NAMES = {
    "alphas": "alpha",
    "changes": "change",
    "frames": "frame",
    "kinds": "kind",
    "layers": "layer",
    "max_new_tokens": "tokens",
    "messages": "message",
    "n_random": "random",
    "n_samples": "samples",
    "n_texts": "texts",
    "prompt_file": "prompts",
    "prompts": "prompt",
    "ratios": "ratio",
    "readings": "reading",
    "sides": "side",
    "strengths": "strength",
    "starts": "start",
    "where": "at",
    "words": "word",
}
#: Further spellings of options, by whether they take several values.
ALSO = {("layer", True): ("--layers",), ("judge_model", False): ("--judge",)}
_SIMPLE = (str, int, float, bool, Path)


def options_of(
    arguments: type[BaseModel],
    *,
    leave_out: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    positional: str | Collection[str] | None = None,
    panels: Mapping[str, str] | None = None,
    several: Collection[str] = (),
) -> Callable[..., Given]:
    """A builder for ``options_from``: its parameters are the options, its result what was given.

    Fields in ``leave_out`` have no option. ``names`` calls options of this command otherwise than
    ``NAMES`` does; ``positional`` fields are taken as the command's arguments; ``panels`` are the
    headings of the help under which fields stand. ``several`` fields may be repeated although the
    arguments have one value: a command that runs the operation several times gets tuples of them.
    """
    arguments_by_place = {positional} if isinstance(positional, str) else set(positional or ())
    named = {**NAMES, **(names or {})}
    fields = {
        _identifier(named.get(name, name)): name
        for name in arguments.model_fields
        if name not in leave_out
    }
    parameters = [
        _parameter(
            option,
            arguments.model_fields[name],
            positional=name in arguments_by_place,
            panel=(panels or {}).get(name),
            several=name in several,
        )
        for option, name in fields.items()
    ]

    def given(**values: Any) -> Given:
        return with_stdin(
            {
                fields[option]: tuple(value)
                if fields[option] in several
                else _value(option, arguments.model_fields[fields[option]], value)
                for option, value in values.items()
                if value is not None
            }
        )

    given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return given


def arguments_from(
    arguments: type[A], *, names: Mapping[str, str] | None = None, **more: Any
) -> Callable[..., A]:
    """A builder for ``options_from`` like `options_of`, whose result is the arguments themselves."""
    given = options_of(arguments, names=names, **more)

    def build(**values: Any) -> A:
        return made(arguments, given(**values), **(names or {}))

    build.__signature__ = inspect.signature(given)  # type: ignore[attr-defined]
    return build


def made(arguments: type[A], given: Mapping[str, Any], **names: str) -> A:
    """The arguments of what was given. Raises ``BadParameter`` that names the option.

    ``names`` are the options called otherwise than ``NAMES`` does, by field.
    """
    try:
        return arguments.model_validate(given)
    except ValidationError as exc:
        option = functools.partial(option_name, names=names)
        raise typer.BadParameter(in_words(exc, arguments, most=1, names=option)) from exc


def option_name(field: str, names: Mapping[str, str] | None = None) -> str:
    """The option of a field, as it is typed; ``names`` are those called otherwise than in ``NAMES``."""
    return "--" + {**NAMES, **(names or {})}.get(field, field).replace("_", "-")


def merged_options(
    command: Callable[..., Any], builders: Mapping[str, Callable[..., Any]]
) -> Callable[..., Any]:
    """``command`` with each builder's options in place of the parameter of the builder's name."""
    own = inspect.signature(command, eval_str=True).parameters
    groups = {
        name: inspect.signature(builder, eval_str=True).parameters
        for name, builder in builders.items()
    }
    merged = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.default is not inspect.Parameter.empty
        else parameter
        for name, parameter in own.items()
        if name not in builders
    ]
    merged += [parameter for group in groups.values() for parameter in group.values()]

    @functools.wraps(command)
    def expanded(**given: Any) -> Any:
        built = {
            name: builders[name](**{option: given.pop(option) for option in group})
            for name, group in groups.items()
        }
        return command(**built, **given)

    expanded.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted(merged, key=lambda parameter: parameter.kind)
    )
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
    return expanded


# --- parts ----------------------------------------------------------------------------------------


def _identifier(option: str) -> str:
    """The name of an option as that of a parameter: ``from`` and its kin get an underscore."""
    name = option.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def _spelled(identifier: str) -> str:
    return "--" + identifier.removesuffix("_").replace("_", "-")


def _parameter(
    option: str, info: FieldInfo, *, positional: bool, panel: str | None, several: bool
) -> inspect.Parameter:
    kind, _ = plain_kind(info.annotation)
    item = kind if several else item_kind(kind)
    required = info.is_required()
    more: dict[str, Any] = {"help": _help(info, repeats=item is not None and not positional)}
    inner = kind if item is None else item
    if inner not in _SIMPLE and not choices(inner):
        more["metavar"] = "JSON"
    elif item is not None and choices(item):
        more["metavar"] = f"[{'|'.join(choices(item))}]"
    if panel is not None:
        more["rich_help_panel"] = panel
    if kind in {int, float}:
        more |= bounds(info)
    if positional:
        declared: Any = typer.Argument(**more)
    else:
        shown = _shown_default(info)
        name = _spelled(option)
        if kind is bool and info.default is True:
            name += f"/--no-{name.removeprefix('--')}"
        also = ALSO.get((option, item is not None), ())
        declared = typer.Option(name, *also, show_default=shown, **more)
    # typer has no lists of choices: the arguments check them.
    annotation: Any = _taken(kind) if item is None else list[item if item in _SIMPLE else str]  # type: ignore[misc]
    return inspect.Parameter(
        option,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[annotation if required else annotation | None, declared],
    )


def _taken(kind: Any) -> Any:
    """The type that typer reads: what it does not know is read as JSON text."""
    known = kind in _SIMPLE or get_origin(kind) is Literal
    return kind if known or (isinstance(kind, type) and issubclass(kind, Enum)) else str


def _help(info: FieldInfo, *, repeats: bool) -> str:
    text = info.description or ""
    return f"{text.removesuffix('.')}; may be repeated." if repeats else text


def _shown_default(info: FieldInfo) -> str | bool:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if default is None or default == "" or default is False or default == ():
        return False
    if isinstance(default, LISTS):
        return ", ".join(map(str, default))
    if isinstance(default, float):
        return plain_number(default, 3)
    return str(default.value) if isinstance(default, Enum) else str(default)


def _value(option: str, info: FieldInfo, value: Any) -> Any:
    kind, _ = plain_kind(info.annotation)
    item = item_kind(kind)
    inner = kind if item is None else item
    if inner in _SIMPLE or choices(inner):
        return tuple(value) if item is not None else value
    texts = value if item is not None else [value]
    try:
        read = [json.loads(text) for text in texts]
    except ValueError as exc:
        name = _spelled(option)
        raise typer.BadParameter(f"{name}: {texts[0]!r} is not JSON: {exc}") from exc
    return tuple(read) if item is not None else read[0]
