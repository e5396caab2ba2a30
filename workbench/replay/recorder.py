"""A recorded session once more from its cassette: the same calls, people's and agents', in a new session.

    operation outside of an agent's audit   asked for again, by whoever asked for it
    an agent's audit                        run again by the loop, on recorded replies
    what stands in no operation             recorded again as it was

The new session points to its parent, needs no model and no endpoint, and shows what this program
makes of the same answers. It ends where the cassette is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, never_stop
from adl.errors import Stopped
from workbench.agent import older_rules, prompts
from workbench.agent.budgets import Budgets
from workbench.agent.loop import AuditPlan, Surroundings, start_audit
from workbench.agent.toolbox import tools_of
from workbench.blinding.aliases import blinding_from
from workbench.operations import OPERATIONS
from workbench.operations.running import Session
from workbench.replay.cassette import (
    OTHER_ARGUMENTS,
    Cassette,
    Left,
    OffCassette,
    arguments_of,
    as_today,
    with_places,
)
from workbench.replay.errors import ReplayError
from workbench.replay.new_session import recorded_end, start_replay
from workbench.replay.scripted_agent import (
    Interlude,
    RecordedEndpoint,
    RecordedSupervisor,
    is_made_up,
    recorded_replies,
    told_otherwise,
)
from workbench.store.agent_events import (
    AgentControlled,
    AgentEnded,
    AgentMessaged,
    AgentMode,
    AgentReplied,
    AgentStarted,
    AgentTold,
    ApprovalGiven,
)
from workbench.store.arrays import array_refs
from workbench.store.errors import StoreError
from workbench.store.events import (
    Actor,
    Event,
    OperationStarted,
    SessionClosed,
    SessionContinued,
    SessionStarted,
)
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState
from workbench.store.state import SessionState, fold

RECORDER = Actor(kind="system", name="tape")

Audit = Callable[[Session, RecordedEndpoint, AuditPlan, Surroundings], AgentState]
"""Runs an agent's audit from its start; by default the program's own loop."""


@dataclass(frozen=True)
class CassetteReport:
    """The result of a replay by cassette; ``session`` is the new one.

    ``differs`` names what the session came to hold otherwise than its parent, such as
    ``hypotheses``; ``told_otherwise`` says per agent from which message on it was told other words.
    """

    parent: str
    parent_seq: int
    session: str
    answered: int
    left: Left | None
    differs: tuple[str, ...]
    told_otherwise: tuple[tuple[str, int], ...]

    @property
    def is_same(self) -> bool:
        """True if everything was replayed with the recorded results."""
        return self.left is None and not self.differs

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"same": self.is_same}


def replay_cassette(
    log: SessionLog,
    session_id: str,
    *,
    audit: Audit | None = None,
    should_stop: ShouldStop = never_stop,
) -> CassetteReport:
    """Replay a session by its cassette. Raises `ReplayError` if two agents were at work at once."""
    parent = fold(log.events(log.find_session(session_id).id))
    cassette = Cassette.of(log, parent.session_id)
    new = start_replay(log, parent, "from its cassette", RECORDER)
    # No operation of a cassette measures anything, so nothing is ever put into the cache.
    session = Session(log, new, ArrayCache(Path()))
    replaying = _Replaying(log, parent, session, cassette, audit or _loop, should_stop)
    with suppress(OffCassette), recorded_end(session, RECORDER):
        replaying.go()
    pairs = zip(parent.agents.values(), session.state.agents.values(), strict=False)
    told = [(then.id, told_otherwise(then, now)) for then, now in pairs]
    return CassetteReport(
        parent=parent.session_id,
        parent_seq=parent.seq,
        session=new,
        answered=cassette.answered,
        left=cassette.left,
        differs=tuple(_differs(parent, session.state, cassette)),
        told_otherwise=tuple((run_id, place) for run_id, place in told if place is not None),
    )


def _loop(
    session: Session, endpoint: RecordedEndpoint, plan: AuditPlan, surroundings: Surroundings
) -> AgentState:
    sealed = session.state.seal.body.aliases if session.state.seal else None
    return start_audit(session, endpoint, plan, blinding_from(sealed), surroundings)


@dataclass
class _Replaying:
    log: SessionLog
    parent: SessionState
    session: Session
    cassette: Cassette
    audit: Audit
    should_stop: ShouldStop

    def go(self) -> None:
        """Every event of the parent in its order, the audits of agents as a whole."""
        events = list(self.log.events(self.parent.session_id))
        ends = self._ends(events)
        skip_to = 0
        for event in events:
            if event.seq <= skip_to:
                continue
            if isinstance(event.body, AgentStarted):
                skip_to = ends[event.body.run_id]
                self._agent(
                    event.body, [item for item in events if event.seq < item.seq <= skip_to]
                )
            else:
                self._again(event)

    def _ends(self, events: list[Event]) -> dict[str, int]:
        """The last event of each agent's audit. Raises `ReplayError` if two overlap."""
        ends: dict[str, int] = {}
        for event in events:
            run_id = vars(event.body).get("run_id")
            if isinstance(run_id, str) and run_id in self.parent.agents:
                ends[run_id] = event.seq
        under_way = ""
        for event in events:
            if isinstance(event.body, AgentStarted):
                if under_way and event.seq < ends[under_way]:
                    raise ReplayError(
                        f"session {self.parent.session_id} has two agents at work at once "
                        f"({under_way} and {event.body.run_id})",
                        "Replay it by eye, or branch from before the second.",
                    )
                under_way = event.body.run_id
        return ends

    def _again(self, event: Event) -> None:
        """One event outside of the agents' own."""
        match event.body:
            case SessionStarted() | SessionContinued() | SessionClosed():
                pass
            case OperationStarted():
                self._operation(event, event.body)
            case _ if event.operation_id is None:
                # Arrays are in the file under their hash.
                assert not list(array_refs(event.body)) or self.session.log is self.log
                self.cassette.given(event, self.session.record(event.body, actor=event.actor))

    def _operation(self, event: Event, body: OperationStarted) -> None:
        known = OPERATIONS.get(body.operation)
        if known is None:
            raise self.cassette.leave(
                f"operation {body.operation}", "this program has no such operation"
            )
        if self.should_stop():
            raise Stopped("stopped on request")
        arguments = arguments_of(known, body.arguments)
        if arguments is None:
            raise self.cassette.leave(f"operation {body.operation}", OTHER_ARGUMENTS)
        placed = self.cassette.moved(arguments)
        try:
            self.cassette.run(self.session, known, placed, event.actor, self.should_stop)
        except OffCassette:
            raise
        except Stopped:
            if self.should_stop():
                raise
        except StoreError:
            raise  # what the log did not take is not in it
        except Exception:  # noqa: BLE001 -- whatever it is, it is in the log
            pass

    def _agent(self, start: AgentStarted, events: list[Event]) -> None:
        supervisor = RecordedSupervisor(
            self.cassette,
            self.session,
            list(self._interludes(start.run_id, events)),
            [
                event
                for event in events
                if isinstance(event.body, ApprovalGiven) and event.body.run_id == start.run_id
            ],
        )
        replies = recorded_replies(self.log, self.parent.session_id, start.run_id)
        plan = AuditPlan(
            model=start.model,
            mode=start.mode,
            budgets=Budgets.of(start.budgets),
            approval=start.approval,
            temperature=start.settings.get("temperature"),
            seed=start.settings.get("seed"),
            rules=start.settings.get("prompts", prompts.VERSION),
        )
        runner = self.cassette.runner(self.session, by_record=plan.rules in older_rules.VERSIONS)
        surroundings = Surroundings(runner, supervisor, self._is_over)
        endpoint = RecordedEndpoint(self.cassette, start, replies)
        self.audit(self.session, endpoint, plan, surroundings)
        supervisor.finish()

    def _is_over(self) -> bool:
        # An agent goes on after an operation that was stopped, unless it is to stop itself.
        return self.cassette.left is not None or self.should_stop()

    def _interludes(self, run_id: str, events: list[Event]) -> Iterator[Interlude]:
        """Actions of others meanwhile: messages, taking over, operations of their own."""
        messages = 0
        agent = self.parent.agents[run_id]
        for event in events:
            body = event.body
            if isinstance(body, (AgentTold, AgentReplied)) and body.run_id == run_id:
                messages += not is_made_up(body)
            elif isinstance(body, (AgentMessaged, AgentControlled)) and body.run_id == run_id:
                yield Interlude(messages, self._repeating(event))
            elif vars(body).get("run_id") == run_id:
                continue  # the loop's own
            elif isinstance(body, AgentEnded) or self._is_agents(event, agent):
                continue
            else:
                yield Interlude(messages, lambda event=event: self._again(event))  # type: ignore[misc]

    def _is_agents(self, event: Event, agent: AgentState) -> bool:
        operation = self.parent.operations.get(event.operation_id or "")
        return operation is not None and operation.actor == Actor(kind="agent", name=agent.model)

    def _repeating(self, event: Event) -> Callable[[], None]:
        """Record a person's word to the agent again, to the run that it is now."""

        def repeat() -> None:
            *_, run_id = self.session.state.agents
            body = event.body.model_copy(update={"run_id": run_id})
            self.cassette.given(event, self.session.record(body, actor=event.actor))

        return repeat


