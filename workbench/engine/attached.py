"""A session that an engine runs, on a screen of another process.

    database  -- read and folded here -->  state
    engine    -- notices -->               jobs, the agent, who holds the keys
    screen    -- orders, in turn -->       engine

Nothing waits for the engine on the screen's thread: orders are queued, and one that is refused is
told of later.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from adl.artifacts import ArrayCache
from adl.errors import AdlError
from workbench.engine import protocol as p
from workbench.engine.agent_request import AuditRequest
from workbench.engine.agent_runner import WorkStatus
from workbench.engine.attached_agent import AttachedAgent
from workbench.engine.attached_engine import REPLY, AttachedEngine
from workbench.engine.client import EngineClient, agent_status_of, job_of
from workbench.engine.shown import ShownSession
from workbench.engine.sockets import EngineGone
from workbench.locations import Locations
from workbench.operations.jobs import Job, JobListener
from workbench.operations.pair import LOAD
from workbench.operations.running import Arguments, Operation, Session
from workbench.store.errors import SessionOver, StoreError
from workbench.store.events import HUMAN, Actor, Ending, Event, ViewSaved
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

A = TypeVar("A", bound=Arguments)

#: How long a session waits for being opened, in seconds.
OPENING = 600.0
#: How long leaving waits for the orders that were given before, in seconds.
PATIENCE = 3.0
#: How often the database is looked at without a notice, in seconds: other programs record, too.
LOOK_EVERY = 2.0


def screen_name() -> str:
    """Return the name of this process's screen for whoever looks at the same session."""
    try:
        terminal = os.ttyname(sys.__stdin__.fileno()).removeprefix("/dev/")  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        terminal = f"process {os.getpid()}"
    try:
        return f"{getpass.getuser()} at {terminal}"
    except (OSError, KeyError):  # a user without a name
        return terminal


