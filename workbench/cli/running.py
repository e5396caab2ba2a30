"""Shared by all commands: the log, a session, progress, signals, and errors with exit codes.

Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 failed, 2 usage or bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, ignore_stages
from adl.errors import AdlError, PairError, Stopped
from adl.pair.protocol import resolve_layers
from workbench.cli.options import SessionOptions
from workbench.cli.output import reported_errors, say
from workbench.cli.progress import Display, displayed
from workbench.cli.served import NEVER, Served, with_pair, with_session
from workbench.engine.sockets import EngineGone
from workbench.locations import Locations, find_locations
from workbench.operations.beginning import begin_session
from workbench.operations.pair import (
    LOAD,
    PAIR_NAMES,
    DemoPair,
    PairArguments,
    check_pair,
    environment,
    loaded_pair,
    subject_of,
)
from workbench.operations.running import Arguments, Operation, Outcome, Session, run
from workbench.operations.time_left import Planned, PlanProgress
from workbench.store.errors import OlderSchema, SessionOver, StoreError
from workbench.store.events import HUMAN, Actor, Ending, EventBody, SessionClosed, SessionContinued
from workbench.store.lease import Lease, OpenElsewhere
from workbench.store.log import SessionLog
from workbench.store.state import SessionState

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor
    from workbench.cli.redaction import Redactor
    from workbench.engine.protocol import OpenedData

A = TypeVar("A", bound=Arguments)
_RESUME = "`adl-workbench agent resume` goes on with the audit."


class StopFlag:
    """Set by the first Ctrl-C or SIGTERM; work then ends within one batch or token.

    A second one raises ``KeyboardInterrupt``, for work that does not look at the flag.
    """

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self) -> bool:
        """True once someone asked to stop."""
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
        again = "press Ctrl-C" if number == signal.SIGINT else f"send {signal.Signals(number).name}"
        say(f"Stopping ... {again} again to quit now")


class Work:
    """A command's session, and how to run operations on it.

    A new session begins with `load` or `begin`, and not before: a start that fails leaves none.
    """

    def __init__(
        self,
        log: SessionLog,
        flag: StopFlag,
        redactor: Redactor,
        name: str,
        *,
        known: Session | None = None,
        blind: bool = False,
        engine: str = NEVER,
    ) -> None:
        self.log = log
        self.flag = flag
        self.is_begun = False
        self._redactor = redactor
        self._name = name
        self._session = known
        self._blind = blind
        self._display: Display | None = None
        self._blindfold: StateRedactor | None = None
        self._engine = engine
        self._served: Served | None = None
        "The engine that runs the operations; None runs them here."
        self._open = ExitStack()
        self._lease: Lease | None = None
        if known is not None:
            self._serve_at(with_session(engine, log.path, known.id))
            if self._served is None:
                self._hold(known.id)

    @property
    def session(self) -> Session:
        """The session, once it began or if it is gone on with."""
        assert self._session is not None, "no session has begun"
        return self._session

    @property
    def has_session(self) -> bool:
        """True once the session began, and from the start if it is gone on with."""
        return self._session is not None

    def begin(self) -> None:
        """Begin the session without a pair, or go on with it."""
        opened = None
        if self._served is not None:
            opened = self._served.open(self.session.id)
        elif self._session is None:
            session_id = self.log.start_session(self._name, environment(), HUMAN)
            self._session = Session(self.log, session_id, _cache())
            self._hold(session_id)
        else:
            self._session.record(SessionContinued(environment=environment()), actor=HUMAN)
        self._take_up(opened)

    def load(self, pair: PairArguments, layers: Sequence[str] = ()) -> None:
        """Load the pair, and begin the session with it.

        A session that is gone on with loads its own pair; no other may be named. Raises ``SiteError``
        for ``layers`` that the pair does not have, before anything is recorded.
        """

        def check(n_layers: int) -> None:
            resolve_layers(layers, n_layers)

        if self._session is None:
            check_pair(pair)
            self._serve_at(with_pair(self._engine, self.log.path, pair))
            if self._served is None:
                self._begin_with(pair, check)
            else:
                self._begin_served(self._served, pair, layers)
            return
        state = self._session.state
        pair = pair_of(self._session, pair, hidden=bool(self._redactor))
        if self._blind or isinstance(pair, DemoPair):
            from workbench.blinding.seal import seal

            # Only now is it known which pair a session without one gets.
            seal(self._session, blind=True, asked=pair)
            self._hide_names()
        if state.pair:
            check(state.pair["n_layers"])
        if self._served is None:
            self._serve_at(with_pair(self._engine, self.log.path, pair))
        if self._served is not None:
            self._go_on_served(self._served, self._session, pair)
            return
        # A load that failed is tried again in the session that it began.
        if not self.is_begun:
            self.begin()
        self.run(LOAD, pair)

    def close(self) -> None:
        """Let go of the session, so that others may open it."""
        self._open.close()

    def ends_here(self, outcome: Ending, reason: str) -> bool:
        """Return True if the session's end is to be recorded here.

        One that runs at an engine is closed there first, and goes on if others have it open there.
        One that another process has open goes on in that.
        """
        if not self.is_begun:
            return False
        if self._served is not None:
            return self._served.close(self.session.id, outcome, reason)
        return self._lease is None or not self._lease.is_of_others()

    @property
    def n_layers(self) -> int:
        """Layers of the loaded pair."""
        pair = self.session.state.pair
        assert pair is not None, "no pair was loaded"
        n_layers: int = pair["n_layers"]
        return n_layers

    @property
    def shown(self) -> SessionState:
        """The session as it may be seen: of a blind one, without a name of its pair."""
        if not self._redactor:
            return self.session.state
        if self._blindfold is None:
            from workbench.blinding.redact import StateRedactor

            # It looks at nothing twice.
            self._blindfold = StateRedactor()
        return self._blindfold.state(self.session.state)

    def run(self, operation: Operation[A], arguments: A) -> Outcome:
        """Run one operation for the person at the keys, with its progress on stderr."""
        with self._shown_progress(operation, arguments) as display, self._hiding_more(operation):
            progress = partial(display.report, operation.name)
            if self._served is not None:
                outcome = self._served.run(self.session, operation, arguments, progress, self.flag)
            else:
                outcome = run(
                    self.session,
                    operation,
                    arguments,
                    actor=HUMAN,
                    progress=progress,
                    should_stop=self.flag,
                )
            display.finish(operation.name)
        return outcome

    @contextmanager
    def as_one(self, title: str, planned: Planned) -> Iterator[None]:
        """Show the operations run inside as one piece of work, with the time left."""
        with displayed(PlanProgress(planned), title, self.hide) as display:
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
        with displayed(PlanProgress([(operation, arguments)]), "", self.hide) as display:
            yield display

    def runner(
        self,
        operation: Operation[Any],
        arguments: Arguments,
        actor: Actor,
        should_stop: ShouldStop,
    ) -> Outcome:
        """Run one operation for an agent, see `workbench.agent.runners.Runner`.

        Raises ``RunnerGone`` once the engine is gone.
        """
        if self._served is None:
            return run(self.session, operation, arguments, actor=actor, should_stop=should_stop)
        try:
            return self._served.run(
                self.session, operation, arguments, ignore_stages, should_stop, actor
            )
        except EngineGone as exc:
            from workbench.agent.runners import RunnerGone

            raise RunnerGone(exc.message, _RESUME) from exc

    def is_over(self) -> bool:
        """True once someone asked to stop, or the engine is gone."""
        return self.flag() or (self._served is not None and bool(self._served.why_gone))

    @contextmanager
    def ending_with_engine(self) -> Iterator[None]:
        """An agent that is stopped because the engine ended: an error that names it."""
        try:
            yield
        except AdlError:
            if self._served is None or not self._served.why_gone or self.flag():
                raise
            raise EngineGone(f"the engine ended: {self._served.why_gone}", _RESUME) from None

    def hide(self, text: str) -> str:
        """Return a message as it may be shown: of a blind session, without a name of its pair."""
        return self._redactor.hide(text)

    def _take_up(self, opened: OpenedData | None = None) -> None:
        self.is_begun = True
        if opened is not None:
            # A guest: the engine may close it.
            self.session.stop_at_end(opened.version)

    def _hold(self, session_id: str) -> None:
        self._lease = self._open.enter_context(_held(find_locations().leases, session_id))

    def _serve_at(self, served: Served | None) -> None:
        if served is not None:
            # Not at the same time: the engine holds the session.
            self._open.close()
            self._open.callback(served.end)
        self._served = served

    def _begin_served(self, served: Served, pair: PairArguments, layers: Sequence[str]) -> None:
        is_blind = bool(self._seal(pair))
        opened = served.begin(self._name, layers, blind=is_blind)
        self._session = Session(self.log, opened.session, _cache())
        self._hide_names()
        self._take_up(opened)

    def _go_on_served(self, served: Served, session: Session, pair: PairArguments) -> None:
        opened = served.open(session.id)
        self._take_up(opened)
        if not opened.has_pair and not any(job.operation == LOAD.name for job in opened.jobs):
            self.run(LOAD, pair)

    def _seal(self, pair: PairArguments) -> list[EventBody]:
        """Hide the names of a blind session's pair that is yet to begin; return its seal.

        The demo's are hidden, too.
        """
        if not self._blind and not isinstance(pair, DemoPair):
            return []
        from workbench.blinding.aliases import blinding_from
        from workbench.blinding.seal import first_seal

        sealed = first_seal(pair)
        self._redactor.blinding = blinding_from(sealed.aliases)
        return [sealed]

    def _hide_names(self) -> None:
        from workbench.blinding.seal import blinding_for_people

        self._redactor.blinding = blinding_for_people(self.session.state)

    def _begin_with(self, pair: PairArguments, check: Callable[[int], None]) -> None:
        before = self._seal(pair)
        check_pair(pair)
        with self._shown_progress(LOAD, pair) as display, self._hiding_more(LOAD):
            self._session = begin_session(
                self.log,
                _cache(),
                self._name,
                pair,
                actor=HUMAN,
                before=before,
                check=lambda loaded: check(loaded.provenance.n_layers),
                progress=partial(display.report, LOAD.name),
                should_stop=self.flag,
            )
            self._take_up()
            self._hold(self._session.id)
            display.finish(LOAD.name)

    @contextmanager
    def _hiding_more(self, operation: Operation[Any]) -> Iterator[None]:
        """While a pair is loaded more is hidden; then the names it was found under, too."""
        if not self._redactor or operation.name != LOAD.name:
            yield
            return
        self._redactor.loading = True
        # Not where it fails: messages of that have names standing by themselves.
        yield
        self._redactor.loading = False
        self._hide_names()


def pair_of(session: Session, named: PairArguments, *, hidden: bool) -> PairArguments:
    """The pair of a session that is gone on with, loaded as ``named`` says where it does.

    Raises ``PairError`` where another pair is named, or none and the session has none; with names
    ``hidden``, it does not tell the session's.
    """
    own = loaded_pair(session.state.operations)
    if own is None:
        check_pair(named)
        return named
    given = {name: getattr(named, name) for name in named.model_fields_set}
    names = {name: given.pop(name) for name in PAIR_NAMES if name in given}
    if names and names != {
        name: own_name for name in PAIR_NAMES if (own_name := getattr(own, name))
    }:
        shown = "" if hidden else f", {_named(own)}"
        raise PairError(
            f"session {session.id} has a pair of its own{shown}: {_named(named)} is another",
            "Leave the pair out, or leave out --session to begin a new session.",
        )
    # Trust is not taken over from the record, which may be someone else's.
    return own.model_copy(update={"trust_remote_code": False, **given})


def _named(pair: PairArguments) -> str:
    """The names of a pair for people, as ``organism cake_bake``; of the demo none is told."""
    if isinstance(pair, DemoPair):
        return "the demo"
    names = ((name, getattr(pair, name)) for name in PAIR_NAMES)
    return ", ".join(f"{name} {value}" for name, value in names if value)


def default_name(command: str, pair: PairArguments, *, blind: bool = False) -> str:
    """Return the name of a new session: its command, and the pair as far as that may be named."""
    if blind:
        return command
    return f"{command} {subject_of(pair, hidden=isinstance(pair, DemoPair))}".strip()


def _cache() -> ArrayCache:
    return ArrayCache(find_locations().arrays)


def database_path(given: Path | None, locations: Locations | None = None) -> Path:
    """The session database: the one named, or the user's own."""
    return given or (locations or find_locations()).database