# --- what came of it ------------------------------------------------------------------------


def _differs(then: SessionState, now: SessionState, cassette: Cassette) -> Iterator[str]:
    first, second = _content(then, cassette.places), _content(now, {})
    for name, content in first.items():
        if content != second[name]:
            yield name


def _content(state: SessionState, places: dict[int, int]) -> dict[str, Any]:
    """The content of a session without times, ids of runs, and numbers of events that moved."""

    def moved(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return with_places(as_today(name, arguments), places)

    return {
        "pair": state.pair,
        "operations": [
            (
                operation.name,
                moved(operation.name, operation.arguments),
                operation.actor,
                operation.status,
                operation.summary,
                operation.message,
            )
            for operation in state.operations.values()
        ],
        "differences": {key: measured.body for key, measured in state.differences.items()},
        "readings": {key: reading.body for key, reading in state.readings.items()},
        "texts": {
            key: (text.start.body, text.status, text.text) for key, text in state.texts.items()
        },
        "measures": [(measure.body.kind, measure.body.compared()) for measure in state.measures],
        "comparisons": [comparison.body for comparison in state.comparisons],
        "notes": [(note.actor, note.body) for note in state.notes],
        "hypotheses": [
            (
                hypothesis.id,
                hypothesis.text,
                hypothesis.confidence,
                hypothesis.verdict,
                dict(hypothesis.evidence),
                hypothesis.actor,
            )
            for hypothesis in state.hypotheses.values()
        ],
        "ranking": state.ranking,
        "evidence": [
            mark.body.model_copy(update={"of_seq": places.get(mark.body.of_seq, mark.body.of_seq)})
            for mark in state.evidence.values()
        ],
        "agents": [_agent_content(agent) for agent in state.agents.values()],
        "grades": [grade.body for grade in state.grades],
    }


def _models_of(name: str) -> list[type[BaseModel]]:
    """The arguments of the tools of that name, of agents of every mode."""
    tools = chain.from_iterable(map(tools_of, get_args(AgentMode)))
    return [tool.arguments for tool in tools if tool.name == name]


def _agent_content(agent: AgentState) -> tuple[Any, ...]:
    calls = {
        call.body.call_id: (
            call.body.tool,
            as_today(call.body.tool, call.body.arguments, *_models_of(call.body.tool)),
        )
        for call in agent.calls
    }
    report = None
    if agent.report is not None:
        report = agent.report.body.model_dump(exclude={"run_id"})
    return (
        agent.model,
        agent.status,
        agent.replies,
        agent.interactions,
        list(calls.values()),
        report,
    )
