"""Progress of the jobs of one audit together: one share and one time left for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workbench.operations.jobs import Job
from workbench.operations.time_left import PlanProgress


class PlannedWork:
    """Progress of jobs that were lined up together. For the screen's thread."""

    def __init__(
        self, jobs: Iterable[Job], progress: Callable[..., PlanProgress] = PlanProgress
    ) -> None:
        planned = list(jobs)
        self._progress = progress([(job.operation, job.arguments) for job in planned])
        self._ahead = {job.id for job in planned}

    def take(self, job: Job) -> None:
        """Update the progress after a change of a job; ignore jobs that are not part of the audit."""
        if job.id not in self._ahead:
            return
        if job.is_over:
            self._ahead.discard(job.id)
            self._progress.finish(job.operation.name)
        elif job.status == "running":
            self._progress.report(job.operation.name, job.stage, job.done, job.total)

    @property
    def is_over(self) -> bool:
        """True once every job finished, failed or was stopped."""
        return not self._ahead

    @property
    def share(self) -> float:
        """The share that is done, from 0 to 1."""
        return self._progress.share

    @property
    def words(self) -> str:
        """Share and time left for people, as ``42%, about 6 min left``."""
        return self._progress.words