@contextmanager
def working_session(where: SessionOptions, name: str, *, blind: bool = False) -> Iterator[Work]:
    """A session to work on, new or gone on with; closed in the log however the work ends.

    ``name`` is that of a new one. ``blind`` hides the names of its pair; a session that is blind
    stays so.
    """
    # Imported now: what agents need takes its time, and --help does not wait for it.
    from workbench.blinding.seal import blinding_for_people, seal
    from workbench.cli.redaction import redacted_stderr

    path = database_path(where.database)
    flag = StopFlag()
    with reported_errors():
        if where.session is not None and not path.exists():
            # Opening would make the file, and whoever misspelt its name would be left with it.
            raise StoreError(
                f"there is no session {where.session!r}: there is no file {path}",
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
        known = None
        if where.session is not None:
            known = Session(log, log.find_session(where.session).id, _cache())
            if blind:
                seal(known, blind=True)
            redactor.blinding = blinding_for_people(known.state)
        work = Work(
            log, flag, redactor, where.name or name, known=known, blind=blind, engine=where.engine
        )
        with closing(work), _recording_end(work):
            yield work


@contextmanager
def _held(leases: Path, session_id: str) -> Iterator[Lease]:
    """Mark the session as open here; warn if it is open elsewhere, too.

    The log takes events of several processes, so a second one is a surprise, not a danger.
    """
    lease = Lease.take(leases, session_id, even_if_open=True)
    if lease.is_of_others():
        message = OpenElsewhere(session_id).message
        say(f"note: {message}. What is done here is recorded beside what is done there.")
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def _recording_end(work: Work) -> Iterator[None]:
    """Record how the session ended, if it began and ends with the work; what ended it goes on."""

    def close(outcome: Ending, reason: str = "") -> None:
        if not work.ends_here(outcome, reason):
            return
        try:
            work.session.record(SessionClosed(outcome=outcome, reason=reason))
        except SessionOver:
            pass  # an engine that ended has closed it
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
