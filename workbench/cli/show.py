"""Printing for people: tables and texts, every untrusted part cleaned first."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adl.nulls import source_order
from adl.readings.registry import READINGS
from adl.records import POOLED
from adl.text.tokens import visible
from workbench.display import ascii_only, clean_line, clean_lines, shorten
from workbench.store.against_nulls import (
    against_nulls,
    by_layer,
    folded,
    folded_line,
    layers_line,
    struck_line,
)
from workbench.store.events import AnswersCompared, ReadingTaken
from workbench.store.findings import NO_TOKEN, Curve, Finding, Heading, Line, Rows, Sample, title_of
from workbench.store.kl_reference import MEASURED_BY, beside_reference
from workbench.store.state import NOT_COMPUTED as NOT_COMPUTED
from workbench.store.state import SessionState, chosen_lists

#: A cell that is a number, perhaps with a sign or a unit of per cent, a time, or empty.
_NUMBER_OR_TIME = re.compile(r"[-+\u2212\u00b1]?\d[\d.,:e%+\u2212\u00b1 -]*|")
#: The least that a column of words is worth in a table.
_LEAST_COLUMN = 6
#: The least that the last column of `stream` gets.
LEAST_WIDTH = 20
TOKENS_SHOWN = 20
TEXT_WIDTH = 400


class _Stdout(Console):
    """stdout, which says when its reader went away instead of ending the process there."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


stdout = _Stdout(highlight=False, soft_wrap=False)


