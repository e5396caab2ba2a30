"""The session that a replay records: it points to its parent, and says how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adl.errors import Stopped
from workbench.blinding.sessions import missing_seal
from workbench.operations.pair import environment
from workbench.operations.running import Session
from workbench.store.events import Actor, Ending, SessionClosed
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.state import SessionState


def start_replay(log: SessionLog, parent: SessionState, how: str, actor: Actor) -> str:
    """Start the session of a replay of ``parent``; return its id.

    Its name is the parent's with ``how`` after it. A blind parent's is blind from its first event on.
    """
    seal = missing_seal(log, parent.session_id, 0)
    return log.start_session(
        f"{parent.name}, {how}",
        environment(),
        actor,
        parent=(parent.session_id, parent.seq),
        then=[] if seal is None else [Entry(seal)],
    )


@contextmanager
def recorded_end(session: Session, actor: Actor) -> Iterator[None]:
    """Record at the end of the block how the session ended; an error goes on to the caller."""
    try:
        yield
    except BaseException as error:
        on_request = isinstance(error, Stopped | KeyboardInterrupt)
        outcome: Ending = "stopped" if on_request else "failed"
        reason = str(error) or type(error).__name__
        session.record(SessionClosed(outcome=outcome, reason=reason), actor=actor)
        raise
    session.record(SessionClosed(outcome="completed"), actor=actor)
