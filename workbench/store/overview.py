"""The sessions of a file at a glance, and finding one by what a person types."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workbench.store.errors import StoreError
from workbench.store.views import VIEWS


@dataclass(frozen=True)
class SessionOverview:
    """One line of the list of sessions; ``outcome`` is None until the session is closed."""

    id: str
    name: str
    created_at: datetime
    last_event_at: datetime
    events: int
    base: str | None
    finetuned: str | None
    outcome: str | None


def read_overviews(connection: sqlite3.Connection) -> list[SessionOverview]:
    """Every session, the one written to last first: by its place in the file, as a clock may be set back."""
    rows = connection.execute(
        f"""
        SELECT id, name, created_at, last_event_at, events, base, finetuned, outcome
        FROM ({VIEWS["session_overview"]}) AS sessions WHERE events IS NOT NULL
        ORDER BY (
            SELECT id FROM events WHERE session_id = sessions.id ORDER BY seq DESC LIMIT 1
        ) DESC
        """
    )
    return [
        SessionOverview(
            id=row[0],
            name=row[1] or "",
            created_at=datetime.fromisoformat(row[2]),
            last_event_at=datetime.fromisoformat(row[3]),
            events=row[4],
            base=row[5],
            finetuned=row[6],
            outcome=row[7],
        )
        for row in rows
    ]


def choose(sessions: Sequence[SessionOverview], wanted: str, path: Path) -> SessionOverview:
    """The one session that ``wanted`` means: an id, the start of one, a name, or ``last``.

    ``last`` is the first of ``sessions``. Raises `StoreError` if it means none or several.
    """
    if not sessions:
        raise StoreError(
            f"there is no session in {path}", "Record one: `adl-workbench audit --demo`."
        )
    wanted = wanted.strip()
    if wanted == "last":
        return sessions[0]
    for session in sessions:
        if session.id == wanted:
            return session
    found = [
        session
        for session in sessions
        if wanted and (session.id.startswith(wanted.lower()) or session.name == wanted)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StoreError(
            f"no session in {path} has the id or name {wanted!r}",
            "`adl-workbench sessions list` shows them; 'last' is the one written to last.",
        )
    some = ", ".join(f"{session.id} ({session.name})" for session in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise StoreError(f"{wanted!r} could be {some}{more}", "Give the whole id of one of them.")
