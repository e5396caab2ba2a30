"""A live session: its log, its jobs, and its orderly end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeVar

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.measures.coherence import JudgedText
from adl.pair.protocol import ModelPair
from workbench.engine.shown import ShownSession
from workbench.locations import Locations
from workbench.operations.beginning import begin_session
from workbench.operations.jobs import Job, JobListener, Jobs, Turns
from workbench.operations.pair import LoadModels, PairArguments, environment
from workbench.operations.running import Arguments, Operation, Session
from workbench.store.errors import SessionOver, StoreError
from workbench.store.events import (
    HUMAN,
    Actor,
    Ending,
    EventBody,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    ViewSaved,
)
from workbench.store.lease import Lease
from workbench.store.log import SessionLog

if TYPE_CHECKING:
    from workbench.engine.agent_request import AuditRequest
    from workbench.engine.agent_runner import AgentWork
    from workbench.operations.judges import AnswerVerdict, ScaleVerdict
    from workbench.store.measures.tested import PromptKind

A = TypeVar("A", bound=Arguments)

#: How long leaving waits for a batch or a token to end, in seconds.
PATIENCE = 5.0


class LiveSession(ShownSession):
    """A session that is being worked on. Its methods may be called from any thread."""

    def __init__(
        self,
        session: Session,
        *,
        lease: Lease | None = None,
        turns: Turns | None = None,
    ) -> None:
        super().__init__(session)
        self._lease = lease
        self.session.scale_judge = self._judge_scale
        self.session.coherence_judge = self._judge_texts
        self.session.answer_judge = self._judge_answer
        self.session.prompt_writer = self._write_prompts
        self._job_changed: JobListener = lambda _job: None
        self._agent_changed: Callable[[], object] = lambda: None
        # From the beginning, so that no order comes too early.
        self._jobs = Jobs(session, self._tell_of_job, turns)
        self._agent: AgentWork | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._closing = threading.Lock()
        self._closed = False
        self.unrecorded: StoreError | None = None

    @classmethod
    def start(
        cls,
        log: SessionLog,
        name: str,
        locations: Locations,
        pair: PairArguments,
        *,
        blind: bool = False,
        load: LoadModels | None = None,
        check: Callable[[ModelPair], object] = bool,
        command: Sequence[str] = (),
        turns: Turns | None = None,
        progress: StageProgress = ignore_stages,
        should_stop: ShouldStop = never_stop,
    ) -> LiveSession:
        """Load a pair and begin a session with it; a ``blind`` one hides every name of the pair.

        Raises whatever keeps the pair from being loaded, and ``Stopped``; then there is no session.
        """
        before: list[EventBody] = []
        if blind:
            # Imported now: few sessions are blind.
            from workbench.blinding.seal import first_seal

            before.append(first_seal(pair))
        session = begin_session(
            log,
            ArrayCache(locations.arrays),
            name,
            pair,
            actor=HUMAN,
            before=before,
            load=load,
            check=check,
            command=command,
            progress=progress,
            should_stop=should_stop,
        )
        lease = Lease.take(locations.leases, session.id)
        return cls(session, lease=lease, turns=turns)

    @classmethod
    def resume(
        cls,
        log: SessionLog,
        wanted: str,
        locations: Locations,
        *,
        even_if_open: bool = False,
        turns: Turns | None = None,
    ) -> LiveSession:
        """Go on with a session: an id, the start of one, a name or ``last``.

        Raises `OpenElsewhere` if it is open in another process, unless ``even_if_open``.
        """
        session_id = log.find_session(wanted).id
        lease = Lease.take(locations.leases, session_id, even_if_open=even_if_open)
        try:
            log.append(session_id, SessionContinued(environment=environment()), actor=HUMAN)
            session = Session(log, session_id, ArrayCache(locations.arrays))
            return cls(session, lease=lease, turns=turns)
        except BaseException:
            lease.release()
            raise

    def _judge_scale(
        self,
        model: str,
        reading: str,
        lists: Mapping[float, Sequence[str]],
        should_stop: ShouldStop,
    ) -> ScaleVerdict:
        """Ask a judge at the endpoint of the settings as they are now."""
        from contextlib import closing

        from workbench.agent.endpoint import Endpoint
        from workbench.agent.scales import scale_judge
        from workbench.settings import load_settings

        with closing(Endpoint(load_settings())) as endpoint:
            judge = scale_judge(self.session, lambda: endpoint)
            return judge(model, reading, lists, should_stop)

    def _judge_texts(
        self, model: str, texts: Sequence[JudgedText], should_stop: ShouldStop
    ) -> Sequence[bool | None]:
        """Ask a judge at the endpoint of the settings as they are now."""
        from contextlib import closing

        from workbench.agent.coherence import coherence_judge
        from workbench.agent.endpoint import Endpoint
        from workbench.settings import load_settings

        with closing(Endpoint(load_settings())) as endpoint:
            return coherence_judge(self.session, lambda: endpoint)(model, texts, should_stop)

    def _judge_answer(
        self, model: str, hypothesis: str, prompt: str, answer: str, should_stop: ShouldStop
    ) -> AnswerVerdict:
        """Ask a judge at the endpoint of the settings as they are now."""
        from contextlib import closing

        from workbench.agent.endpoint import Endpoint
        from workbench.agent.experimenting import answer_judge
        from workbench.settings import load_settings

        with closing(Endpoint(load_settings())) as endpoint:
            judge = answer_judge(self.session, lambda: endpoint)
            return judge(model, hypothesis, prompt, answer, should_stop)

    def _write_prompts(
        self, model: str, hypothesis: str, asked: Set[str], should_stop: ShouldStop
    ) -> Mapping[PromptKind, Sequence[str]]:
        """Let a model at the endpoint write prompts."""
        from contextlib import closing

        from workbench.agent.endpoint import Endpoint
        from workbench.agent.experimenting import prompt_writer
        from workbench.settings import load_settings

        with closing(Endpoint(load_settings())) as endpoint:
            write = prompt_writer(self.session, lambda: endpoint)
            return write(model, hypothesis, asked, should_stop)

    @property
    def pair(self) -> ModelPair | None:
        """The loaded pair, if there is one."""
        return self.session.pair

    @property
    def engine(self) -> None:
        """No engine: this process runs the jobs."""

    @property
    def has_pair(self) -> bool:
        """True if a pair is loaded."""
        return self.session.pair is not None

    def listen(
        self,
        recorded: Callable[[], object],
        job_changed: JobListener,
        agent_changed: Callable[[], object] = lambda: None,
    ) -> None:
        """Call back, on other threads, for every event and every change of a job or the agent."""
        self._unsubscribe = self.log.subscribe(lambda _event: (recorded(), None)[1])
        self._job_changed = job_changed
        self._agent_changed = agent_changed

    def submit(
        self,
        operation: Operation[A],
        arguments: A,
        actor: Actor = HUMAN,
        *,
        background: bool = False,
        job_id: str | None = None,
    ) -> Job:
        """Queue an operation, see `Jobs.submit`."""
        return self._jobs.submit(operation, arguments, actor, background=background, job_id=job_id)

    def jobs(self) -> list[Job]:
        """Return the running jobs, then the waiting ones in order."""
        return self._jobs.current()

    def move(self, job_id: str, step: int) -> bool:
        """Move a waiting job up (-1) or down (1), see `Jobs.move`."""
        return self._jobs.move(job_id, step)

    def stop(self, job_id: str) -> None:
        """Stop a job."""
        self._jobs.stop(job_id)

    @property
    def agent(self) -> AgentWork:
        """The runner of the agent."""
        if self._agent is None:
            # Imported on first use, so that the first screen is shown sooner.
            from workbench.engine.agent_runner import AgentWork

            self._agent = AgentWork(self.session, self._jobs, self._tell_of_agent)
        return self._agent

    def start_agent(self, request: AuditRequest) -> None:
        """Start an audit by an agent on its own thread. Raises `AdlError`."""
        from workbench.settings import load_settings

        self.agent.start(load_settings(), request)

    def resume_agent(self, run_id: str) -> None:
        """Resume an interrupted audit. Raises `AdlError`."""
        from workbench.settings import load_settings

        self.agent.resume(load_settings(), run_id)

    def reveal_names(self) -> None:
        """Show the names of a blind session's pair from here on; recorded as seen by the person."""
        from workbench.blinding.seal import reveal_names

        reveal_names(self.session, HUMAN)

    def rename(self, name: str) -> None:
        """Give the session another name."""
        self.session.record(SessionRenamed(name=name), actor=HUMAN)

    def close(
        self,
        view: dict[str, Any] | None,
        outcome: Ending = "completed",
        reason: str = "",
        *,
        recorded: bool = False,
    ) -> None:
        """Stop agent and jobs, record how the screen was left and that the session is closed.

        Without a ``view``, how it was left before stays; ``recorded`` means that the end is in the
        log already. Where another process has the session open, its end is yet to come, and is
        recorded there. What cannot be recorded, as on a full disk, is told by ``unrecorded``.

        Safe to call twice; the second call waits for the first. Does not close the log.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if self._agent is not None:
                # Before the jobs: a call of its that is cut off now is done again by who resumes.
                self._agent.stop()
            stopped = self._jobs.close(PATIENCE)
            if self._agent is not None:
                stopped = self._agent.join(PATIENCE) and stopped
            self._unsubscribe()
            try:
                if view:
                    with self._keeping_error():
                        self.session.record(ViewSaved(view=view), actor=HUMAN)
                # Of a job that outlives it nothing more comes.
                with self._keeping_error():
                    self.session.stop_at_end()
                if not recorded and not (self._lease is not None and self._lease.is_of_others()):
                    # Past the session: others who had it open may have closed it for themselves.
                    with self._keeping_error():
                        self.log.append(
                            self.session.id,
                            SessionClosed(outcome=outcome, reason=reason),
                            actor=HUMAN,
                        )
                        self.session.catch_up()
            finally:
                if self._lease is not None:
                    self._lease.release()
                if stopped:
                    # The next session's models need the memory, even if this is still referenced.
                    self.session.pair = None

    @contextlib.contextmanager
    def _keeping_error(self) -> Iterator[None]:
        """Go on after what the log does not take: it has all that was announced before."""
        try:
            yield
        except SessionOver:
            pass  # closed by others meanwhile, and that is recorded
        except StoreError as exc:
            self.unrecorded = self.unrecorded or exc

    def _tell_of_job(self, job: Job) -> None:
        self._job_changed(job)

    def _tell_of_agent(self) -> None:
        self._agent_changed()
