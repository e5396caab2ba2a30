"""Branch from any event of a session into a new session that points to its parent."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.agent.hidden_sessions import stay_blind
from workbench.operations.pairs import environment
from workbench.replay.errors import ReplayError
from workbench.store.events import (
    HUMAN,
    SYSTEM,
    Actor,
    SessionContinued,
    SessionRenamed,
)
from workbench.store.log import SessionLog
from workbench.store.rows import Entry


def branch(
    log: SessionLog, session_id: str, seq: int, name: str | None = None, actor: Actor = HUMAN
) -> str:
    """Start a session that begins where another was after its event ``seq``; return its id.

    The events up to there are recorded again under the same numbers, so whatever names an event by
    its number goes on meaning the same, and with hashes and times of their own: when they first
    happened stands in the parent. What was under way at ``seq`` counts as abandoned. The branch of a
    blind session is blind, also from before it was sealed. Raises `ReplayError` for an event that
    the parent does not have.
    """
    parent = log.find_session(session_id)
    if not 1 <= seq <= parent.events:
        raise ReplayError(f"session {parent.id} has no event {seq}", f"Give 1 to {parent.events}.")
    named = name or f"{parent.name}, from event {seq}"
    entries = list(_copied(log, parent.id, seq))
    renamed = any(isinstance(entry.body, SessionRenamed) for entry in entries)
    entries.append(Entry(SessionContinued(environment=environment()), actor))
    if renamed:  # in its parent, and therefore in the copy too
        entries.append(Entry(SessionRenamed(name=named), SYSTEM))
    session_id = log.start_session(named, environment(), actor, parent=(parent.id, seq))
    log.append_many(session_id, entries)
    stay_blind(log, session_id, parent.id)
    return session_id


def _copied(log: SessionLog, session_id: str, seq: int) -> Iterator[Entry]:
    """Events 2 to ``seq``: the first says how the parent began, and the branch has its own."""
    for event in log.events(session_id, after_seq=1):
        if event.seq > seq:
            return
        # Arrays are in the file under their hash, so they need not be given again.
        yield Entry(event.body, event.actor, event.operation_id)
