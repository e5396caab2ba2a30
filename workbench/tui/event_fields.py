"""The fields of an event as names and clean text; long values are cut, with a note."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from adl.words import number_of, plain_number
from workbench.display import clean_line, clean_lines
from workbench.store.events import Event

#: Characters shown of one text, and items of one list, where there is room.
LONGEST = 2_000
MOST = 20
_DEEPEST = 4
#: Values that say nothing but that they are empty.
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def event_fields(event: Event, longest: int = LONGEST, most: int = MOST) -> list[tuple[str, str]]:
    """Return clean names and values: seq, time and actor, then the fields of the body in order.

    The names of those that hold nothing stand in one field at the end.
    """
    actor = event.actor
    body = event.body.model_dump(mode="json", exclude={"kind"})
    empty = ", ".join(clean_line(name) for name, value in body.items() if value in _NOTHING)
    return [
        ("event", str(event.seq)),
        ("time", f"{event.at:%Y-%m-%d %H:%M:%S} UTC"),
        ("by", clean_line(f"{actor.kind} {actor.name}".strip())),
        ("kind", event.body.kind),
        *(
            field
            for name, value in body.items()
            if value not in _NOTHING
            for field in _fields(name, value, longest, most)
        ),
        *([("empty", empty)] if empty else []),
        ("operation id", clean_line(event.operation_id or "none")),
        ("sha256", event.sha256),
    ]


def as_table(fields: list[tuple[str, str]]) -> Table:
    """Return a table of names and values, a field a row."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for name, value in fields:
        table.add_row(Text(name), Text(value))
    return table


def as_flow(fields: list[tuple[str, str]]) -> Text:
    """Return the fields one after another, for little room."""
    flow = Text()
    for name, value in fields:
        flow.append(f"{name} ", style="dim")
        flow.append(f"{clean_line(value)}  ")
    return flow


def as_text(fields: list[tuple[str, str]]) -> str:
    """Return a line for each field, for the clipboard."""
    return "\n".join(f"{name}: {value}" for name, value in fields)


def _fields(
    name: str, value: Any, longest: int, most: int, depth: int = 0
) -> Iterator[tuple[str, str]]:
    name = clean_line(name)
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for key, item in list(value.items())[:most]:
            yield from _fields(f"{name}.{_cut(str(key), 60)}", item, longest, most, depth + 1)
        if len(value) > most:
            yield name, _more(len(value) - most)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for number, item in enumerate(value[:most], start=1):
            yield f"{name} {number}", _cut(clean_line(_in_line(item, most)), longest)
        if len(value) > most:
            yield name, _more(len(value) - most)
    elif isinstance(value, list):
        shown = ", ".join(_scalar(item) for item in value[:most]) or "none"
        rest = f", {_more(len(value) - most)}" if len(value) > most else ""
        yield name, _cut(clean_line(shown), longest) + rest
    elif isinstance(value, str):
        yield name, clean_lines(_cut(value, longest)) or "\u201c\u201d"
    else:
        yield name, _cut(clean_line(_in_line(value, most)), longest)


def _in_line(value: Any, most: int) -> str:
    """Return a value on one line, nested values in short."""
    if isinstance(value, Mapping):
        shown = [f"{key} {_scalar(item)}" for key, item in list(value.items())[:most]]
        return ", ".join(shown) or "none"
    if isinstance(value, list):
        return ", ".join(_scalar(item) for item in value[:most]) or "none"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, str):
        return f"\u201c{value}\u201d"
    return str(value)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\u2026 (cut; {number_of(len(text), 'character')} in all)"


def _more(count: int) -> str:
    return f"\u2026 and {count:,} more"
