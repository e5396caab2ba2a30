"""Rows of sessions and search results, and the facts beside them."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.content import Content

from adl.words import number_of
from workbench.display import clean_line
from workbench.store.overview import SessionOverview
from workbench.store.search import SearchHit
from workbench.tui import text
from workbench.tui.library import Findings, session_pair, short_name

#: From this width on a list has room for the finetuned side beside the name, so wide.
ROOM_FOR_PAIR, PAIR_WIDTH = 90, 24
#: Cells for the names of the facts of a session.
NAMES = 11


def when(at: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{at:%Y-%m-%d %H:%M}"


def session_outcome(session: SessionOverview, *, elsewhere: bool) -> str:
    """Return the session's status in a word or two, nothing for one that was closed in order."""
    if elsewhere:
        return "open elsewhere"
    if session.outcome is None:
        return "not closed"
    return "" if session.outcome == "completed" else clean_line(session.outcome)


def session_row(
    session: SessionOverview, width: int, *, elsewhere: bool, chosen: bool = False
) -> Text:
    """A session on one line: name, finetuned side where there is room, time, events, state."""
    outcome = session_outcome(session, elsewhere=elsewhere)
    after = f"  {when(session.last_event_at)} {session.events:>6}  {outcome:<14}"
    room = max(8, width - len(after))
    with_pair = width >= ROOM_FOR_PAIR
    name = ("\u25cf " if chosen else "") + (clean_line(session.name) or "(no name)")
    row = Text(fit(name, room - (PAIR_WIDTH + 2 if with_pair else 0)))
    if with_pair:
        row.append("  " + fit(clean_line(short_name(session.finetuned or "")), PAIR_WIDTH), "dim")
    return row.append(after, style="dim")


def session_facts(session: SessionOverview, *, elsewhere: bool) -> list[tuple[str, str]]:
    """Return the facts that the database has of a session."""
    outcome = session_outcome(session, elsewhere=elsewhere) or "closed in order"
    if session.base is None:
        pair = [("pair", "none was loaded")]
    else:
        pair = [("base", session.base), ("finetuned", session.finetuned or "not recorded")]
    return [
        ("id", session.id),
        ("state", outcome),
        ("events", str(session.events)),
        ("began", f"{when(session.created_at)} UTC"),
        ("last event", f"{when(session.last_event_at)} UTC"),
        *pair,
    ]


def session_brief(session: SessionOverview, *, elsewhere: bool) -> Content:
    """Return the facts in two lines, where there is little room."""
    outcome = session_outcome(session, elsewhere=elsewhere) or "closed in order"
    began = f"began {session.created_at:%Y-%m-%d}"
    parts = (session.id, outcome, f"{number_of(session.events, 'event')}", began)
    return Content("\n").join(
        [text.line(", ".join(parts)), text.line(session_pair(session) or "no pair was loaded")]
    )


def findings_lines(findings: Findings) -> Content:
    """The hypotheses of a session, and its last note."""
    lines: list[Content] = []
    for finding in findings.hypotheses:
        confidence = "" if finding.confidence is None else f" {finding.confidence:.0%}"
        lines.append(
            Content.assemble((f"{finding.verdict}{confidence} ", "bold"), text.line(finding.text))
        )
    if findings.last_note:
        lines.append(
            Content.assemble(("note ", "$foreground-muted"), text.line(findings.last_note))
        )
    return Content("\n").join(lines)


def hit_row(hit: SearchHit, session_name: str, width: int) -> Text:
    """An event that was found, the words that match underlined."""
    name_room = max(8, min(28, width // 4))
    row = Text(fit(clean_line(session_name) or hit.session_id, name_room))
    row.append(f" #{hit.seq:<5} ", style="dim")
    at = 0
    for start, end in hit.marks:
        row.append(clean_line(hit.snippet[at:start]), style="dim")
        row.append(clean_line(hit.snippet[start:end]), style="bold underline")
        at = end
    return row.append(clean_line(hit.snippet[at:]), style="dim")


def fit(text: str, width: int) -> str:
    """Clean text in exactly ``width`` cells, an ellipsis standing for what does not fit."""
    if cell_len(text) > width:
        text = set_cell_size(text, max(0, width - 1)) + "…"
    return set_cell_size(text, max(0, width))
