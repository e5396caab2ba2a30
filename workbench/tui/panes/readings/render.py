"""The texts of the readings pane around its table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from textual.content import Content

from adl.nulls import DIFFERENCE, NULLS, SOURCE_HELP, side_in_words, source_in_words
from adl.readings.registry import READINGS
from adl.text.tokens import visible
from adl.words import number_of
from workbench.display import clean_line, shorten
from workbench.operations.jobs import Job
from workbench.store.against_nulls import LayerDistance, folded_line, layers_line
from workbench.store.events import ReadToken, StruckRead
from workbench.store.findings import NO_TOKEN
from workbench.store.findings import NOT_COMPUTED as NOT_COMPUTED
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.two_lists import TokenColumn
from workbench.tui.panes.readings.columns import FUSED, Column, Table
from workbench.tui.panes.readings.index import CHOSEN, TOP, Group, Index, Taken

#: From so many cells on there is room for whole names.
ROOMY = 70
WIDE = 90
_STATISTICS = {"kl": "KL {:.3g} nats", "agreement": "prompts agree {:.2f}"}
#: Of a token no more than this is looked at; a vocabulary is not to be trusted with its lengths.
_LONGEST = 400


def plain(name: str) -> str:
    """Return an internal name in words."""
    return clean_line(name.replace("_", " "))


def number(value: float | None, spec: str = ".3g") -> str:
    """Return a number as text, or a placeholder for None."""
    if value is None:
        return NOT_COMPUTED
    return format(value, spec) if math.isfinite(value) else str(value)


def scale_name(scale: float | None, reading: str) -> str:
    """A scale as it is shown; None is the mean over several where a reading has several."""
    if scale is None:
        return READINGS[reading].list_without_scale if reading in READINGS else ""
    return f"{scale:g}"


def strength_name(reading: str) -> str:
    """The name of a reading's scales: alpha or scale."""
    return READINGS[reading].strength if reading in READINGS else "scale"


def vector_in_words(reading: str, source: str, side: str) -> str:
    """Return what a list is of and where it was read."""
    return plain(f"{reading} of {source_in_words(source)} {side_in_words(source, side)}")


def exact(token: str, width: int = 60) -> str:
    """A token in full, its white space and controls made visible, in quotes."""
    shown = clean_line(visible(token[:_LONGEST]))
    if len(shown) <= width and len(token) <= _LONGEST:
        return f'"{shown}"'
    return f'"{shorten(shown + " ", width)}" ({number_of(len(token), "character")})'


def short(token: str, *, unfiltered: bool = False) -> str:
    """A token for a list; among whole words the space they all begin with is left out."""
    shown = clean_line(visible(token[:_LONGEST]))
    return shown if unfiltered else shown.removeprefix("\u00b7")


def offered(taken: Iterable[str]) -> tuple[str, ...]:
    """Return the selectable readings: all known ones, and others that the session has."""
    return tuple(dict.fromkeys((*READINGS, *taken)))


def _name(reading: str, *, roomy: bool) -> str:
    if reading in READINGS:
        return READINGS[reading].label if roomy else READINGS[reading].short
    return shorten(plain(reading), 12)


# --- above the table ------------------------------------------------------------------------


def strip(index: Index, group: Group | None, width: int, *, unfolded: bool = False) -> Content:
    """All readings, the one that is shown in brackets, those that were not taken dimmed.

    Those that are no better than their nulls are left out unless ``unfolded``, then they are struck
    out.
    """
    taken = index.readings(None if group is None else group.layer)
    roomy = width >= ROOMY
    parts: list[tuple[str, str] | str] = [_key("reading")]
    current = None if group is None else group.reading
    apart = False
    folded = index.folded(None if group is None else group.layer)
    for name in offered(taken):
        if name in folded and name != current and not unfolded:
            continue
        label = _name(name, roomy=roomy)
        if name == current:
            parts += [("[", "$accent"), (label, "bold $accent"), ("]", "$accent")]
        else:
            style = "strike dim" if name in folded else "" if name in taken else "dim"
            parts += [" " if apart else "", (label, style)]
        apart = name != current
    return Content.assemble(*parts)


def folded_note(index: Index, group: Group, *, unfolded: bool, recorded: bool) -> str:
    """Return the line on readings that are no better than their nulls; empty without any."""
    line = folded_line(index.folded(group.layer))
    if not line or unfolded:
        return ""
    return line if recorded else f"{line} {keys.shown('null')} shows them."


