"""The queues of operations: one thread runs those that need the models, one the rest.

jobs.submit(operation, arguments, actor)  ->  Job, at once
    models   one at a time; what a person or an agent asked for before what was only prepared
    others   notes and hypotheses, never behind a model
jobs.move(id, step)                       ->  a waiting job earlier or later among those waiting
the listener is called for every change of a job, on the thread that brought it about
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from adl.callbacks import STOP_POLL_SECONDS
from adl.errors import AdlError, Stopped
from workbench.operations.running import Arguments, Operation, Session, Summary, run
from workbench.store.events import Actor

A = TypeVar("A", bound=Arguments)
JobStatus = Literal["waiting", "running", "stopping", "finished", "failed", "stopped"]

#: Progress is told at most so often, in seconds: a listener redraws.
TELL_EVERY = 0.05

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A queued or running operation; ``id`` is its id in the log.

    ``done`` of ``total`` steps of ``stage``; ``seconds`` since it began to run.
    """

    id: str
    operation: Operation[Any]
    arguments: Arguments
    actor: Actor
    background: bool = False
    status: JobStatus = "waiting"
    stage: str = ""
    done: int = 0
    total: int = 0
    began: float | None = None
    summary: Summary = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """True once the job finished, failed or was stopped."""
        return self.status in {"finished", "failed", "stopped"}

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return 0.0 if self.began is None else time.monotonic() - self.began


JobListener = Callable[[Job], object]


class _Task:
    """A job with its arguments and its stop flag."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stop = threading.Event()
        self.over = threading.Event()
        self.telling = threading.RLock()
        self.told = 0.0
        self.told_over = False


class Turns:
    """Lets one thread at a time use the models, in the order in which they came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: list[object] = []

    @contextmanager
    def taken(self, given_up: Callable[[], bool]) -> Iterator[bool]:
        """Wait for the turn and hold it meanwhile; False, without it, once ``given_up``."""
        place = object()
        with self._changed:
            self._line.append(place)
            while self._line[0] is not place and not given_up():
                self._changed.wait(STOP_POLL_SECONDS)
            has_turn = self._line[0] is place
        try:
            yield has_turn
        finally:
            with self._changed:
                self._line.remove(place)
                self._changed.notify_all()


