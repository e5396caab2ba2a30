"""The state of a session as a person may see it: without the names that a blind one hides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.operations.running import Session
from workbench.store.events import Event
from workbench.store.state import SessionState

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor


class ShownSession:
    """A session with its log, for reading."""

    def __init__(self, session: Session) -> None:
        self.log = session.log
        self.session = session
        self._blindfold: StateRedactor | None = None

    @property
    def state(self) -> SessionState:
        """The current state of the session."""
        return self.session.state

    @property
    def redactor(self) -> StateRedactor:
        """The redactor of a blind session's names. For the screen's thread."""
        if self._blindfold is None:
            # Imported on first use, so that the first screen is shown sooner.
            from workbench.blinding.redact import StateRedactor

            self._blindfold = StateRedactor()
        return self._blindfold

    @property
    def shown(self) -> SessionState:
        """The current state, redacted. For the screen's thread."""
        return self.redactor.state(self.state)

    def shown_name(self, name: str | None) -> str:
        """Return a name of the pair, redacted. For the screen's thread."""
        self.redactor.state(self.state)
        return self.redactor.hide(name or "")

    def event(self, seq: int) -> Event:
        """Return an event, redacted. Raises `StoreError` if there is none."""
        return self.redactor.event(self.log.event(self.session.id, seq))

    def find_events(self, words: str, after: int = 0) -> list[int]:
        """Return the numbers of the events after ``after`` whose redacted texts have the words."""
        from workbench.blinding.sessions import matching_events

        self.redactor.state(self.state)
        return matching_events(self.log, self.session.id, self.redactor, words, after)
