"""What every command shares: the log, a session, progress, signals, and errors with exit codes.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 usage or bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from adl.artifacts import ArrayCache
from adl.errors import AdlError, Stopped
from workbench.cli.output import reported_errors, say
from workbench.cli.progress import Display, displayed
from workbench.locations import Locations, find_locations
from workbench.operations.pair import LOAD, PairArguments, environment
from workbench.operations.running import Arguments, Operation, Outcome, Session, run
from workbench.operations.time_left import Planned, PlanProgress
from workbench.store.errors import OlderSchema, StoreError
from workbench.store.events import HUMAN, SessionClosed, SessionContinued
from workbench.store.lease import Lease, OpenElsewhere
from workbench.store.log import SessionLog
from workbench.store.state import SessionState

if TYPE_CHECKING:
    from workbench.cli.redaction import Redactor

A = TypeVar("A", bound=Arguments)


class StopFlag:
    """Set by the first Ctrl-C or SIGTERM; work then ends within one batch or token.

    A second one raises ``KeyboardInterrupt``, for work that does not look at the flag.
    """

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> bool:
        """Whether someone asked to stop."""
        return self.is_set

    @contextmanager
    def catching_signals(self) -> Iterator[StopFlag]:
        """Listen for signals while inside; what was listening before does so again after.

        A signal that whoever started us has ignored stays so: `nohup` ignores SIGHUP, and a shell
        the SIGINT of what a script runs in the background.
        """
        watched = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP"):
            watched.append(signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in watched}
        heeded = [number for number in watched if before[number] is not signal.SIG_IGN]
        for number in heeded:
            signal.signal(number, self._on_signal)
        try:
            yield self
        finally:
            for number in heeded:
                signal.signal(number, before[number])

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        say(f"{signal.Signals(number).name}: stopping; once more to stop at once")


@dataclass
class Work:
    """A command's session, and how to run operations on it."""

    session: Session
    flag: StopFlag
    outcomes: list[Outcome] = field(default_factory=list)
    redactor: Redactor | None = None
    _display: Display | None = None

    @property
    def shown(self) -> SessionState:
        """The session as it may be seen: of a blind one, without a name of its pair."""
        if not self.redactor:
            return self.session.state
        from workbench.blinding.redact import StateRedactor

        return StateRedactor().state(self.session.state)

    def run(self, operation: Operation[A], arguments: A) -> Outcome:
        """Run one operation for the person at the keys, with its progress on stderr."""
        with self._shown_progress(operation, arguments) as display, self._hiding_more(operation):
            outcome = run(
                self.session,
                operation,
                arguments,
                actor=HUMAN,
                progress=partial(display.report, operation.name),
                should_stop=self.flag,
            )
            display.finish(operation.name)
        self.outcomes.append(outcome)
        return outcome

    @contextmanager
    def as_one(self, title: str, planned: Planned) -> Iterator[None]:
        """Show the operations run inside as one piece of work, with the time left."""
        with displayed(PlanProgress(planned), title, self._hide) as display:
            self._display = display
            try:
                yield
            finally:
                self._display = None

    @contextmanager
    def _shown_progress(self, operation: Operation[A], arguments: A) -> Iterator[Display]:
        if self._display is not None:
            yield self._display
            return
        with displayed(PlanProgress([(operation, arguments)]), "", self._hide) as display:
            yield display

    def _hide(self, text: str) -> str:
        return text if self.redactor is None else self.redactor.hide(text)

    @contextmanager
    def _hiding_more(self, operation: Operation[Any]) -> Iterator[None]:
        """While a pair is loaded more is hidden; then the names it was found under, too."""
        if not self.redactor or operation.name != LOAD.name:
            yield
            return
        from workbench.blinding.seal import blinding_for_people

        self.redactor.loading = True
        # Not where it fails: what is said of that has names standing by themselves.
        yield
        self.redactor.loading = False
        self.redactor.blinding = blinding_for_people(self.session.state)


def database_path(given: Path | None, locations: Locations | None = None) -> Path:
    """The session database: the one named, or the user's own."""
    return given or (locations or find_locations()).database


@contextmanager
def working_session(
    database: Path | None, session: str | None, name: str, blind: PairArguments | None = None
) -> Iterator[Work]:
    """A session to work on, new or continued; closed in the log however the work ends.

    ``blind`` is the pair whose names are hidden from here on; a session that is blind stays so.
    """
    # Imported now: what agents need takes its time, and --help does not wait for it.
    from workbench.blinding.seal import blinding_for_people, seal
    from workbench.cli.redaction import redacted_stderr

    locations = find_locations()
    path = database_path(database, locations)
    flag = StopFlag()
    with reported_errors():
        if session is not None and not path.exists():
            # Opening would make the file, and whoever misspelt its name would be left with it.
            raise StoreError(
                f"there is no session {session!r}: there is no file {path}",
                "Check the path, or leave out --session to begin a new one.",
            )
    with (
        redacted_stderr() as redactor,
        reported_errors(),
        flag.catching_signals(),
        SessionLog.open(path) as log,
    ):
        redactor.own_path = str(log.path)
        if log.journal_warning:
            say(f"note: {log.journal_warning}")
        if session is None:
            session_id = log.start_session(name, environment(), HUMAN)
        else:
            session_id = log.find_session(session).id
            log.append(session_id, SessionContinued(environment=environment()), actor=HUMAN)
        work = Work(Session(log, session_id, ArrayCache(locations.arrays)), flag, redactor=redactor)
        with _held(locations.leases, session_id), _closing(work):
            if blind is not None:
                seal(work.session, blind=True, asked=blind if blind != PairArguments() else None)
            redactor.blinding = blinding_for_people(work.session.state)
            yield work


@contextmanager
def _held(leases: Path, session_id: str) -> Iterator[None]:
    """The session is marked as open here; where it is open elsewhere too, that is said.

    The log takes events of several processes, so a second one is a surprise, not a danger.
    """
    try:
        lease = Lease.take(leases, session_id)
    except OpenElsewhere as exc:
        say(f"note: {exc.message}. What is done here is recorded beside what is done there.")
        yield
        return
    try:
        yield
    finally:
        lease.release()


@contextmanager
def _closing(work: Work) -> Iterator[None]:
    """Record how the work ended; what ended it goes on."""

    def close(outcome: Any, reason: str = "") -> None:
        try:
            work.session.record(SessionClosed(outcome=outcome, reason=reason))
        except StoreError as exc:
            # A full disk is often what ended the work: everything before this stays recorded.
            say(f"note: the session's end could not be recorded: {exc}")

    try:
        yield
    except Stopped as exc:
        close("stopped", exc.message)
        raise
    except KeyboardInterrupt:
        close("stopped", "interrupted")
        raise Stopped("interrupted") from None
    except AdlError as exc:
        close("failed", exc.message)
        raise
    except BrokenPipeError:
        close("stopped", "whoever read the output went away")
        raise
    except BaseException as exc:
        close("failed", f"{type(exc).__name__}: {exc}")
        raise
    close("completed")


@contextmanager
def reading_log(database: Path | None, *, damaged: bool = False) -> Iterator[SessionLog]:
    """The session database, opened so that nothing in it can change.

    One that is named may be someone else's, and is looked through first, unless it may be
    ``damaged``.

    A file of an older schema is brought up to date first, if it can be written.
    """
    path = database_path(database)
    with reported_errors():
        try:
            log = SessionLog.open(
                path, read_only=True, foreign=database is not None and not damaged
            )
        except OlderSchema:
            SessionLog.open(path).close()
            log = SessionLog.open(path, read_only=True)
        with log:
            yield log
