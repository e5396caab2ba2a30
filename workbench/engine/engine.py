"""An engine: a pair that stays loaded, the sessions at work on it, and what clients may order.

    answer(order, client)   does what a client asks for; for any thread, and may take its time
    listen(tell)            calls back with news for a client

It knows nothing of sockets. Sessions are `LiveSession`s, as a screen has one without an engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import singledispatchmethod
from typing import Any, get_args

from pydantic import ValidationError

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.pair.protocol import resolve_layers
from workbench.agent.errors import AgentError
from workbench.blinding.seal import reveal_names
from workbench.engine import protocol as p
from workbench.engine.agent_request import look_up_endpoint
from workbench.engine.held import EngineRefusal, HeldSessions, Tell
from workbench.engine.live_session import LiveSession
from workbench.engine.presenter import Presenter
from workbench.engine.shared_pair import SharedPair
from workbench.locations import Locations
from workbench.operations import OPERATIONS
from workbench.operations.jobs import Job, Turns
from workbench.operations.pair import LOAD, PairArguments, loaded_pair
from workbench.store.agent_events import Policy
from workbench.store.events import HUMAN, SYSTEM, Ending, Event, SessionRenamed
from workbench.store.log import SessionLog
from workbench.store.state import fold


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
        idle_limit: float | None = None,
        is_demo: bool = False,
    ) -> None:
        self.log = log
        self.pair = SharedPair(pair)
        self._is_demo = is_demo
        self.end: Callable[[], object] = lambda: None
        "Called when a client asks the engine to end."
        self._locations = locations
        self.idle_limit = idle_limit
        self._turns = Turns()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._closing = threading.Event()
        # Held while jobs are queued and while the pair is freed: never one amid the other.
        self._queueing = threading.Lock()
        self._held = HeldSessions()
        self._clients: dict[int, p.ClientData] = {}
        self._shown = Presenter(self._held, is_demo=is_demo)
        self._began = self._busy_at = time.monotonic()
        self._beginning = 0
        "Sessions that are being begun: their pair is loaded without a job."
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
        with self._being_busy():
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
            # Looked at before anything is recorded in it.
            own = loaded_pair(fold(self.log.events(session_id)).operations)
            if own is not None and not self.pair.is_of(own):
                raise EngineRefusal(
                    f"session {session_id} has another pair than this engine",
                    "Go on with it without an engine, or start one for it: "
                    f"adl-workbench serve --session {session_id}",
                )
            live = LiveSession.resume(self.log, session_id, self._locations, turns=self._turns)
            self._hold(live, owner)
        if own is not None:
            self._load_first(live)
        return live

    def close(self, reason: str) -> None:
        """Stop and close all sessions, and free the pair."""
        self._closing.set()
        # Each of it is done, whatever the others raise; last is what was put in first.
        with ExitStack() as ending:
            ending.callback(self.pair.free)
            ending.callback(self._unsubscribe)
            for held in reversed(self._held.all()):
                ending.callback(self._close, held.live.session.id, None, "stopped", reason)

    # --- clients ----------------------------------------------------------------------------------

    def listen(self, tell: Tell) -> None:
        """Call ``tell`` with news for a client, on the thread that brought it about."""
        self._held.tell = tell

    def come(self, client: p.ClientData) -> None:
        """Take in a client."""
        with self._lock:
            self._clients[client.number] = client

    def gone(self, number: int) -> None:
        """Let go of a client whose connection ended: its jobs go on, its keys are free."""
        with self._lock:
            self._clients.pop(number, None)
        for held in self._held.all():
            session_id = held.live.session.id
            self._held.leave(session_id, number)
            if held.owner == number:
                held.is_left = True
                self._close_left(session_id)

    def free_if_idle(self) -> bool:
        """Free the pair if nothing was asked of it for the time it has; True if that was done."""
        if self.idle_limit is None or self.pair.pair is None:
            return False
        with self._queueing:
            idle = self._idle_seconds()
            if idle is None or idle < self.idle_limit:
                return False
            for held in self._held.all():
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
            pair=self._shown.pair(self.pair.arguments),
            is_loaded=pair is not None,
            memory={} if pair is None else pair.memory(),
            up_seconds=time.monotonic() - self._began,
            idle_seconds=self._idle_seconds(),
            idle_limit=self.idle_limit,
            clients=clients,
            sessions=self._shown.sessions(),
        )

    @answer.register
    def _sessions(self, _order: p.Sessions, client: p.ClientData) -> p.SessionsData:
        return p.SessionsData(sessions=self._shown.sessions())

    @answer.register
    def _endpoint(self, _order: p.Endpoint, client: p.ClientData) -> p.EndpointData:
        facts = look_up_endpoint()
        return p.EndpointData(
            **{name: getattr(facts, name) for name in p.EndpointData.model_fields}
        )

    @answer.register
    def _has_pair(self, order: p.HasPair, client: p.ClientData) -> p.YesNo:
        # A blind engine confirms no guess of its names.
        tells = self._is_demo or not self._shown.blinding()
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
        self._held.find(order.session)
        self._held.leave(order.session, client.number)
        return p.Nothing()

    @answer.register
    def _close_order(self, order: p.Close, client: p.ClientData) -> p.YesNo:
        held = self._held.find(order.session)
        if client.role == "command" and held.owner != client.number:
            self._held.leave(order.session, client.number)
            return p.YesNo(yes=False)
        view = order.view or None
        self._close(order.session, view, order.outcome, order.reason, recorded=order.recorded)
        return p.YesNo(yes=True)

    @answer.register
    def _submit(self, order: p.Submit, client: p.ClientData) -> p.JobData:
        live = self._held.find(order.session).live
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
        return self._shown.job(live.session.id, job)

    @answer.register
    def _jobs(self, order: p.ListJobs, client: p.ClientData) -> p.JobsData:
        return p.JobsData(jobs=self._shown.jobs(self._held.find(order.session).live))

    @answer.register
    def _move(self, order: p.Move, client: p.ClientData) -> p.YesNo:
        return p.YesNo(yes=self._held.find(order.session).live.move(order.job, order.step))

    @answer.register
    def _stop_job(self, order: p.StopJob, client: p.ClientData) -> p.Nothing:
        self._held.find(order.session).live.stop(order.job)
        return p.Nothing()

    @answer.register
    def _agent(self, order: p.GetAgent, client: p.ClientData) -> p.AgentData:
        return self._shown.agent(self._held.find(order.session).live.agent.status)

    @answer.register
    def _start_agent(self, order: p.StartAgent, client: p.ClientData) -> p.Nothing:
        live = self._held.find(order.session).live
        self._with_pair(live)
        live.start_agent(order.request)
        return p.Nothing()

    @answer.register
    def _resume_agent(self, order: p.ResumeAgent, client: p.ClientData) -> p.Nothing:
        live = self._held.find(order.session).live
        self._with_pair(live)
        live.resume_agent(order.run)
        return p.Nothing()

    @answer.register
    def _stop_agent(self, order: p.StopAgent, client: p.ClientData) -> p.Nothing:
        self._held.find(order.session).live.agent.stop()
        return p.Nothing()

    @answer.register
    def _supervise(self, order: p.Supervise, client: p.ClientData) -> p.Nothing:
        live = self._held.find(order.session).live
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
        reveal_names(self._held.find(order.session).live.session, HUMAN)
        return p.Nothing()

    @answer.register
    def _rename(self, order: p.Rename, client: p.ClientData) -> p.Nothing:
        body = SessionRenamed(name=order.name)
        self._held.find(order.session).live.session.record(body, actor=HUMAN)
        return p.Nothing()

    @answer.register
    def _take_keys(self, order: p.TakeKeys, client: p.ClientData) -> p.YesNo:
        has_them = self._held.take_keys(order.session, client, by_force=order.by_force)
        return p.YesNo(yes=has_them)

    @answer.register
    def _ask_keys(self, order: p.AskKeys, client: p.ClientData) -> p.Nothing:
        self._held.ask_keys(order.session, client)
        return p.Nothing()

    @answer.register
    def _give_keys(self, order: p.GiveKeys, client: p.ClientData) -> p.Nothing:
        self._held.give_keys(order.session, client, order.to)
        return p.Nothing()

    @answer.register
    def _shut_down(self, _order: p.ShutDown, client: p.ClientData) -> p.Nothing:
        self.end()
        return p.Nothing()

    def check(self, order: p.Order[Any], client: p.ClientData) -> None:
        """Raise `NotTheHolder` if a screen may not give this order now."""
        if order.needs_keys and isinstance(order, p.OnSession):
            self._held.check_keys(order.session, client)

    # --- parts ------------------------------------------------------------------------------------

    def _hold(self, live: LiveSession, owner: int | None = None) -> None:
        session_id = live.session.id
        live.session.loader = self.pair.load
        self._held.add(live, owner)
        live.listen(
            lambda: None,
            lambda job: self._tell_of_job(session_id, job),
            lambda: self._tell_of_agent(session_id),
        )

    def _join(self, session_id: str, client: p.ClientData, *, keys: bool) -> p.OpenedData:
        held = self._held.find(session_id)
        # A client may have recorded something itself, such as that it is blind.
        held.live.session.catch_up()
        self._held.join(held, client, keys=keys)
        live = held.live
        return p.OpenedData(
            session=session_id,
            version=live.session.version,
            has_pair=live.pair is not None,
            jobs=self._shown.jobs(live),
            agent=self._shown.agent(live.agent.status),
            holder=held.keys.holder,
            screens=held.keys.screens,
        )

    def _close_left(self, session_id: str) -> None:
        """Close a session whose client went away, unless a job of it still runs."""
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
        outcome: Ending,
        reason: str,
        *,
        recorded: bool = False,
    ) -> None:
        held = self._held.begin_closing(session_id)
        if held is None:
            return
        try:
            held.live.close(view, outcome, reason, recorded=recorded)
        finally:
            self._held.remove(session_id)
            for number in list(held.keys.clients):
                self._held.tell(number, p.ClosingNotice(session=session_id, reason=reason))

    def _load_first(self, live: LiveSession) -> None:
        """Queue the loading of the pair, unless that is queued."""
        if not any(job.operation is LOAD for job in live.jobs()):
            asked = loaded_pair(live.state.operations) or self.pair.arguments
            live.submit(LOAD, asked, SYSTEM)

    def _with_pair(self, live: LiveSession) -> None:
        with self._queueing:
            if live.pair is None:
                self._load_first(live)

    @contextmanager
    def _being_busy(self) -> Iterator[None]:
        with self._lock:
            self._beginning += 1
        try:
            yield
        finally:
            with self._lock:
                self._beginning -= 1
                self._busy_at = time.monotonic()

    def _idle_seconds(self) -> float | None:
        lives = [held.live for held in self._held.all()]
        if self._beginning or any(live.jobs() or live.agent.status.is_busy for live in lives):
            self._busy_at = time.monotonic()
            return None
        return time.monotonic() - self._busy_at

    # --- what is told -----------------------------------------------------------------------------

    def error(self, exc: BaseException) -> p.ErrorData:
        """Return an error as a client may see it."""
        return self._shown.error(exc)

    def _tell_of_event(self, event: Event) -> None:
        self._held.tell_all(
            event.session_id, p.EventNotice(session=event.session_id, seq=event.seq)
        )

    def _tell_of_job(self, session_id: str, job: Job) -> None:
        self._busy_at = time.monotonic()
        notice = p.JobNotice(session=session_id, job=self._shown.job(session_id, job))
        self._held.tell_all(session_id, notice)
        if job.is_over:
            self._close_left(session_id)

    def _tell_of_agent(self, session_id: str) -> None:
        self._busy_at = time.monotonic()
        with suppress(EngineRefusal):
            status = self._held.find(session_id).live.agent.status
            self._held.tell_all(
                session_id, p.AgentNotice(session=session_id, agent=self._shown.agent(status))
            )