class AttachedSession(ShownSession):
    """A session of an engine. Its methods may be called from any thread."""

    def __init__(self, client: EngineClient, log: SessionLog, session_id: str, cache: ArrayCache):
        """Attach to a session. Raises `AdlError`."""
        self.engine = AttachedEngine(client, session_id)
        super().__init__(_Recording(log, session_id, cache, self.engine.check))
        self.agent = AttachedAgent(self.engine)
        self._locked = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._order: Sequence[str] = ()
        self._has_pair = False
        # News of a session that the answer to `Open` has not told of yet; None from then on.
        self._early: list[p.Notice] | None = []
        self._recorded: Callable[[], object] = lambda: None
        self._job_changed: JobListener = lambda _job: None
        self._agent_changed: Callable[[], object] = lambda: None
        self._news = threading.Event()
        self._closed = False
        self._unread = False
        self.unrecorded: StoreError | None = None
        client.listen(self._take)
        opened = client.call(p.Open(session=session_id), timeout=OPENING)
        # A guest: the engine closes it.
        self.session.stop_at_end(opened.version)
        self._begin(opened)
        self._unsubscribe = log.subscribe(self._recorded_here)
        self._follower = threading.Thread(target=self._follow, daemon=True, name="news")
        self._follower.start()
        self.engine.start()

    @classmethod
    def attach(
        cls,
        socket: Path,
        wanted: str | None,
        locations: Locations,
        open_log: Callable[[Path], SessionLog],
    ) -> AttachedSession:
        """Attach to a session of the engine behind ``socket``: an id, the start of one, or a name.

        Without ``wanted`` it is the one that the engine opened last, or a new one where it has none.
        ``open_log`` opens the engine's database. Raises `AdlError`.
        """
        client = EngineClient.connect(socket, role="screen", name=screen_name())
        try:
            status = client.call(p.Status(), timeout=REPLY)
            log = open_log(Path(status.database))
            cache = ArrayCache(locations.arrays)
            if wanted is None and status.sessions:
                return cls(client, log, status.sessions[-1].id, cache)
            if wanted is not None:
                return cls(client, log, log.find_session(wanted).id, cache)
            # A session ends with the client that began it, unless a screen opened it meanwhile.
            with EngineClient.connect(socket, role="command", name="attach") as beginner:
                name = f"engine {datetime.now(UTC):%Y-%m-%d %H:%M}"
                begun = beginner.call(p.Begin(name=name), timeout=OPENING)
                return cls(client, log, begun.session, cache)
        except BaseException:
            client.close()
            raise

    # --- jobs -------------------------------------------------------------------------------------

    @property
    def has_pair(self) -> bool:
        """True if the engine has the pair loaded."""
        return self._has_pair

    def listen(
        self,
        recorded: Callable[[], object],
        job_changed: JobListener,
        agent_changed: Callable[[], object] = lambda: None,
    ) -> None:
        """Call back, on other threads, for events and changes of jobs and of the agent."""
        self._recorded = recorded
        self._job_changed = job_changed
        self._agent_changed = agent_changed

    def submit(
        self,
        operation: Operation[A],
        arguments: A,
        actor: Actor = HUMAN,
        *,
        background: bool = False,
    ) -> Job:
        """Queue an operation at the engine; a refusal comes as the failure of the job.

        Raises `Watching` and `EngineGone` at once where that is known.
        """
        job = Job(uuid.uuid4().hex, operation, arguments, actor, background)
        self.engine.check()
        with self._locked:
            self._jobs[job.id] = job
        self._job_changed(job)
        order = p.Submit(
            session=self.session.id,
            id=job.id,
            operation=operation.name,
            arguments=arguments.model_dump(mode="json"),
            actor=actor,
            background=background,
        )
        self.engine.order(order, lambda error: self._fail(job.id, error))
        self._ask_for_order()
        return job

    def jobs(self) -> list[Job]:
        """Return the running jobs, then the waiting ones in order."""
        with self._locked:
            places = {job_id: place for place, job_id in enumerate(self._order)}
            return sorted(
                self._jobs.values(),
                key=lambda job: (job.status == "waiting", places.get(job.id, len(places))),
            )

    def move(self, job_id: str, step: int) -> bool:
        """Move a waiting job up (-1) or down (1); False if there is no such place.

        Raises `Watching` and `EngineGone`.
        """
        self.engine.check()
        with self._locked:
            moved = next((job for job in self.jobs() if job.id == job_id), None)
            if moved is None or moved.status != "waiting":
                return False
            # There is a queue for what uses the models, and one for the rest.
            waiting = [
                job.id
                for job in self.jobs()
                if job.status == "waiting"
                and job.operation.uses_models == moved.operation.uses_models
            ]
            place = waiting.index(job_id) + step
            if not 0 <= place < len(waiting):
                return False
            order = [job.id for job in self.jobs()]
            at, other = order.index(job_id), order.index(waiting[place])
            order[at], order[other] = order[other], order[at]
            self._order = order
        self.engine.order(p.Move(session=self.session.id, job=job_id, step=1 if step > 0 else -1))
        self._ask_for_order()
        return True

    def stop(self, job_id: str) -> None:
        """Stop a job. Raises `Watching` and `EngineGone`."""
        self.engine.check()
        self.engine.order(p.StopJob(session=self.session.id, job=job_id))

    # --- the agent and the names ------------------------------------------------------------------

    def start_agent(self, request: AuditRequest) -> None:
        """Start an audit by an agent. Raises `AdlError`."""
        self.engine.call(p.StartAgent(session=self.session.id, request=request))

    def resume_agent(self, run_id: str) -> None:
        """Resume an interrupted audit. Raises `AdlError`."""
        self.engine.call(p.ResumeAgent(session=self.session.id, run=run_id))

    def reveal_names(self) -> None:
        """Show the names of a blind session's pair from here on. Raises `AdlError`."""
        self.engine.call(p.RevealNames(session=self.session.id))

    def rename(self, name: str) -> None:
        """Give the session another name. Raises `AdlError`."""
        self.engine.call(p.Rename(session=self.session.id, name=name))

    # --- leaving ----------------------------------------------------------------------------------

    def close(
        self, view: dict[str, object], outcome: Ending = "completed", reason: str = ""
    ) -> None:
        """Detach: record how the screen was left if it has the keys. Nothing is stopped."""
        with self._locked:
            if self._closed:
                return
            self._closed = True
        self.engine.finish(PATIENCE)
        if view and self.engine.link.kind != "watching":
            try:
                self.session.record(ViewSaved(view=view), actor=HUMAN)
            except SessionOver:
                pass  # the engine closed it, and that is recorded
            except StoreError as exc:
                self.unrecorded = exc
            except AdlError:
                pass  # the keys went to another screen meanwhile
        self._unsubscribe()
        self._news.set()
        self._follower.join(PATIENCE)
        self.engine.leave()

    # --- news -------------------------------------------------------------------------------------

    def _begin(self, opened: p.OpenedData) -> None:
        with self._locked:
            jobs = map(job_of, opened.jobs)
            self._jobs = {job.id: job for job in jobs}
            self._order = tuple(self._jobs)
            self._has_pair = opened.has_pair
            self.agent.status = agent_status_of(opened.agent)
            self.engine.take_holder(opened.holder, None)
            early, self._early = self._early or [], None
            for notice in early:
                self._follow_notice(notice)

    def _take(self, notice: p.Notice) -> None:
        if getattr(notice, "session", None) not in {None, self.session.id}:
            return
        with self._locked:
            if self._closed:
                # That the connection ends is its own doing.
                return
            if self._early is not None:
                self._early.append(notice)
                return
        self._follow_notice(notice)

    def _follow_notice(self, notice: p.Notice) -> None:
        match notice:
            case p.EventNotice():
                self._news.set()
            case p.JobNotice():
                self._take_job(job_of(notice.job))
            case p.AgentNotice():
                self.agent.status = agent_status_of(notice.agent)
                self._agent_changed()
            case p.HolderNotice():
                self.engine.take_holder(notice.holder, notice.asking, notice.screens)
            case p.ClosingNotice():
                self.engine.lose(notice.reason or "the session was closed")
                self._end_jobs()

    def _take_job(self, job: Job) -> None:
        with self._locked:
            known = self._jobs.get(job.id)
            if known is not None:
                # Those of this screen were not shortened on the way.
                job = replace(job, arguments=known.arguments)
            if job.is_over:
                self._jobs.pop(job.id, None)
            else:
                self._jobs[job.id] = job
            if job.operation.name == LOAD.name and job.status == "finished":
                self._has_pair = True
        # The screen looks into the state for what a job found.
        if job.is_over:
            self._catch_up()
        self._job_changed(job)
        if known is None or known.status != job.status:
            self._ask_for_order()

    def _fail(self, job_id: str, error: AdlError) -> None:
        with self._locked:
            job = self._jobs.pop(job_id, None)
        if job is not None:
            self._job_changed(replace(job, status="failed", error=error))

    def _end_jobs(self) -> None:
        """Tell that jobs ended with the engine."""
        with self._locked:
            jobs, self._jobs = list(self._jobs.values()), {}
            self._has_pair = False
            self.agent.status = WorkStatus()
        for job in jobs:
            self._job_changed(replace(job, status="stopped"))
        self._agent_changed()
        self._news.set()

    def _ask_for_order(self) -> None:
        """Ask for the order of the jobs, in turn with the orders."""

        def take(answer: p.Wire) -> None:
            assert isinstance(answer, p.JobsData)
            # Their order alone: of one that ended meanwhile there was news already.
            self._order = tuple(job.id for job in answer.jobs)

        self.engine.order(p.ListJobs(session=self.session.id), lambda _error: None, take)

    def _recorded_here(self, event: Event) -> None:
        if event.session_id == self.session.id:
            self._recorded()

    def _follow(self) -> None:
        while not self._closed:
            self._news.wait(LOOK_EVERY)
            self._news.clear()
            if not self._closed:
                self._catch_up()

    def _catch_up(self) -> None:
        before = self.session.version
        try:
            self.session.catch_up()
        except StoreError as exc:
            if not self._unread:
                # Once, for it is tried again all the time.
                self._unread = True
                self.engine.tell_refused(exc)
        else:
            self._unread = False
        if self.session.version != before:
            self._recorded()


class _Recording(Session):
    """A session in whose log a screen records what is no job, unless it watches."""

    def __init__(
        self, log: SessionLog, session_id: str, cache: ArrayCache, check: Callable[[], None]
    ) -> None:
        self._check = check
        super().__init__(log, session_id, cache)

    def _append(self, entries: Sequence[Entry], after: int | None = None) -> list[Event]:
        # Of an engine that is gone the log is there, and nobody else's.
        with suppress(EngineGone):
            self._check()
        return super()._append(entries, after)