def layers(found: Sequence[LayerDistance], width: int) -> Content:
    """The layers as heights, by how far the best reading of each is above its nulls."""
    line = layers_line(found, max(8, width // 3))
    return Content.styled(shorten(line, width), "$foreground-muted")


def site(table: Table | None, group: Group, width: int) -> Content:
    """Side, source, layer and scale, each behind the key that changes it."""
    roomy = width >= ROOMY
    parts: list[tuple[str, str] | str] = []
    if table is not None and group.side:
        # What a null was read on is named where there is room; beside which side is always said.
        is_bare = not roomy and group.source not in NULLS
        side = group.side if is_bare else side_in_words(group.source, group.side)
        source = source_in_words(group.source) if width >= WIDE else group.source
        source = f"of {source}" if roomy else source
        parts += [_key("side"), f"{plain(side)}  ", _key("vector"), f"{plain(source)}  "]
    parts += [_key("layer"), f"layer {group.layer}  "]
    first = table.columns[0] if table is not None and table.columns else None
    if first is not None:
        shown = scale_name(first.scale, group.reading)
        strength = strength_name(group.reading)
        star = "*" if first.starred else ""
        parts += [
            _key("alpha_down"),
            _key("alpha_up"),
            f"{strength} {shown}{star}" if shown else f"no {strength}",
        ]
    return Content.assemble(*parts)


def _key(id_: str) -> tuple[str, str]:
    return f"{keys.shown(id_)} ", "bold $accent"


def why(index: Index, table: Table, *, unfiltered: bool) -> Content:
    """Return the token filter behind its key, who chose the scale, and the list's statistics."""
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
            strength = strength_name(table.group.reading)
            parts.append(f"key * goes to the chosen {strength} {at}{by}")
        parts += [
            spec.format(body.statistics[name])
            for name, spec in _STATISTICS.items()
            if name in body.statistics
        ]
        if first.taken.actor.kind == "agent":
            parts.append(f"read by {clean_line(first.taken.actor.name) or 'the agent'}")
    struck = 0 if first is None or first.taken is None else len(first.taken.body.struck)
    words = f"whole words, {struck} of style struck" if struck else "whole words"
    parts.append(_described(table.group))
    described = " \u00b7 ".join(["all tokens" if unfiltered else words, *filter(None, parts)])
    return Content.assemble(_key("filter"), (described, "$foreground-muted"))


def _described(group: Group) -> str:
    """Words for what the reading shows of the difference, or for another vector that was read."""
    if group.source != DIFFERENCE:
        return SOURCE_HELP.get(group.source, "")
    return READINGS[group.reading].description if group.reading in READINGS else ""


def limits(index: Index, table: Table) -> Content:
    """Return how narrow the list is beside its nulls, and what it can and cannot show.

    That verdict is on the difference's list; of another vector's, its own closeness is all there is.
    """
    group = table.group
    if group.source != DIFFERENCE:
        own = next((column.taken for column in table.columns if column.taken is not None), None)
        closeness = None if own is None else own.body.statistics.get("closeness")
        said = NOT_COMPUTED if closeness is None else f"{closeness:.1f}, of this list alone"
        return Content.styled(f"closeness {said}", "$foreground-muted")
    found = index.against(group.layer).get((group.reading, group.side))
    words = READINGS[group.reading].limits if group.reading in READINGS else ""
    if found is None or found.closeness is None:
        return Content.styled(words, "$foreground-muted")
    verdict = "no better than its nulls: " if found.no_better else ""
    return Content.assemble(
        (f"{verdict}{found.words}", "$text-warning" if found.no_better else ""),
        (f". {words}", "$foreground-muted"),
    )


def null_lines(table: Table, width: int, *, unfiltered: bool, recorded: bool = False) -> Content:
    """Of each null the top tokens, and how many the list shares with them."""
    first = table.columns[0] if table.columns else None
    if not table.nulls:
        again = "" if recorded else f": {keys.shown('measure')} reads it again with nulls"
        return Content.styled(f"null {NOT_COMPUTED}{again}", "$text-warning")
    return Content("\n").join(
        _null_line(table, null, first, width, unfiltered=unfiltered) for null in table.nulls
    )


def _null_line(
    table: Table, null: Column, first: Column | None, width: int, *, unfiltered: bool
) -> Content:
    reading, facts = table.group.reading, []
    if first is not None and first.tokens and first.source not in NULLS:
        facts.append(f"{table.shared_with(first, null)}/{min(TOP, len(first.tokens))} shared")
        if reading != FUSED and null.tokens and width >= ROOMY:
            facts.append(
                f"top score {number(null.tokens[0].score)} against {number(first.tokens[0].score)}"
            )
    if first is not None and null.scale != first.scale:
        facts.append(f"at {scale_name(null.scale, reading)}")
    words = " ".join(short(null.word(token), unfiltered=unfiltered) for token in null.tokens[:TOP])
    return Content.assemble(
        (f"null {plain(null.source):<10} ", "$foreground-muted"),
        ", ".join(facts),
        ": " if facts else "",
        (words or NO_TOKEN, "$foreground-muted"),
    )


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
    head: list[tuple[str, str] | str] = [
        (exact(column.word(token), max(12, width // 3, width - 64)), "bold")
    ]
    head.append(f"  rank {row + 1}  id {token.id}  score {number(token.score)}")
    head.append(f"  p {number(token.probability, '.2g')}")
    if isinstance(token, StruckRead):
        head.append((f"  struck: {token.why}", "$text-warning"))
    if marks:
        head.append((f"  \u25cf {' '.join(map(clean_line, marks))}", "bold $text-success"))
    ranks = index.agreement(table.group.layer, column.position, token.text, unfiltered=unfiltered)
    return Content("\n").join(
        [
            Content.assemble(*head),
            _in_nulls(index, table, token, unfiltered=unfiltered),
            _agreement(ranks, width),
        ]
    )


def _agreement(ranks: Mapping[str, int | None], width: int) -> Content:
    wide = width >= WIDE
    gap = "  " if wide else " "
    high: list[str] = []
    low: list[str] = []
    for name, rank in ranks.items():
        if rank is not None:
            (high if rank <= TOP else low).append(f"{_name(name, roomy=wide)} {rank}")
    # Where there is no room for the count, the ranks stand as those in the nulls do above them.
    counted = f"in the top {TOP} of {len(high) or 'none'} of {number_of(len(ranks), 'reading')}"
    summary = counted if wide or not high else "rank"
    each = f": {gap.join(high)}" if high else ""
    lower = f"; below the top {TOP}: {gap.join(low)}" if low else ""
    return Content.assemble((summary, "bold"), (each + lower, "$foreground-muted"))


def _in_nulls(index: Index, table: Table, token: ReadToken, *, unfiltered: bool) -> Content:
    if not table.nulls:
        return Content.styled(f"rank in the nulls: {NOT_COMPUTED}", "$foreground-muted")
    ranks = {
        null.source: index.ranks(null.taken, unfiltered=unfiltered).get(token.text)
        for null in table.nulls
        if null.taken is not None
    }
    near = any(table.raised_by(null, token) for null in table.nulls)
    listed = ", ".join(f"{plain(source)} {rank or '-'}" for source, rank in ranks.items())
    return Content.assemble(
        ("rank in the nulls: ", "$foreground-muted"), (listed, "bold $text-warning" if near else "")
    )


def as_column(taken: Taken) -> TokenColumn:
    """Return a list with its name, to be set beside another."""
    body = taken.body
    name = (
        f"{vector_in_words(body.reading, body.source, body.side)}, "
        f"layer {body.layer}, position {body.position}"
    )
    return name, [token.text for token in body.tokens]


def instead(
    index: Index, group: Group | None, job: Job | None, state: SessionState, *, recorded: bool
) -> Content:
    """Return the placeholder for a table that was not computed."""
    if recorded and group is None:
        return _nothing_here("Readings: not computed so far.", "")
    if job is not None:
        return _nothing_here(f"{job.operation.title}: under way.", "Lists appear as they are read.")
    if group is not None:
        what = f"{plain(group.reading)} at layer {group.layer}"
        failed = state.failed_readings.get((group.reading, group.layer))
        if failed is not None:
            again = "" if recorded else f" {keys.shown('measure')} reads it again."
            return _nothing_here(f"{what}: not computed.", failed.body.reason + again)
        if not index.readings(group.layer):
            what = f"layer {group.layer}, measured but not read"
        read = "" if recorded else f"Press {keys.shown('measure')} to read it."
        return _nothing_here(f"{what}: not computed.", read)
    if state.pair is None:
        return _nothing_here("Readings: not computed.", "They need a loaded pair.")
    return _nothing_here(
        "Readings: not computed.",
        f"Press {keys.shown('measure')} to measure the difference at a layer and read it,\n"
        f"or {keys.shown('audit')} to do so at the middle layer.",
    )


def _nothing_here(what: str, how: str) -> Content:
    """Return a placeholder: what is missing, and how to compute it."""
    return Content("\n").join([text.line(what), Content(""), text.block(how)])
