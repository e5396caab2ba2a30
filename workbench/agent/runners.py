"""Runners of an agent's operations: its own thread, or the jobs that a person's keys use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop
from adl.errors import AdlError, Stopped
from workbench.operations.jobs import Jobs
from workbench.operations.running import Arguments, Operation, Outcome, Session, run
from workbench.store.events import Actor

Runner = Callable[[Operation[Any], Arguments, Actor, ShouldStop], Outcome]
"""Runs an operation to its end. Raises what it raised, ``Stopped`` if it was stopped."""


class RunnerGone(AdlError):
    """Operations cannot be run any more: an agent that needs them is interrupted."""

    exit_code = 1


class OperationRefused(AdlError):
    """An operation failed in another thread; the message is the one it failed with."""


def direct(session: Session) -> Runner:
    """Run operations at once, on the thread that asks."""

    def runner(
        operation: Operation[Any], arguments: Arguments, actor: Actor, should_stop: ShouldStop
    ) -> Outcome:
        return run(session, operation, arguments, actor=actor, should_stop=should_stop)

    return runner


def through_jobs(session: Session, jobs: Jobs) -> Runner:
    """Line operations up with everybody else's, and wait."""

    def runner(
        operation: Operation[Any], arguments: Arguments, actor: Actor, should_stop: ShouldStop
    ) -> Outcome:
        job = jobs.submit(operation, arguments, actor)
        while not jobs.wait(job.id, STOP_POLL_SECONDS):
            if should_stop():
                jobs.stop(job.id)
        found = session.state.operations.get(job.id)
        if found is None or found.status in {"stopped", "abandoned"}:
            raise Stopped(found.reason if found else "stopped before it began")
        if found.status == "failed":
            raise OperationRefused(found.message, found.way_out)
        return Outcome(job.id, found.summary)

    return runner
