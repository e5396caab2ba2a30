"""Token lists as text that leaves the program: for the clipboard and for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from adl.paths import expanded
from workbench.display import clean_line
from workbench.private_files import new_text
from workbench.store.events import ReadToken
from workbench.tui.panes.readings.columns import Column, Table
from workbench.tui.panes.readings.index import Group
from workbench.tui.panes.readings.render import scale_name, strength_name, vector_in_words

HEADINGS = (
    *("reading", "side", "source", "layer", "position", "scale", "chosen"),
    *("rank", "token", "id", "score", "probability", "evidence", "event"),
)
MarksOf = Callable[[Column, ReadToken], Sequence[str]]


def where(group: Group, column: Column) -> str:
    """Return the layer, position, side and source of a list in words."""
    words = [
        vector_in_words(group.reading, column.source, group.side),
        f"layer {group.layer}",
        f"position {clean_line(column.position)}",
    ]
    scale = scale_name(column.scale, group.reading)
    if scale:
        words.append(f"{strength_name(group.reading)} {scale}")
    return ", ".join(words)


def list_text(group: Group, column: Column) -> str:
    """Return one list: its place, then a line for each token."""
    lines = [where(group, column)]
    lines += [
        f"{rank}\t{clean_line(token.text)}\t{token.score:.6g}"
        for rank, token in enumerate(column.tokens, start=1)
    ]
    return "\n".join(lines) + "\n"


def table_text(table: Table, marks_of: MarksOf) -> str:
    """All lists of a table as tab-separated values, a line for each token."""
    rows: list[Sequence[object]] = [HEADINGS]
    group = table.group
    for column in table.columns:
        if column.taken is None:
            continue
        scale = "" if column.scale is None else f"{column.scale:g}"
        site = (group.reading, group.side, column.source, group.layer, column.position, scale)
        for rank, token in enumerate(column.tokens, start=1):
            probability = "" if token.probability is None else f"{token.probability:.6g}"
            rows.append(
                (
                    *(*site, "yes" if column.starred else "no", rank, token.text, token.id),
                    *(f"{token.score:.6g}", probability, " ".join(marks_of(column, token))),
                    column.taken.seq,
                )
            )
    return "".join("\t".join(clean_line(str(cell)) for cell in row) + "\n" for row in rows)


def write(path: str, content: str, *, replace: bool) -> Path:
    """Write a file. Raises OSError, ``FileExistsError`` if it is there and not to be replaced."""
    target = expanded(path)
    with new_text(target, replace=replace, newline="") as file:
        file.write(content)
    return target
