"""Names and values, one under the other."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from workbench.display import clean_line
from workbench.tui.widgets.text_columns import wrapped


def facts(rows: Iterable[tuple[str, str]], names: int, width: int) -> Content:
    """Return a line for each fact; a value too long for its line goes on below itself.

    ``names`` are the cells of the first column, or more for a longer name; ``width`` those of both.
    """
    rows = list(rows)
    names = max([names, *(len(name) + 1 for name, _ in rows)])
    room = max(names, width - names)
    return Content("\n").join(
        Content.assemble(
            (f"{name:<{names}}", "$foreground-muted"),
            Content(f"\n{'':<{names}}".join(wrapped(clean_line(value), room))),
        )
        for name, value in rows
    )
