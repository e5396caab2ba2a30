"""A recorded session for the replay screen: its log, the player, and its redaction."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np

from workbench.blinding.redact import StateRedactor
from workbench.blinding.sessions import HiddenNames, matching_events
from workbench.replay.player import Player
from workbench.store.arrays import ArrayRef
from workbench.store.events import Event
from workbench.store.log import SessionLog
from workbench.store.overview import SessionOverview
from workbench.store.state import SessionState, TimelineEntry


class ReplayedSession:
    """A session for a replay screen, read only. For the screen's thread.

    Names that the session hides from a blind auditor at its end are hidden from its first event on.
    """

    def __init__(self, log: SessionLog, session: SessionOverview, redactor: StateRedactor) -> None:
        self._log = log
        self._session = session
        self.redactor = redactor
        self.player = Player(log, session.id, session.events)

    @classmethod
    def open(cls, database: Path, wanted: str) -> Self:
        """Open a session: an id, the start of one, a name or ``last``. Raises `StoreError`."""
        log = SessionLog.open(database, read_only=True)
        try:
            found = log.find_session(wanted)
            hidden = HiddenNames.read(log).of(found.id)
            return cls(log, found, StateRedactor(hidden.aliases))
        except BaseException:
            log.close()
            raise

    @property
    def session_id(self) -> str:
        """The replayed session."""
        return self._session.id

    @property
    def name(self) -> str:
        """The session's current name, redacted."""
        named = SessionState(name=self._session.name)
        return self.redactor.state(named).name

    @property
    def began_at(self) -> datetime:
        """The time of its first event (UTC)."""
        return self._session.created_at

    @property
    def ended_at(self) -> datetime:
        """The time of its last event (UTC)."""
        return self._session.last_event_at

    @property
    def shown(self) -> SessionState:
        """The session's state at the player's position, redacted."""
        return self.redactor.state(self.player.state)

    @property
    def current(self) -> TimelineEntry | None:
        """The event at the player's position, redacted; None before the first."""
        timeline = self.shown.timeline
        return timeline[-1] if timeline else None

    def array(self, ref: ArrayRef) -> np.ndarray:
        """Return an array of the session. Raises `StoreError`."""
        return self._log.array(ref)

    def event(self, seq: int) -> Event:
        """Return an event, redacted. Raises `StoreError` if there is none."""
        return self.redactor.event(self._log.event(self._session.id, seq))

    def find_events(self, words: str, after: int = 0) -> list[int]:
        """Return the numbers of the events after ``after`` whose redacted texts have the words."""
        return matching_events(self._log, self._session.id, self.redactor, words, after)

    def close(self) -> None:
        """Close the log."""
        self._log.close()
