"""An engine: a pair that stays loaded, the sessions at work on it, and what clients may order.

    answer(order, client)   does what a client asks for; for any thread, and may take its time
    tell(client, notice)    news for a client, on the thread that brought it about

It knows nothing of sockets. Sessions are `LiveSession`s, as a screen has one without an engine.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import singledispatchmethod
from typing import Any, get_args

from pydantic import ValidationError

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.errors import AdlError
from adl.pair.protocol import resolve_layers
from workbench.agent.errors import AgentError
from workbench.blinding.aliases import OPEN, Blinding
from workbench.blinding.seal import blinding_for_people, reveal_names
from workbench.engine import protocol as p
from workbench.engine.agent_request import look_up_endpoint
from workbench.engine.agent_runner import WorkStatus
from workbench.engine.keyring import Keyring
from workbench.engine.live_session import LiveSession
from workbench.engine.shared_pair import SharedPair
from workbench.locations import Locations
from workbench.operations import OPERATIONS
from workbench.operations.jobs import Job, Turns
from workbench.operations.pair import LOAD, PairArguments, loaded_pair, subject_of
from workbench.store.agent_events import Policy
from workbench.store.events import HUMAN, SYSTEM, Event, SessionRenamed
from workbench.store.log import SessionLog

Tell = Callable[[int, p.Notice], None]

#: Bytes of a job's arguments and of its summary that go over the wire; the log has them all.
LONGEST_DETAIL = 1 << 14
_NAMES = ("organism", "base", "adapter", "finetuned")
_logger = logging.getLogger(__name__)


class EngineRefusal(AdlError):
    """An order that this engine cannot follow."""


class _Held:
    """A session that is open here, with its readers; ``owner`` began it for as long as it is there."""

    def __init__(self, live: LiveSession, owner: int | None = None) -> None:
        self.live = live
        self.keys = Keyring()
        self.owner = owner
        self.is_left = False
        "True if it is to be closed once its jobs are over."
        self.is_closing = False


class Engine:
    """A pair and its sessions. Its methods may be called from any thread.

    ``is_demo`` for a pair that was asked for as the demo: its names are hidden from screens, since
    one is the answer, and yet commands that ask for the demo find it.
    """

    def __init__(
        self,
        log: SessionLog,
        locations: Locations,
        pair: PairArguments,
        *,
        tell: Tell = lambda _client, _notice: None,
        idle_limit: float | None = None,
        is_demo: bool = False,
    ) -> None:
        self.log = log
        self.pair = SharedPair(pair)
        self._is_demo = is_demo
        self.tell = tell
        self.end: Callable[[], object] = lambda: None
        "Called when a client asks the engine to end."
        self._locations = locations
        self.idle_limit = idle_limit
        self._turns = Turns()
        self._lock = threading.RLock()
        self._opening = threading.Lock()
        self._closing = threading.Event()
        # Held while jobs are queued and while the pair is freed: never one amid the other.
        self._queueing = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._clients: dict[int, p.ClientData] = {}
        self._blindfold = OPEN
        self._began = self._busy_at = time.monotonic()
        self._unsubscribe = log.subscribe(self._tell_of_event)

    # --- sessions ---------------------------------------------------------------------------------

    def begin(
        self,
        name: str,
        *,
        blind: bool = False,
        layers: Sequence[str] = (),
        command: Sequence[str] = (),
        owner: int | None = None,
        progress: StageProgress = ignore_stages,
        should_stop: ShouldStop = never_stop,
    ) -> LiveSession:
        """Load the pair, or take it as it is, and begin a session with it.

        Raises ``SiteError`` for ``layers`` that it does not have; then there is no session.
        """
        live = LiveSession.start(
            self.log,
            name,
            self._locations,
            self.pair.arguments,
            blind=blind,
            load=self.pair.load,
            check=lambda loaded: resolve_layers(layers, loaded.provenance.n_layers),
            command=command,
            turns=self._turns,
            progress=progress,
            should_stop=should_stop,
        )
        self._hold(live, owner)
        return live

    def resume(self, wanted: str, *, owner: int | None = None) -> LiveSession:
        """Go on with a session, and queue the loading of its pair; one that is open here stays.

        Raises `EngineRefusal` for a session of another pair, and `OpenElsewhere`.
        """
        session_id = self.log.find_session(wanted).id
        with self._opening:
            held = self._held.get(session_id)
            if held is not None and held.is_closing:
                raise EngineRefusal(
                    f"session {session_id} is being closed", "Open it again in a moment."
                )
            if held is not None:
                return held.live
            live = LiveSession.resume(self.log, session_id, self._locations, turns=self._turns)
            own = loaded_pair(live.state.operations)
            if own is not None and not self.pair.is_of(own):
                live.close(None, "failed", "the engine has another pair")
                raise EngineRefusal(
                    f"session {session_id} has another pair than this engine",
                    "Go on with it without an engine, or start one for it: "
                    f"adl-workbench serve --session {session_id}",
                )
            self._hold(live, owner)
        if own is not None:
            self._load_first(live)
        return live

    def close(self, reason: str) -> None:
        """Stop and close all sessions, and free the pair."""
        self._closing.set()
        with self._lock:
            held = list(self._held)
        for session_id in held:
            self._close(session_id, None, "stopped", reason)
        self._unsubscribe()
        self.pair.free()

    # --- clients ----------------------------------------------------------------------------------

    def come(self, client: p.ClientData) -> None:
        """Take in a client."""
        with self._lock:
            self._clients[client.number] = client

    def gone(self, number: int) -> None:
        """Let go of a client whose connection ended: its jobs go on, its keys are free."""
        with self._lock:
            self._clients.pop(number, None)
            held = list(self._held.items())
        for session_id, one in held:
            self._leave(session_id, number)
            if one.owner == number:
                one.is_left = True
                self._close_left(session_id)

    def free_if_idle(self) -> bool:
        """Free the pair if nothing was asked of it for the time it has; True if that was done."""
        if self.idle_limit is None or self.pair.pair is None:
            return False
        with self._queueing:
            idle = self._idle_seconds()
            if idle is None or idle < self.idle_limit:
                return False
            with self._lock:
                for held in self._held.values():
                    held.live.session.pair = None
            self.pair.free()
        return True

    # --- orders -----------------------------------------------------------------------------------

    @singledispatchmethod
    def answer(self, order: p.Order[Any], client: p.ClientData) -> p.Wire:
        """Do what a client asks for. Raises `AdlError`."""
        raise EngineRefusal(f"an engine does not know the order {order.method!r}")

    @answer.register
    def _status(self, _order: p.Status, client: p.ClientData) -> p.StatusData:
        pair = self.pair.pair
        with self._lock:
            clients = tuple(self._clients.values())
        return p.StatusData(
            pid=os.getpid(),
            program=p.PROGRAM,
            database=str(self.log.path),
            pair=self._pair_name(),
            is_loaded=pair is not None,
            memory={} if pair is None else pair.memory(),
            up_seconds=time.monotonic() - self._began,
            idle_seconds=self._idle_seconds(),
            idle_limit=self.idle_limit,
            clients=clients,
            sessions=self._sessions_data(),
        )

    @answer.register
    def _sessions(self, _order: p.Sessions, client: p.ClientData) -> p.SessionsData:
        return p.SessionsData(sessions=self._sessions_data())

    @answer.register
    def _endpoint(self, _order: p.Endpoint, client: p.ClientData) -> p.EndpointData:
        facts = look_up_endpoint()
        return p.EndpointData(
            **{name: getattr(facts, name) for name in p.EndpointData.model_fields}
        )

    @answer.register
    def _has_pair(self, order: p.HasPair, client: p.ClientData) -> p.YesNo:
        # A blind engine confirms no guess of its names.
        tells = self._is_demo or not self._blinding()
        is_it = tells and self.pair.is_of(order.pair) and self.pair.is_current()
        return p.YesNo(yes=is_it)

    @answer.register
    def _begin(self, order: p.Begin, client: p.ClientData) -> p.OpenedData:
        live = self.begin(
            order.name,
            blind=order.blind,
            layers=order.layers,
            command=order.command,
            owner=client.number,
            should_stop=self._closing.is_set,
        )
        return self._join(live.session.id, client, keys=True)

    @answer.register
    def _open(self, order: p.Open, client: p.ClientData) -> p.OpenedData:
        is_command = client.role == "command"
        live = self.resume(order.session, owner=client.number if is_command else None)
        return self._join(live.session.id, client, keys=order.keys)

    @answer.register
    def _leave_order(self, order: p.Leave, client: p.ClientData) -> p.Nothing:
        self._find(order.session)
        self._leave(order.session, client.number)
        return p.Nothing()

    @answer.register
    def _close_order(self, order: p.Close, client: p.ClientData) -> p.YesNo:
        held = self._find(order.session)
        if client.role == "command" and held.owner != client.number:
            self._leave(order.session, client.number)
            return p.YesNo(yes=False)
        view = order.view or None
        self._close(order.session, view, order.outcome, order.reason, recorded=order.recorded)
        return p.YesNo(yes=True)

    @answer.register
    def _submit(self, order: p.Submit, client: p.ClientData) -> p.JobData:
        live = self._find(order.session).live
        operation = OPERATIONS.get(order.operation)
        if operation is None:
            raise EngineRefusal(f"there is no operation {order.operation!r}")
        try:
            arguments = operation.arguments.model_validate(order.arguments)
        except ValidationError as exc:
            from workbench.fields import in_words

            raise EngineRefusal(f"{order.operation}: {in_words(exc)}") from None
        with self._queueing:
            if operation.uses_models and operation is not LOAD and live.pair is None:
                self._load_first(live)
            job = live.submit(
                operation, arguments, order.actor, background=order.background, job_id=order.id
            )
        return self._job_data(live.session.id, job)

    @answer.register
    def _jobs(self, order: p.ListJobs, client: p.ClientData) -> p.JobsData:
        return p.JobsData(jobs=self._jobs_data(self._find(order.session).live))

    @answer.register
    def _move(self, order: p.Move, client: p.ClientData) -> p.YesNo:
        return p.YesNo(yes=self._find(order.session).live.move(order.job, order.step))

    @answer.register
    def _stop_job(self, order: p.StopJob, client: p.ClientData) -> p.Nothing:
        self._find(order.session).live.stop(order.job)
        return p.Nothing()

    @answer.register
    def _agent(self, order: p.AgentStatus, client: p.ClientData) -> p.AgentData:
        return self._agent_data(self._find(order.session).live.agent.status)

    @answer.register
    def _start_agent(self, order: p.StartAgent, client: p.ClientData) -> p.Nothing:
        live = self._find(order.session).live
        self._with_pair(live)
        live.start_agent(order.request)
        return p.Nothing()

    @answer.register
    def _resume_agent(self, order: p.ResumeAgent, client: p.ClientData) -> p.Nothing:
        live = self._find(order.session).live
        self._with_pair(live)
        live.resume_agent(order.run)
        return p.Nothing()

    @answer.register
    def _stop_agent(self, order: p.StopAgent, client: p.ClientData) -> p.Nothing:
        self._find(order.session).live.agent.stop()
        return p.Nothing()

    @answer.register
    def _supervise(self, order: p.Supervise, client: p.ClientData) -> p.Nothing:
        live = self._find(order.session).live
        # The agent may be one of a command, which records by itself.
        live.session.catch_up()
        person = live.agent.person
        match order.hand:
            case "pause":
                person.pause(order.detail)
            case "go_on":
                person.go_on()
            case "take_over":
                person.take_over()
            case "hand_back":
                person.hand_back(order.detail)
            case "policy":
                if order.detail not in get_args(Policy):
                    raise AgentError(f"there is no policy {order.detail!r}")
                person.set_policy(order.detail)  # type: ignore[arg-type]
            case "message":
                person.message(order.detail)
            case "approve":
                person.approve(order.call, order.detail)
            case "refuse":
                person.refuse(order.call, order.detail)
        return p.Nothing()

    @answer.register
    def _reveal(self, order: p.RevealNames, client: p.ClientData) -> p.Nothing:
        reveal_names(self._find(order.session).live.session, HUMAN)
        return p.Nothing()

    @answer.register
    def _rename(self, order: p.Rename, client: p.ClientData) -> p.Nothing:
        body = SessionRenamed(name=order.name)
        self._find(order.session).live.session.record(body, actor=HUMAN)
        return p.Nothing()

    @answer.register
    def _take_keys(self, order: p.TakeKeys, client: p.ClientData) -> p.YesNo:
        with self._lock:
            has_them = self._find(order.session).keys.take(client, by_force=order.by_force)
        self._tell_of_keys(order.session)
        return p.YesNo(yes=has_them)

    @answer.register
    def _ask_keys(self, order: p.AskKeys, client: p.ClientData) -> p.Nothing:
        self._find(order.session)
        self._tell_of_keys(order.session, asking=client)
        return p.Nothing()

    @answer.register
    def _give_keys(self, order: p.GiveKeys, client: p.ClientData) -> p.Nothing:
        with self._lock:
            self._find(order.session).keys.give(client, order.to)
        self._tell_of_keys(order.session)
        return p.Nothing()

    @answer.register
    def _shut_down(self, _order: p.ShutDown, client: p.ClientData) -> p.Nothing:
        self.end()
        return p.Nothing()

    def check(self, order: p.Order[Any], client: p.ClientData) -> None:
        """Raise `NotTheHolder` if a screen may not give this order now."""
        if order.needs_keys and isinstance(order, p.OnSession):
            with self._lock:
                self._find(order.session).keys.check(client)

    # --- parts ------------------------------------------------------------------------------------

    def _hold(self, live: LiveSession, owner: int | None = None) -> None:
        session_id = live.session.id
        live.session.loader = self.pair.load
        with self._lock:
            self._held[session_id] = _Held(live, owner)
        live.listen(
            lambda: None,
            lambda job: self._tell_of_job(session_id, job),
            lambda: self._tell_of_agent(session_id),
        )

    def _find(self, session_id: str) -> _Held:
        with self._lock:
            held = self._held.get(session_id)
        if held is None:
            raise EngineRefusal(
                f"session {session_id!r} is not open in this engine", "Open it here first."
            )
        return held

    def _join(self, session_id: str, client: p.ClientData, *, keys: bool) -> p.OpenedData:
        held = self._find(session_id)
        # A client may have recorded something itself, such as that it is blind.
        held.live.session.catch_up()
        with self._lock:
            held.keys.join(client, keys=keys)
            if client.role == "screen" and held.owner != client.number:
                # Somebody looks at it now, so it is theirs to close.
                held.owner, held.is_left = None, False
        self._tell_of_keys(session_id)
        live = held.live
        return p.OpenedData(
            session=session_id,
            version=live.session.version,
            has_pair=live.pair is not None,
            jobs=self._jobs_data(live),
            agent=self._agent_data(live.agent.status),
            holder=held.keys.holder,
            screens=held.keys.screens,
        )

    def _leave(self, session_id: str, number: int) -> None:
        with self._lock:
            held = self._held.get(session_id)
            was_there = held is not None and held.keys.leave(number)
        if was_there:
            self._tell_of_keys(session_id)

    def _close_left(self, session_id: str) -> None:
        """Close a session whose client went away, unless a job of it still runs."""
        with self._lock:
            held = self._held.get(session_id)
            if held is None or not held.is_left or held.live.jobs():
                return
        reason = "whoever began it went away"
        # On a thread of its own: this one may be that of the jobs, which the closing waits for.
        threading.Thread(
            target=self._close, args=(session_id, None, "stopped", reason), name="closing"
        ).start()

    def _close(
        self,
        session_id: str,
        view: dict[str, Any] | None,
        outcome: Any,
        reason: str,
        *,
        recorded: bool = False,
    ) -> None:
        with self._lock:
            held = self._held.get(session_id)
            if held is None or held.is_closing:
                return
            held.is_closing = True
        held.live.close(view, outcome, reason, recorded=recorded)
        with self._lock:
            del self._held[session_id]
        for number in list(held.keys.clients):
            self.tell(number, p.ClosingNotice(session=session_id, reason=reason))

    def _load_first(self, live: LiveSession) -> None:
        """Queue the loading of the pair, unless that is queued."""
        if not any(job.operation is LOAD for job in live.jobs()):
            asked = loaded_pair(live.state.operations) or self.pair.arguments
            live.submit(LOAD, asked, SYSTEM)

    def _with_pair(self, live: LiveSession) -> None:
        with self._queueing:
            if live.pair is None:
                self._load_first(live)

    def _idle_seconds(self) -> float | None:
        with self._lock:
            lives = [held.live for held in self._held.values()]
        if any(live.jobs() or live.agent.status.is_busy for live in lives):
            self._busy_at = time.monotonic()
            return None
        return time.monotonic() - self._busy_at

    # --- what is told -----------------------------------------------------------------------------

    def _blinding(self) -> Blinding:
        """The names hidden from all clients: those that any session here hides from people."""
        with self._lock:
            states = [held.live.state for held in self._held.values()]
        aliases: dict[str, str] = {}
        for state in states:
            aliases |= blinding_for_people(state).aliases
        if aliases != self._blindfold.aliases:
            self._blindfold = Blinding(aliases)
        return self._blindfold

    def _pair_name(self) -> str:
        """The pair as it is called to clients."""
        if self._is_demo and self._blinding():
            return subject_of(self.pair.arguments)
        return str(self._hide(_named(self.pair.arguments)))

    def _hide(self, data: Any, *, words: bool = True) -> Any:
        return self._blinding().hide_all(data, words=words)

    def error(self, exc: BaseException, *, words: bool = False) -> p.ErrorData:
        """Return an error as a client may see it; ``words`` where names stand by themselves."""
        data = p.error_data(exc)
        hidden = {
            name: self._hide(getattr(data, name), words=words) for name in ("message", "hint")
        }
        return data.model_copy(update=hidden)

    def _job_data(self, session_id: str, job: Job) -> p.JobData:
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
            stage=self._hide(job.stage, words=words),
            done=job.done,
            total=job.total,
            seconds=job.seconds,
            summary=_short(self._hide(job.summary, words=words)),
            error=None if job.error is None else self.error(job.error, words=words),
        )

    def _jobs_data(self, live: LiveSession) -> tuple[p.JobData, ...]:
        return tuple(self._job_data(live.session.id, job) for job in live.jobs())

    def _agent_data(self, status: WorkStatus) -> p.AgentData:
        problem = None if status.problem is None else self.error(status.problem, words=True)
        return p.AgentData(phase=status.phase, doing=self._hide(status.doing), problem=problem)

    def _sessions_data(self) -> tuple[p.SessionData, ...]:
        with self._lock:
            held = list(self._held.items())
        found = []
        for session_id, one in held:
            state = one.live.state
            found.append(
                p.SessionData(
                    id=session_id,
                    name=self._hide(state.name),
                    has_pair=one.live.pair is not None,
                    busy=len(one.live.jobs()),
                    agent=self._agent_data(one.live.agent.status),
                    screens=len(one.keys.screens),
                    blind=bool(blinding_for_people(state)),
                )
            )
        return tuple(found)

    def _tell_all(self, session_id: str, notice: p.Notice) -> None:
        with self._lock:
            held = self._held.get(session_id)
            numbers = [] if held is None else list(held.keys.clients)
        for number in numbers:
            self.tell(number, notice)

    def _tell_of_event(self, event: Event) -> None:
        self._tell_all(event.session_id, p.EventNotice(session=event.session_id, seq=event.seq))

    def _tell_of_job(self, session_id: str, job: Job) -> None:
        self._busy_at = time.monotonic()
        notice = p.JobNotice(session=session_id, job=self._job_data(session_id, job))
        self._tell_all(session_id, notice)
        if job.is_over:
            self._close_left(session_id)

    def _tell_of_agent(self, session_id: str) -> None:
        self._busy_at = time.monotonic()
        with suppress(EngineRefusal):
            status = self._find(session_id).live.agent.status
            self._tell_all(
                session_id, p.AgentNotice(session=session_id, agent=self._agent_data(status))
            )

    def _tell_of_keys(self, session_id: str, asking: p.ClientData | None = None) -> None:
        with self._lock:
            held = self._held.get(session_id)
            if held is None:
                return
            notice = p.HolderNotice(
                session=session_id,
                holder=held.keys.holder,
                screens=held.keys.screens,
                asking=asking,
            )
        self._tell_all(session_id, notice)


def _named(pair: PairArguments) -> str:
    names = ((name, getattr(pair, name)) for name in _NAMES)
    return ", ".join(f"{name} {value}" for name, value in names if value)


def _short(data: dict[str, Any]) -> dict[str, Any]:
    """The data, or nothing if it is long: a job's message must fit into a line."""
    return data if len(json.dumps(data)) <= LONGEST_DETAIL else {}
