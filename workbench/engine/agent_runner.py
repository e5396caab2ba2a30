"""Running an agent beside the person: on its own thread, its operations in the common queue.

start | resume   -> preparing   jobs compute the overview
                 -> working     the audit; every step of it is in the log
                 -> idle        ended, or interrupted and resumable
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop
from adl.errors import AdlError, Stopped
from workbench.agent.shown_evidence import compute, missing_evidence
from workbench.agent.supervision import Supervision
from workbench.engine.agent_request import AgentPhase, AuditRequest
from workbench.faults import REPORT_BUG
from workbench.operations.jobs import Jobs
from workbench.operations.pair import LOAD
from workbench.operations.running import Arguments, Operation, Outcome, Session
from workbench.store.events import HUMAN, Actor

if TYPE_CHECKING:
    from workbench.agent.endpoint import Endpoint
    from workbench.agent.loop import Surroundings
    from workbench.settings import Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkStatus:
    """Status of the agent's thread; ``problem`` is why the last run ended early."""

    phase: AgentPhase = "idle"
    doing: str = ""
    problem: AdlError | None = None

    @property
    def is_busy(self) -> bool:
        """True while the thread is running."""
        return self.phase != "idle"

    def hidden(self, hide: Callable[[str], str]) -> WorkStatus:
        """Return the status with its problem redacted: endpoints and loaders repeat names."""
        if self.problem is None or hide(str(self.problem)) == str(self.problem):
            return self
        problem = AdlError(hide(self.problem.message), hide(self.problem.hint))
        return replace(self, problem=problem)


class AgentWork:
    """Runs at most one agent at a time. Its methods may be called from any thread."""

    def __init__(self, session: Session, jobs: Jobs, changed: Callable[[], object]) -> None:
        self.person = Supervision(session)
        self.status = WorkStatus()
        self._session = session
        self._jobs = jobs
        self._changed = changed
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, settings: Settings, wish: AuditRequest) -> None:
        """Start an audit. Raises ``AdlError`` if an agent is running or there is no key."""

        def audit(endpoint: Endpoint, surroundings: Surroundings) -> None:
            from workbench.agent.loop import AuditPlan, start_audit
            from workbench.blinding.seal import seal

            if wish.mode == "adl" and wish.prepare:
                self._prepare()
            blinding = seal(self._session, blind=wish.blind)
            plan = AuditPlan(
                wish.model,
                wish.mode,
                wish.budgets,
                wish.approval,
                context=settings.context,
            )
            self._tell(WorkStatus("working"))
            start_audit(self._session, endpoint, plan, blinding, surroundings)

        self._begin(settings, audit)

    def resume(self, settings: Settings, run_id: str) -> None:
        """Resume an interrupted audit. Raises as `start` does."""

        def audit(endpoint: Endpoint, surroundings: Surroundings) -> None:
            from workbench.agent.loop import resume_audit

            self._session.require_pair()
            self._tell(WorkStatus("working"))
            resume_audit(self._session, endpoint, run_id=run_id, surroundings=surroundings)

        self._begin(settings, audit)

    def stop(self) -> None:
        """Stop the agent, within one token or one poll of the endpoint."""
        with self._lock:
            if not self.status.is_busy:
                return
            self._stop.set()
            self.status = WorkStatus("stopping")
        self._changed()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; return True if it did."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    # --- on the agent's thread --------------------------------------------------------------

    def _begin(self, settings: Settings, audit: Callable[[Endpoint, Surroundings], None]) -> None:
        from workbench.agent.endpoint import Endpoint
        from workbench.agent.loop import Surroundings

        endpoint = Endpoint(settings)
        surroundings = Surroundings(self._runner, self.person, self._stop.is_set)
        with self._lock:
            if self.status.is_busy:
                raise AdlError("an agent is at work already", "Stop it first, or let it finish.")
            self._stop.clear()
            self.status = WorkStatus("preparing", "waits for the pair")
            # A daemon: a call that hangs in a library must not keep the process alive.
            self._thread = threading.Thread(
                target=self._run, args=(audit, endpoint, surroundings), daemon=True, name="agent"
            )
        self._thread.start()
        self._changed()

    def _run(
        self,
        audit: Callable[[Endpoint, Surroundings], None],
        endpoint: Endpoint,
        surroundings: Surroundings,
    ) -> None:
        problem: AdlError | None = None
        try:
            self._wait_for_pair()
            audit(endpoint, surroundings)
        except Stopped as exc:
            if not self._stop.is_set():
                problem = AdlError(
                    f"the agent did not begin: {exc.message}",
                    "Start it again.",
                )
        except AdlError as exc:
            problem = exc
        except Exception as exc:
            _logger.exception("the agent failed")
            problem = AdlError(f"{type(exc).__name__}: {exc}", REPORT_BUG)
        finally:
            # A connection that does not close properly must not hide what ended the work.
            with suppress(RuntimeError):
                endpoint.close()
            self._tell(WorkStatus(problem=problem))

    def _wait_for_pair(self) -> None:
        for job in self._jobs.current():
            if job.operation.name == LOAD.name:
                while not self._jobs.wait(job.id, STOP_POLL_SECONDS):
                    self._check_stop()

    def _prepare(self) -> None:
        """Compute what is missing of the overview."""
        n_layers = self._session.require_pair().provenance.n_layers

        def run(operation: Operation[Any], arguments: Arguments) -> None:
            self._tell(WorkStatus("preparing", operation.title))
            self._runner(operation, arguments, HUMAN, self._stop.is_set)

        compute(missing_evidence(self._session.state, n_layers), run)
        self._check_stop()

    def _runner(
        self,
        operation: Operation[Any],
        arguments: Arguments,
        actor: Actor,
        should_stop: ShouldStop,
    ) -> Outcome:
        from workbench.agent.runners import through_jobs

        self._check_stop()
        try:
            return through_jobs(self._session, self._jobs)(operation, arguments, actor, should_stop)
        except RuntimeError:
            # The session is being closed: the call is no failure, it is yet to be done.
            self._check_stop()
            raise

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped on request")

    def _tell(self, status: WorkStatus) -> None:
        with self._lock:
            if not (status.is_busy and self._stop.is_set()):
                self.status = status
        self._changed()
