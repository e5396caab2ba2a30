"""Write events into a session file: rows after the head of a session, and ids of new sessions."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.store.encoding import utc_text
from workbench.store.errors import SessionMoved, SessionOver
from workbench.store.events import Event, SessionStarted
from workbench.store.heads import Head
from workbench.store.rows import Draft

# Crockford's: no i, l, o, u, which are misread or spell words.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def session_start(
    name: str, environment: Mapping[str, Any] | None, parent: tuple[str, int] | None
) -> SessionStarted:
    """The first event of a session; ``parent`` is the event of another that it branches from."""
    return SessionStarted(
        name=name,
        environment=dict(environment or {}),
        parent_session=parent[0] if parent else None,
        parent_seq=parent[1] if parent else None,
    )


@dataclass(frozen=True)
class Sitting:
    """A session's time since somebody joined it, as far as they know it.

    ``ends`` is how often more it was closed since then than continued, up to event ``seq``: whoever
    works beside them continues it first and closes it after.
    """

    seq: int
    ends: int


def check_open(
    connection: sqlite3.Connection, session_id: str, sitting: Sitting, *, closing: bool
) -> None:
    """Raise `SessionOver` if the session was closed since somebody joined it.

    Nor is it ``closing`` where somebody else went on with it.
    """
    (later,) = connection.execute(
        "SELECT coalesce(sum(CASE kind WHEN 'session_closed' THEN 1 ELSE -1 END), 0) FROM events "
        "WHERE session_id = ? AND seq > ? AND kind IN ('session_closed', 'session_continued')",
        (session_id, sitting.seq),
    ).fetchone()
    ends = sitting.ends + later
    if ends > 0 or (closing and ends):
        what = "was closed meanwhile" if ends > 0 else "is gone on with elsewhere"
        raise SessionOver(
            f"session {session_id} {what}: nothing of its earlier work is recorded behind that",
            "Open it again to go on with it.",
        )


def check_last(last: int, session_id: str, after: int) -> None:
    """Raise `SessionMoved` unless event ``after`` is the session's ``last``."""
    if last != after:
        raise SessionMoved(
            f"session {session_id} has gone on from event {after} to {last}",
            "Read what was recorded since, and record again.",
        )


def append_drafts(
    connection: sqlite3.Connection,
    path: Path,
    session_id: str,
    head: Head,
    drafts: Sequence[Draft],
    done: list[Event],
) -> Head:
    """Write events after ``head``, a session's first with the session itself; return the new head."""
    for draft in drafts:
        at = utc_text()
        if head.seq == 0:
            connection.execute("INSERT INTO sessions VALUES (?, ?)", (session_id, at))
        event = draft.insert(connection, path, session_id, head.seq + 1, head.sha256, at)
        head = Head(event.seq, event.sha256)
        done.append(event)
    return head


def new_session_id(connection: sqlite3.Connection) -> str:
    """An id that sorts by day, can be typed, and is not taken."""
    day = datetime.now(UTC).strftime("%Y%m%d")
    while True:
        session_id = f"{day}-{''.join(secrets.choice(_ALPHABET) for _ in range(6))}"
        taken = connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,))
        if taken.fetchone() is None:
            return session_id