def sayable(text: str, encoding: str) -> str:
    """``text`` as far as a stream of this encoding can say it."""
    return text if encoding.lower().startswith("utf") else ascii_only(text)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    whole: Sequence[str] = (),
) -> None:
    """Print rows under columns; cells are cleaned here and never read as markup.

    Cells of the columns ``whole`` are never broken over lines, so that they can be copied, nor are
    numbers and times. A terminal that is too narrow for them gets lines as a program does.
    """
    rows = list(rows)
    if not stdout.is_terminal:
        _write_rows(columns, rows, title)
        return
    names = [_clean(column) for column in columns]
    cells = [[_clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max((cell_len(row[at]) for row in cells), default=0) for at in range(len(names))]
    frame = 1 + 3 * len(names)
    is_tight = frame + sum(map(max, widths, map(cell_len, names))) > stdout.width
    shown = Table(title=_line(title) if title else None, title_justify="left")
    needed = frame
    for at, (name, width) in enumerate(zip(names, widths, strict=True)):
        is_whole = columns[at] in whole or all(_NUMBER_OR_TIME.fullmatch(row[at]) for row in cells)
        lines = [name]
        if is_whole and is_tight:
            # A column that is not broken has no other lines than these.
            lines = wrap(name, max(width, 1), break_long_words=False) or lines
        shown.add_column(Text("\n".join(lines)), overflow="fold", no_wrap=is_whole)
        longest = max(map(cell_len, lines))
        needed += max(width, longest) if is_whole else min(width, _LEAST_COLUMN)
    if needed > stdout.width:
        _write_rows(columns, rows, title)
        return
    for row in cells:
        shown.add_row(*map(Text, row))
    stdout.print(shown)


def stream(
    columns: Sequence[str],
    widths: Sequence[int],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
) -> None:
    """Print rows as they come, however many: their columns are of given widths, in cells.

    The last column takes the rest of a line, at least `LEAST_WIDTH`, and goes on below itself. Cells
    are cleaned here, those of other columns are never broken.
    """
    if not stdout.is_terminal:
        _write_rows(columns, rows, title)
        return
    if title:
        heading(title)
    encoding, write = stdout.encoding, stdout.file.write
    bar = "\u2502" if encoding.lower().startswith("utf") else "|"

    def start(cells: Sequence[str]) -> str:
        padded = map(_padded, cells, widths)
        return "".join(f"{bar} {cell} " for cell in padded) + f"{bar} "

    blank = start([""] * len(widths))
    rest = max(stdout.width - len(blank), LEAST_WIDTH)
    heading(start(columns[:-1]) + columns[-1])
    for row in rows:
        first = start([sayable(clean_line(cell), encoding) for cell in row[:-1]])
        text = sayable(clean_line(row[-1]), encoding)
        if len(text) <= rest and text.isascii():
            write(f"{first}{text}\n")
        else:
            lines = wrap(text, rest) if text.isascii() else chop_cells(text, rest)
            write(first + f"\n{blank}".join(lines) + "\n")
    stdout.file.flush()


def _write_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Write rows for a program: a line each, cells parted by tabs, below a line of the columns."""
    if title:
        _write(f"# {_clean(title)}")
    for row in chain([columns], rows):
        # A tab within a cell is made visible, as every control is.
        _write("\t".join(_clean("" if cell is None else str(cell)) for cell in row))
    stdout.file.flush()


def _write(text: str) -> None:
    stdout.file.write(f"{text}\n")


def _padded(text: str, width: int) -> str:
    cells = len(text) if text.isascii() else cell_len(text)
    return text + " " * max(width - cells, 0)


def paragraph(text: str) -> None:
    """Print text of a model, its line feeds kept."""
    shown = sayable(clean_lines(text), stdout.encoding)
    if stdout.is_terminal:
        stdout.print(Text(shown))
    else:  # whoever reads it there wants the lines of the text, not of a screen
        _write(shown)
        stdout.file.flush()


def heading(text: str) -> None:
    """Print a line that stands out."""
    if stdout.is_terminal:
        stdout.print(_line(text, style="bold"))
    else:
        _write(_clean(text))


def gap() -> None:
    """Print an empty line."""
    stdout.print()


def _line(text: str, style: str = "") -> Text:
    return Text(_clean(text), style=style)


def _clean(text: str) -> str:
    return sayable(clean_line(text), stdout.encoding)


def layers(state: SessionState) -> None:
    """Print which layer reads best by its distance from the nulls, if several were read."""
    found = by_layer(state.readings)
    if len(found) > 1:
        paragraph(layers_line(found, 40))


def readings(
    state: SessionState,
    layers: Sequence[int],
    wanted: Sequence[str] = tuple(READINGS),
    position: str = POOLED,
) -> None:
    """Print the chosen lists at a position of each layer, each beside its nulls.

    Of all readings, those that are no better than their nulls are folded into a line below.
    """
    everything = set(wanted) >= set(READINGS)
    for layer in layers:
        rows = []
        beside = against_nulls(state, layer)
        hidden = folded(beside.values()) if everything else ()
        for reading in wanted:
            if reading in hidden:
                continue
            lists = lists_at(state, reading, layer, position)
            if not lists:
                rows.append((reading.replace("_", " "), "", "", state.not_computed(reading, layer)))
            for body in lists:
                tokens = " ".join(
                    visible(body.word(token)).lstrip("\u00b7") for token in body.tokens
                )
                scale = "" if body.scale is None else f"{body.scale:g}"
                words = shorten(tokens, TEXT_WIDTH) if body.tokens else NO_TOKEN
                source = body.source.replace("_", " ")
                rows.append((f"{reading.replace('_', ' ')} ({body.side})", source, scale, words))
        table(
            ("reading", "of", "scale", "tokens, highest first"),
            rows,
            title=f"layer {layer}, position {position}",
        )
        struck = struck_line(state, layer)
        if struck:
            paragraph(struck)
        for found in beside.values():
            if found.reading not in hidden and found.reading in wanted and found.closeness:
                known = READINGS.get(found.reading)
                name = known.title if known else found.reading
                limits = known.limits if known else ""
                paragraph(f"{name} ({found.side}): {found.words}. {limits}")
        if hidden:
            paragraph(folded_line(hidden))


def lists_at(
    state: SessionState, reading: str, layer: int, position: str = POOLED
) -> list[ReadingTaken]:
    """The newest chosen lists of a reading at a site, the difference first.

    A session in which the same was read twice, with other scales chosen, still holds the lists that
    were chosen first.
    """
    found = [
        taken.body
        for key, taken in chosen_lists(state.readings).items()
        if (key.reading, key.layer, key.position) == (reading, layer, position)
    ]
    return sorted(found, key=lambda body: (body.side, source_order(body.source)))


def reading_data(
    state: SessionState,
    layers: Sequence[int],
    wanted: Sequence[str] = tuple(READINGS),
    position: str = POOLED,
) -> list[dict[str, Any]]:
    """The same lists as data, without the log's own fields.

    ``no_better_than_nulls`` is None where closeness was not computed, or for a null itself.
    """
    beside = {layer: against_nulls(state, layer) for layer in layers}

    def no_better(body: ReadingTaken) -> bool | None:
        found = beside[body.layer].get((body.reading, body.side))
        return found.no_better if found is not None and body.source == "difference" else None

    return [
        {
            "reading": body.reading,
            "source": body.source,
            "side": body.side,
            "layer": body.layer,
            "position": body.position,
            "scale": body.scale,
            "chosen_by": body.chosen_by,
            "statistics": body.statistics,
            "no_better_than_nulls": no_better(body),
            "struck": [
                {"text": token.text, "rank": token.rank, "why": token.why} for token in body.struck
            ],
            "tokens": [
                {"id": token.id, "text": token.text, "score": token.score, "p": token.probability}
                for token in body.tokens[:TOKENS_SHOWN]
            ],
        }
        for layer in layers
        for reading in wanted
        for body in lists_at(state, reading, layer, position)
    ]


def failed_data(
    state: SessionState, layers: Sequence[int], wanted: Sequence[str] = tuple(READINGS)
) -> list[dict[str, Any]]:
    """Readings that were not computed, or not all of them, as data."""
    return [
        {"reading": reading, "layer": layer, "error": failed.body.error, "why": failed.body.reason}
        for layer in layers
        for reading in wanted
        if (failed := state.failed_readings.get((reading, layer))) is not None
    ]


def texts(state: SessionState, text_ids: Sequence[str]) -> None:
    """Print generated texts, those of one prompt together."""
    last = None
    for text_id in text_ids:
        text = state.texts[text_id]
        prompt = text.start.body.prompt
        if prompt != last:
            gap()
            heading(prompt)
            last = prompt
        body = text.start.body
        strength = f" alpha {body.alpha:g}" if body.alpha else ""
        prompting = "".join(f"; {each}" for each in body.prompting)
        heading(f"  [{body.side}{strength}{prompting}]")
        paragraph(text.text)


def text_data(state: SessionState, text_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Generated texts as data."""
    return [
        {
            "text_id": text_id,
            "prompt": text.start.body.prompt,
            "side": text.start.body.side,
            "alpha": text.start.body.alpha,
            "seed": text.start.body.seed,
            "thinking": text.start.body.thinking,
            "prompt_notes": list(text.start.body.prompt_notes),
            "text": text.text,
            "ended": text.ended,
        }
        for text_id, text in ((text_id, state.texts[text_id]) for text_id in text_ids)
    ]


def comparison(body: AnswersCompared, reference: float | None) -> None:
    """Print where two answers part, and the KL along the finetuned one beside ``reference``."""
    where = "never" if body.first_divergence is None else f"at token {body.first_divergence}"
    mean = beside_reference(sum(body.kl) / len(body.kl), reference, 3) if body.kl else NOT_COMPUTED
    gap()
    heading(f"answers part {where}; mean KL(finetuned || base) in nats per token: {mean}")
    if body.kl and reference is None:
        paragraph(f"`{MEASURED_BY}` measures it on unrelated text, to compare with.")


def finding(state: SessionState, found: Finding) -> None:
    """Print a finding: its sentences, its rows as tables, and its texts."""
    heading(f"{found.label.capitalize()}: {found.short()}")
    for figure in found.figures(
        [recorded.body for recorded in (*state.measures, *state.trainings)]
    ):
        match figure:
            case Heading():
                heading(figure.text)
            case Line():
                paragraph(figure.text)
            case Rows():
                table(figure.columns, [row.cells for row in figure.rows], title=figure.title)
            case Curve():
                paragraph(f"{figure.title}: {figure.note}")
            case Sample():
                heading(title_of(figure, state.texts))
                known = state.texts.get(figure.text_id or "")
                paragraph(figure.text if known is None else known.text)


def pairs(title: str, facts: Mapping[str, Any]) -> None:
    """Print names and values; the values of a list on a row each."""
    rows = []
    for name, value in facts.items():
        several = value if isinstance(value, list) else [value]
        rows += [(name if index == 0 else "", item) for index, item in enumerate(several)]
    table((title, ""), rows)
