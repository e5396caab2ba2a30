"""What the readings pane says in words around its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from textual.content import Content

from adl.readings import READINGS
from adl.tokens import visible
from workbench.display import clean_line, shorten
from workbench.store.events import ReadToken
from workbench.tui import text
from workbench.tui.panes.reading_columns import FUSED, Column, Table, shared_with
from workbench.tui.panes.reading_index import CHOSEN, TOP, Group, Index

NOT_COMPUTED = "not computed"

#: Where the strip of readings has room for these names.
_ROOMY = 67
_NAMES = {
    "consensus": ("consensus", "consensus"),
    "output_difference": ("output", "output"),
    "shift_lens": ("shift", "shift"),
    "amplified_difference": ("amplified", "ampl."),
    "patchscope_contrast": ("contrast", "contrast"),
    "patchscope": ("patchscope", "patch"),
    "logit_lens": ("logit", "logit"),
}
_STATISTICS = {"kl": "KL {:.3g} nats", "agreement": "prompts agree {:.2f}"}
#: Of a token no more than this is looked at; a vocabulary is not to be trusted with its lengths.
_LONGEST = 400


def plain(name: str) -> str:
    """A name of ours in words."""
    return clean_line(name.replace("_", " "))


def number(value: float | None, spec: str = ".3g") -> str:
    """A number, or that there is none."""
    if value is None:
        return NOT_COMPUTED
    return format(value, spec) if math.isfinite(value) else str(value)


def scale_name(scale: float | None, reading: str) -> str:
    """A scale as it is shown; None is the mean over several where a reading has several."""
    if scale is None:
        return "mean" if reading == "patchscope_contrast" else ""
    return f"{scale:g}"


def exact(token: str, width: int = 60) -> str:
    """A token in full, its white space and controls made visible, in quotes."""
    shown = clean_line(visible(token[:_LONGEST]))
    if len(shown) <= width and len(token) <= _LONGEST:
        return f'"{shown}"'
    return f'"{shorten(shown + " ", width)}" ({len(token)} characters)'


def short(token: str, *, unfiltered: bool = False) -> str:
    """A token for a list; among whole words the space they all begin with is left out."""
    shown = clean_line(visible(token[:_LONGEST]))
    return shown if unfiltered else shown.removeprefix("\u00b7")


# --- above the table ------------------------------------------------------------------------


def strip(index: Index, group: Group | None, width: int) -> Content:
    """All readings, the one that is shown in brackets, those that were not taken dimmed."""
    taken = index.readings(None if group is None else group.layer)
    roomy = width >= _ROOMY
    parts: list[Content | tuple[str, str] | str] = []
    for place, name in enumerate(READINGS):
        label = _NAMES[name][0 if roomy else 1]
        current = group is not None and name == group.reading
        after = group is not None and place > 0 and READINGS[place - 1] == group.reading
        if current:
            parts += [("[", "$accent"), (label, "bold $accent"), ("]", "$accent")]
        else:
            parts.append("" if after else " ")
            parts.append((label, "" if name in taken else "dim"))
    return Content.assemble(*parts)


def site(table: Table | None, group: Group, width: int) -> Content:
    """Side, source, layer and scale, each behind the key that changes it."""
    roomy = width >= _ROOMY
    parts: list[tuple[str, str] | str] = []
    if table is not None and group.side:
        parts += [("s ", "bold $accent"), f"{'on ' if roomy else ''}{plain(group.side)}  "]
        parts += [("o ", "bold $accent"), f"{'of ' if roomy else ''}{plain(group.source)}  "]
    parts += [("y ", "bold $accent"), f"layer {group.layer}  "]
    first = table.columns[0] if table is not None and table.columns else None
    if first is not None:
        shown = scale_name(first.scale, group.reading)
        star = "*" if first.starred else ""
        parts += [(", . ", "bold $accent"), f"scale {shown}{star}" if shown else "no scale"]
    return Content.assemble(*parts)


def why(index: Index, table: Table, *, unfiltered: bool) -> Content:
    """Who chose the scale, the list's own numbers, and which tokens are in it."""
    parts = []
    first = table.columns[0] if table.columns else None
    if first is not None and first.taken is not None:
        body = first.taken.body
        chosen = index.find(table.group, first.position, CHOSEN)
        if first.starred and body.chosen_by:
            parts.append(f"* chosen: {clean_line(body.chosen_by)}")
        elif not first.starred and chosen is not None:
            at = scale_name(chosen.body.scale, table.group.reading)
            by = f" ({clean_line(chosen.body.chosen_by)})" if chosen.body.chosen_by else ""
            parts.append(f"key * goes to the chosen scale {at}{by}")
        parts += [
            spec.format(body.statistics[name])
            for name, spec in _STATISTICS.items()
            if name in body.statistics
        ]
        if first.taken.actor.kind == "agent":
            parts.append(f"read by {clean_line(first.taken.actor.name) or 'the agent'}")
    parts.append("all tokens" if unfiltered else "whole words")
    return Content.styled(" \u00b7 ".join(parts), "$text-muted")


