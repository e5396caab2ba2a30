"""Drawing of findings: a verdict, small plots beside their numbers, and sample texts.

Any finding is drawn, none is named: each gives its own figures, see `workbench.store.findings`. Text of
models and files goes through the display boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from textual.content import Content

from workbench.sparkline import spark
from workbench.store.findings import (
    Bar,
    Curve,
    Figure,
    Finding,
    Heading,
    Line,
    Rows,
    Sample,
    title_of,
)
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.tui import text
from workbench.tui.widgets.bars import bar, dots

Lines = list[Content]

_MUTED = "$foreground-muted"
_FILLED = "$accent on $panel"
_LABEL = 24
#: Styles of pieces of a text from so many nats on; underlined, too, where there is no colour.
_SHADES = (
    (6.0, "bold underline on $accent 50%"),
    (3.0, "underline on $accent 30%"),
    (1.0, "on $accent 15%"),
)
_FEWEST_CELLS, _MOST_CELLS = 8, 40


def findings(state: SessionState) -> list[Recorded[Finding]]:
    """Return the findings with a place on the screen of measures, the oldest first."""
    trained = [
        cast(Recorded[Finding], known)
        for known in state.trainings
        if isinstance(known.body, Finding)
    ]
    return sorted([*state.measures, *trained], key=lambda recorded: recorded.seq)


def look(recorded: Recorded[Finding], state: SessionState, width: int) -> Content:
    """Return a finding in full, ``width`` cells wide."""
    finding = recorded.body
    others = [other.body for other in (*state.measures, *state.trainings)]
    made = f"event {recorded.seq}, {recorded.at:%Y-%m-%d %H:%M} UTC, by {recorded.actor.kind}"
    lines = [
        Content.assemble((finding.label, "bold"), "  ", text.line(finding.short(), "bold $accent")),
        text.line(made, _MUTED),
        Content(),
        drawn(finding.figures(others), state, width),
    ]
    return Content("\n").join(lines)


def drawn(figures: Sequence[Figure], state: SessionState, width: int) -> Content:
    """Return figures one below the other, ``width`` cells wide."""
    cells = max(_FEWEST_CELLS, min(_MOST_CELLS, width - _LABEL - 28))
    return Content("\n").join(line for figure in figures for line in _drawn(figure, state, cells))


def _drawn(figure: Figure, state: SessionState, cells: int) -> Lines:
    match figure:
        case Heading():
            return _heading(figure.text)
        case Line():
            return [_line(figure)]
        case Rows():
            return _rows(figure, cells) if figure.rows else []
        case Curve():
            drawn = (spark(figure.values, cells), _FILLED)
            return [*_heading(figure.title), Content.assemble(drawn, f" {figure.note}")]
        case Sample():
            return [*_heading(title_of(figure, state.texts)), _sample(figure, state)]


def _heading(title: str) -> Lines:
    return [Content(), text.line(title, "bold")]


def _line(line: Line) -> Content:
    return text.line(line.text, _MUTED if line.muted else "")


def _rows(figure: Rows, cells: int) -> Lines:
    drawn = [part for row in figure.rows for part in row.drawn]
    among = any(isinstance(part, Bar) and part.nulls for part in drawn)
    lines = _heading(figure.title + (" (· random directions)" if among else ""))
    for part in drawn:
        lines += [_line(part)] if isinstance(part, Line) else _bar(part, figure.most, cells)
    return lines


def _bar(part: Bar, most: float, cells: int) -> Lines:
    if part.nulls:
        return _dots(part, cells)
    style = _MUTED if part.muted else ""
    filled = f"{_MUTED} on $panel" if part.muted else _FILLED
    return [_labelled(part, bar(part.value / most, cells), filled, style)]


def _dots(part: Bar, cells: int) -> Lines:
    """A value among its nulls, with the ends of the axis below."""
    drawn, low, high = dots(part.value, part.nulls, cells)
    ends = part.form.format(low), part.form.format(high)
    between = " " * max(1, cells - len(ends[0]) - len(ends[1]))
    indent = " " * (_LABEL + 1)
    return [
        _labelled(part, drawn, _FILLED, ""),
        Content.styled(f"{indent}{ends[0]}{between}{ends[1]}", _MUTED),
    ]


def _labelled(part: Bar, drawn: str, filled: str, style: str) -> Content:
    return Content.assemble(
        text.line(part.label.ljust(_LABEL), style, _LABEL),
        " ",
        (drawn, filled),
        " ",
        text.line(part.note, style),
    )


def _sample(figure: Sample, state: SessionState) -> Content:
    if figure.text_id is None:
        whole = figure.text
        is_cut = bool(figure.ends) and figure.ends[-1] == len(whole)
        return _shaded(whole, figure) if is_cut else text.block(whole.strip())
    found = state.texts.get(figure.text_id)
    if found is None:
        return Content("(not in this session)")
    # Of a text in which a name is hidden nobody knows where the pieces end.
    if figure.ends and figure.ends[-1] == len(found.text):
        return _shaded(found.text, figure)
    return text.block(found.text.strip())


def _shaded(whole: str, figure: Sample) -> Content:
    """A text whose pieces are shaded by their ratio."""
    first, last = len(whole) - len(whole.lstrip()), len(whole.rstrip())
    pieces = []
    begin = 0
    for end, ratio in zip(figure.ends, figure.ratios, strict=True):
        piece = whole[max(begin, first) : min(end, last)]
        style = next((style for least, style in _SHADES if ratio >= least), "")
        pieces.append(text.block(piece, style))
        begin = end
    return Content("").join(pieces)