class Jobs:
    """Runs operations of one session on threads of its own. Safe to use from any thread.

    Sessions that share a pair share its ``turns``: only one of them runs the models at a time.

    The listener is called on the thread that brought the change about and must not wait for
    another one. Of each job it is told in order, and of its end once.
    """

    def __init__(self, session: Session, listener: JobListener, turns: Turns | None = None) -> None:
        self._session = session
        self._turns = turns or Turns()
        self._listener = listener
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tasks: dict[str, _Task] = {}
        self._closed = False
        # The tasks that wait, in the order in which they will run, by whether they use the models.
        self._queues: dict[bool, list[_Task]] = {True: [], False: []}
        self._threads = [
            # Daemons: a load that hangs in a library must not keep the process alive.
            threading.Thread(
                target=self._work,
                args=(queue, self._turns if uses else Turns()),
                daemon=True,
                name="models" if uses else "notes",
            )
            for uses, queue in self._queues.items()
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        operation: Operation[A],
        arguments: A,
        actor: Actor,
        *,
        background: bool = False,
        job_id: str | None = None,
    ) -> Job:
        """Queue an operation and return at once; ``background`` ones let others go first.

        ``job_id`` is the job's id where whoever asks for it has made one. Raises `RuntimeError` once
        closed.
        """
        job = Job(job_id or uuid.uuid4().hex, operation, arguments, actor, background)
        task = _Task(job)
        with self._lock:
            if self._closed:
                raise RuntimeError("the session is being closed")
            self._tasks[job.id] = task
        self._tell(task)
        with self._changed:
            if not task.job.is_over and not self._closed:
                queue = self._queues[operation.uses_models]
                queue.insert(len(queue) if background else _end_of_foreground(queue), task)
                self._changed.notify_all()
        return job

    def current(self) -> list[Job]:
        """Return the running jobs, then the waiting ones, in order."""
        with self._lock:
            waiting = [task for queue in self._queues.values() for task in queue]
            begun = [task for task in self._tasks.values() if task not in waiting]
            return [task.job for task in begun + waiting if not task.job.is_over]

    def move(self, job_id: str, step: int) -> bool:
        """Let a waiting job run earlier (-1) or later (1); False if there is no such place.

        A job of the background that is moved keeps its place until others are moved: what is asked
        for later goes behind whatever of the foreground waits.
        """
        with self._lock:
            task = self._tasks.get(job_id)
            queue = next((queue for queue in self._queues.values() if task in queue), None)
            if task is None or queue is None:
                return False
            place = queue.index(task)
            if not 0 <= place + step < len(queue):
                return False
            queue.insert(place + step, queue.pop(place))
        self._tell(task)
        return True

    def stop(self, job_id: str) -> None:
        """Ask a job to stop: within one batch or one token, or before it begins."""
        with self._lock:
            task = self._tasks.get(job_id)
            if task is None or task.job.is_over:
                return
            task.stop.set()
            waiting = task.job.status == "waiting"
            for queue in self._queues.values():
                if task in queue:
                    queue.remove(task)
            task.job = replace(task.job, status="stopped" if waiting else "stopping")
        self._tell(task)
        if waiting:
            self._end(task)

    def stop_all(self) -> None:
        """Ask every job to stop."""
        for job in self.current():
            self.stop(job.id)

    def wait(self, job_id: str, timeout: float | None = None) -> bool:
        """Wait until a job is over. Return False after ``timeout`` seconds."""
        with self._lock:
            task = self._tasks.get(job_id)
        return task is None or task.over.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Stop all jobs and take no more. Return True if all threads ended within ``timeout`` seconds.

        Called by a listener on one of these threads, it waits for the others alone.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.stop_all()
        until = time.monotonic() + timeout
        others = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in others)

    def _work(self, queue: list[_Task], turns: Turns) -> None:
        while self._has_come(queue):
            with turns.taken(lambda: self._closed):
                # Not before: until then a job waits, and can be moved.
                task = self._start(queue)
                if task is not None:
                    self._run(task)

    def _has_come(self, queue: list[_Task]) -> bool:
        """Wait for a task; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: queue or self._closed)
            return not self._closed

    def _start(self, queue: list[_Task]) -> _Task | None:
        """Start the first task; None once closed, and where it was stopped while it waited."""
        with self._changed:
            if self._closed or not queue:
                return None
            task = queue.pop(0)
            task.job = replace(task.job, status="running", began=time.monotonic())
            return task

    def _run(self, task: _Task) -> None:
        self._tell(task)
        job = task.job
        try:
            outcome = run(
                self._session,
                job.operation,
                job.arguments,
                actor=job.actor,
                progress=lambda stage, done, total: self._progress(task, stage, done, total),
                should_stop=task.stop.is_set,
                operation_id=job.id,
            )
        except Stopped:
            self._change(task, status="stopped")
        except AdlError as exc:
            self._change(task, status="failed", error=exc)
        except BaseException as exc:
            # Also SystemExit, which libraries raise: the thread has other jobs to do.
            _logger.exception("%s failed", job.operation.name)
            self._change(task, status="failed", error=exc)
        else:
            self._change(task, status="finished", summary=outcome.summary)
        finally:
            self._end(task)

    def _progress(self, task: _Task, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        changed = stage != task.job.stage
        with self._lock:
            task.job = replace(task.job, stage=stage, done=done, total=total)
        if changed or done == total or now - task.told >= TELL_EVERY:
            task.told = now
            self._tell(task)

    def _change(self, task: _Task, **changes: Any) -> None:
        with self._lock:
            task.job = replace(task.job, **changes)
        self._tell(task)

    def _end(self, task: _Task) -> None:
        with self._lock:
            self._tasks.pop(task.job.id, None)
        task.over.set()

    def _tell(self, task: _Task) -> None:
        # One at a time, each with the job as it is then: what is told last is what is true last,
        # and nothing is told of a job that was said to be over.
        with task.telling:
            job = task.job
            if task.told_over:
                return
            task.told_over = job.is_over
            try:
                self._listener(job)
            except Exception:
                # The work goes on, whatever a screen makes of it.
                _logger.exception("a listener failed at job %s", job.id)


def _end_of_foreground(queue: list[_Task]) -> int:
    """The place behind the last task that is not of the background."""
    places = [place for place, task in enumerate(queue, start=1) if not task.job.background]
    return places[-1] if places else 0