def null_lines(table: Table, *, unfiltered: bool) -> Content:
    """Of each null the top tokens, and how many the list shares with them."""
    first = table.columns[0] if table.columns else None
    if not table.nulls:
        return Content.styled(f"null {NOT_COMPUTED}: r reads it again with nulls", "$text-warning")
    lines = []
    for null in table.nulls:
        said = f"{plain(null.source)} null".ljust(16)
        facts = []
        if first is not None and first.tokens:
            facts.append(f"{shared_with(first, null)} of {min(TOP, len(first.tokens))} shared")
            if table.group.reading != FUSED and null.tokens:
                facts.append(f"top {number(null.tokens[0].score)}")
        if first is not None and null.scale != first.scale:
            facts.append(f"at {scale_name(null.scale, table.group.reading)}")
        words = " ".join(short(one.text, unfiltered=unfiltered) for one in null.tokens[:TOP])
        lines.append(
            Content.assemble(
                (said, "$text-muted"),
                ", ".join(facts),
                ": " if facts else "",
                (words or NOT_COMPUTED, "$text-muted"),
            )
        )
    return Content("\n").join(lines)


# --- below it -------------------------------------------------------------------------------


def about(
    index: Index,
    table: Table,
    column: Column,
    row: int,
    token: ReadToken,
    marks: Sequence[str],
    width: int,
    *,
    unfiltered: bool,
) -> Content:
    """Everything about the token under the cursor, in three lines."""
    head: list[tuple[str, str] | str] = [(exact(token.text, max(12, width // 3)), "bold")]
    head.append(f"  rank {row + 1}  id {token.id}  score {number(token.score)}")
    head.append(f"  p {number(token.probability, '.2g')}")
    if marks:
        head.append((f"  \u25cf {' '.join(map(clean_line, marks))}", "bold $text-success"))
    return Content("\n").join(
        [
            Content.assemble(*head),
            _agreement(
                index.agreement(
                    table.group.layer, column.position, token.text, unfiltered=unfiltered
                )
            ),
            _in_nulls(index, table, token, unfiltered=unfiltered),
        ]
    )


def _agreement(ranks: Mapping[str, int | None]) -> Content:
    top = sum(rank is not None and rank <= TOP for rank in ranks.values())
    each = ", ".join(
        f"{_NAMES[name][1] if name in _NAMES else plain(name)} {rank or '-'}"
        for name, rank in ranks.items()
    )
    return Content.assemble(
        (f"in {top} of {len(ranks)} readings", "bold"), (f": {each}", "$text-muted")
    )


def _in_nulls(index: Index, table: Table, token: ReadToken, *, unfiltered: bool) -> Content:
    if not table.nulls:
        return Content()
    ranks = {
        null.source: index.ranks(null.taken, unfiltered=unfiltered).get(token.text)
        for null in table.nulls
        if null.taken is not None
    }
    near = any(rank is not None and rank <= TOP for rank in ranks.values())
    said = ", ".join(f"{plain(source)} {rank or '-'}" for source, rank in ranks.items())
    return Content.assemble(
        ("rank in the nulls: ", "$text-muted"), (said, "bold $text-warning" if near else "")
    )


def nothing_here(what: str, how: str) -> Content:
    """What was not computed, and what computes it."""
    return Content("\n").join([text.line(what), Content(""), text.line(how)])
