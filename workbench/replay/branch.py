"""Branch from any event of a session into a new session that points to its parent."""

from __future__ import annotations

from workbench.blinding.sessions import missing_seal
from workbench.operations.pair import environment
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

    The branch is whole or not there at all. The events up to there are recorded again under the
    same numbers, so whatever names an event by its number goes on meaning the same, and with hashes
    and times of their own: when they first happened stands in the parent. What was under way at
    ``seq`` counts as abandoned. The branch of a blind session is blind, also from before it was
    sealed. Raises `ReplayError` for an event that the parent does not have.
    """
    parent = log.find_session(session_id)
    if not 1 <= seq <= parent.events:
        raise ReplayError(f"session {parent.id} has no event {seq}", f"Give 1 to {parent.events}.")
    named = name or f"{parent.name}, from event {seq}"
    then = [Entry(SessionContinued(environment=environment()), actor)]
    if any(event.seq <= seq for event in log.events(parent.id, kinds=["session_renamed"])):
        # In its parent, and therefore in the copy too.
        then.append(Entry(SessionRenamed(name=named), SYSTEM))
    seal = missing_seal(log, parent.id, seq)
    if seal is not None:
        then.append(Entry(seal, SYSTEM))
    return log.branch_session((parent.id, seq), named, environment(), actor, then)
