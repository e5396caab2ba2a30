"""Jobs, agents, sessions and errors of an engine as its clients see them, with hidden names hidden."""

from __future__ import annotations

import json
from typing import Any

from workbench.blinding.aliases import OPEN, Blinding
from workbench.blinding.seal import blinding_for_people
from workbench.display import shorten
from workbench.engine import protocol as p
from workbench.engine.agent_runner import WorkStatus
from workbench.engine.held import HeldSessions
from workbench.engine.live_session import LiveSession
from workbench.operations.jobs import Job
from workbench.operations.pair import LOAD, PAIR_NAMES, PairArguments, subject_of

#: Bytes of a job's arguments and of its summary that go over the wire; the log has them all.
LONGEST_DETAIL = 1 << 14
#: Bytes of these of all jobs in one answer; of the jobs behind that, only what they are is told.
LONGEST_DETAILS = 1 << 18
#: Characters of a message or a name; the log has them all.
LONGEST_MESSAGE, LONGEST_NAME = 8000, 400


class Presenter:
    """Data for the clients of an engine, without the names that any of its sessions hides from people.

    The names of the demo pair (``is_demo``) are hidden by calling it the demo.
    """

    def __init__(self, held: HeldSessions, *, is_demo: bool) -> None:
        self._held = held
        self._is_demo = is_demo
        self._blinding = OPEN

    def blinding(self) -> Blinding:
        """Return the names hidden from all clients: those that any session hides from people."""
        aliases: dict[str, str] = {}
        for held in self._held.all():
            aliases |= blinding_for_people(held.live.state).aliases
        if aliases != self._blinding.aliases:
            self._blinding = Blinding(aliases)
        return self._blinding

    def pair(self, pair: PairArguments) -> str:
        """Return the pair as it is called to clients."""
        if self._is_demo and self.blinding():
            return subject_of(pair, hidden=True)
        names = ((name, getattr(pair, name)) for name in PAIR_NAMES)
        return str(self._hide(", ".join(f"{name} {value}" for name, value in names if value)))

    def error(self, exc: BaseException, *, words: bool = False) -> p.ErrorData:
        """Return an error; ``words`` where names stand by themselves."""
        data = p.error_data(exc)
        hidden = {
            name: shorten(self._hide(getattr(data, name), words=words), LONGEST_MESSAGE)
            for name in ("message", "hint")
        }
        return data.model_copy(update=hidden)

    def job(self, session_id: str, job: Job) -> p.JobData:
        """Return a job of a session."""
        # Loading names the pair; what other jobs tell are words of texts, too.
        words = job.operation is LOAD
        return p.JobData(
            id=job.id,
            session=session_id,
            operation=job.operation.name,
            arguments=_short(self._hide(job.arguments.model_dump(mode="json"), words=words)),
            actor=job.actor,
            background=job.background,
            status=job.status,
            stage=shorten(self._hide(job.stage, words=words), LONGEST_NAME),
            done=job.done,
            total=job.total,
            seconds=job.seconds,
            summary=_short(self._hide(job.summary, words=words)),
            error=None if job.error is None else self.error(job.error, words=words),
        )

    def jobs(self, live: LiveSession) -> tuple[p.JobData, ...]:
        """Return the running jobs of a session, then those that wait."""
        found, left = [], LONGEST_DETAILS
        for job in live.jobs():
            data = self.job(live.session.id, job)
            left -= len(json.dumps([data.arguments, data.summary]))
            if left < 0:
                data = data.model_copy(update={"arguments": {}, "summary": {}})
            found.append(data)
        return tuple(found)

    def agent(self, status: WorkStatus) -> p.AgentData:
        """Return the status of an agent's thread."""
        problem = None if status.problem is None else self.error(status.problem, words=True)
        return p.AgentData(phase=status.phase, doing=self._hide(status.doing), problem=problem)

    def sessions(self) -> tuple[p.SessionData, ...]:
        """Return all sessions of the engine."""
        return tuple(
            p.SessionData(
                id=held.live.session.id,
                name=shorten(self._hide(held.live.state.name), LONGEST_NAME),
                has_pair=held.live.pair is not None,
                busy=len(held.live.jobs()),
                agent=self.agent(held.live.agent.status),
                screens=len(held.keys.screens),
                blind=bool(blinding_for_people(held.live.state)),
            )
            for held in self._held.all()
        )

    def _hide(self, data: Any, *, words: bool = True) -> Any:
        return self.blinding().hide_all(data, words=words)


def _short(data: dict[str, Any]) -> dict[str, Any]:
    """The data, or nothing if it is long: a job's message must fit into a line."""
    return data if len(json.dumps(data)) <= LONGEST_DETAIL else {}
