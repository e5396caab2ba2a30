"""A command's work at a running engine: found by its session or its pair, ordered, and followed.

    with_session(choice, database, session)   an engine that has the session open, or None
    with_pair(choice, database, pair)         one that has the very pair, or None
    Served                                    begins or opens a session there and runs operations in it

``choice`` is ``auto``, ``never`` or the socket of an engine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop, StageProgress
from adl.errors import AdlError, Stopped
from adl.paths import expanded
from workbench.cli.output import say
from workbench.engine.sockets import EngineGone, find_engines
from workbench.locations import find_locations
from workbench.operations.inputs import with_absolute_files
from workbench.operations.pair import PairArguments, environment
from workbench.operations.running import Arguments, Operation, Outcome, Session
from workbench.store.events import HUMAN, Actor, Ending

if TYPE_CHECKING:
    from workbench.engine.client import EngineClient
    from workbench.engine.protocol import JobData, Notice, OpenedData, StatusData

AUTO, NEVER = "auto", "never"

_Has = Callable[["EngineClient", "StatusData"], bool]


def with_session(choice: str, database: Path, session: str) -> Served | None:
    """Return an engine that has the session open. Raises `AdlError` for one that is named and gone."""
    return _find(choice, database, lambda _, status: any(s.id == session for s in status.sessions))


def with_pair(choice: str, database: Path, pair: PairArguments) -> Served | None:
    """Return an engine that has the pair. Raises `AdlError` where the one that is named has not."""

    def has_it(client: EngineClient, _status: StatusData) -> bool:
        from workbench.engine.protocol import HasPair
        from workbench.engine.shared_pair import absolute

        return client.call(HasPair(pair=absolute(pair))).yes

    found = _find(choice, database, has_it)
    if found is None and choice not in {AUTO, NEVER}:
        raise AdlError(
            f"the engine at {choice} does not have this pair",
            "Leave --engine out, or start one that does: adl-workbench serve",
        )
    return found


def _find(choice: str, database: Path, has: _Has) -> Served | None:
    if choice == NEVER:
        return None
    if choice != AUTO:
        return _asked(expanded(choice), database, has, is_named=True)
    for path in find_engines(find_locations()):
        try:
            if (found := _asked(path, database, has, is_named=False)) is not None:
                return found
        except AdlError as exc:
            say(f"note: the engine at {path} is not used: {exc}")
    return None


def _asked(path: Path, database: Path, has: _Has, *, is_named: bool) -> Served | None:
    # Imported now: most commands find no engine, and what it takes to talk to one takes its time.
    from workbench.engine.client import EngineClient
    from workbench.engine.protocol import Status

    client = EngineClient.connect(path, role="command", name=Path(sys.argv[0]).name)
    try:
        status = client.call(Status())
        is_here = Path(status.database).resolve() == database.resolve()
        if is_named and not is_here:
            raise AdlError(
                f"the engine at {path} records in {status.database}, and not in {database}",
                "Give --database, or leave --engine out.",
            )
        if is_here and has(client, status):
            return Served(client)
    except BaseException:
        client.close()
        raise
    client.close()
    return None


class Served:
    """A session at an engine, for one command."""

    def __init__(self, client: EngineClient) -> None:
        self.why_gone = ""
        "Set once the engine or the session there has ended."
        self._client = client
        self._news: SimpleQueue[Notice] = SimpleQueue()
        self._begun: set[str] = set()
        client.listen(self._heed)

    def begin(self, name: str, layers: Sequence[str], *, blind: bool) -> OpenedData:
        """Begin a session on the engine's pair, which must have the layers."""
        from workbench.engine.protocol import Begin

        command = tuple(environment()["command"])
        begin = Begin(name=name, blind=blind, layers=tuple(layers), command=command)
        # As long as it takes: a pair that was freed is loaded again.
        opened = self._client.call(begin, None)
        self._begun.add(opened.session)
        return opened

    def open(self, session: str) -> OpenedData:
        """Watch a session that is open there, or go on with it there."""
        from workbench.engine.protocol import Open

        return self._client.call(Open(session=session), None)

    def run(
        self,
        session: Session,
        operation: Operation[Any],
        arguments: Arguments,
        progress: StageProgress,
        should_stop: ShouldStop,
        actor: Actor = HUMAN,
    ) -> Outcome:
        """Run an operation there to its end; its events are in the session then.

        Raises `EngineError` for what it fails by, `Stopped`, and `EngineGone`.
        """
        from workbench.engine.client import EngineError
        from workbench.engine.protocol import StopJob, Submit

        dumped = with_absolute_files(arguments).model_dump(mode="json")
        job = self._client.call(
            Submit(session=session.id, operation=operation.name, arguments=dumped, actor=actor)
        )
        is_stopping = False
        while job.status not in {"finished", "failed", "stopped"}:
            if should_stop() and not is_stopping:
                is_stopping = True
                self._client.call(StopJob(session=session.id, job=job.id))
            if (told := self._told(job.id)) is not None:
                job = told
                if job.stage:
                    progress(job.stage, job.done, job.total)
        session.catch_up()
        if job.error is not None:
            raise EngineError(job.error)
        if job.status == "stopped":
            raise Stopped("stopped on request")
        return Outcome(job.id, session.state.operations[job.id].summary)

    def close(self, session: str, outcome: Ending, reason: str) -> bool:
        """Leave the session; True if it is closed there, and its end is yet to be recorded.

        One that others have open there goes on.
        """
        from workbench.engine.client import EngineSlow
        from workbench.engine.protocol import Close

        try:
            order = Close(session=session, outcome=outcome, reason=reason, recorded=True)
            return self._client.call(order).yes
        except EngineGone:
            return True
        except EngineSlow:
            # Nobody records the end there, as it was told that it is recorded here. A session that this
            # command did not begin others may have open, and it goes on.
            return session in self._begun
        except AdlError:
            # Somebody closed it there, and that is recorded.
            return False

    def end(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._client.close()

    def _heed(self, notice: Notice) -> None:
        from workbench.engine.protocol import ClosingNotice

        if isinstance(notice, ClosingNotice):
            self.why_gone = self.why_gone or notice.reason or "the session was closed"
        self._news.put(notice)

    def _told(self, job_id: str) -> JobData | None:
        from workbench.engine.protocol import ClosingNotice, JobNotice

        try:
            notice = self._news.get(timeout=STOP_POLL_SECONDS)
        except Empty:
            return None
        if isinstance(notice, ClosingNotice):
            raise EngineGone(
                f"the engine ended before the job: {notice.reason}",
                "What was recorded is kept; run the command again.",
            )
        if isinstance(notice, JobNotice) and notice.job.id == job_id:
            return notice.job
        return None
