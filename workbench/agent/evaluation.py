"""Many audits: every agent on every organism with every budget, several times, each graded.

    a session of the evaluation   the plan, and how far each cell has come
    a session per organism        the evidence, computed once
    a session per cell            evidence (for agents that may see it), a blind audit, its grades

A cell that is done is never done again, and one that was cut off goes on where its log ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, never_stop
from adl.organisms.null_pairs import NULL_KINDS, make_null_pair
from adl.organisms.registry import (
    BUNDLED_ORGANISMS,
    EMBEDDED_BASE,
    Family,
    list_organisms,
)
from adl.pair.protocol import ModelPair
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import EvaluationError
from workbench.agent.grading import grade_guesses, grade_report
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.agent.shown_evidence import compute, missing_evidence
from workbench.blinding.seal import seal
from workbench.locations import find_locations
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.running import Session, run
from workbench.organisms import named_organism
from workbench.store.agent_events import AgentMode, EvaluationCell, EvaluationStarted
from workbench.store.body import KINDS
from workbench.store.events import HUMAN, EventBody, PairLoaded, SessionClosed
from workbench.store.findings import Measure
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

#: What a baseline without evidence gets in place of it, as in the paper: questions.
BLACK_BOX_FACTOR = 10
FINDINGS = (
    *("difference_measured", "reading_taken", "text_started", "text_finished"),
    *(kind for kind, body in KINDS.items() if issubclass(body, Measure)),
)

LoadPair = Callable[[Session, str], ModelPair]
"""Loads an organism's pair into a session, recording it."""


@dataclass(frozen=True)
class Cell:
    """One audit of an evaluation."""

    mode: AgentMode
    organism: str
    interactions: int
    repeat: int

    @property
    def key(self) -> str:
        """The cell's name in the log."""
        return f"{self.mode} {self.organism} {self.interactions} {self.repeat}"


@dataclass(frozen=True)
class EvaluationPlan:
    """The audits to run. ``budgets`` are model interactions of an agent with evidence.

    A black box gets ten times as many, and none where that is none: without evidence and without
    questions there is nothing to go by. ``nulls`` are organisms without anything to find: an audit
    that finds something there is a false positive.
    """

    agents: tuple[AgentMode, ...]
    organisms: tuple[str, ...]
    budgets: tuple[int, ...]
    repeats: int
    model: str
    judge_model: str
    grades: int = 3
    calls: int | None = 40
    tokens: int | None = 400_000
    seconds: float | None = 3_600.0
    n_texts: int = 1_000
    n_prompts: int | None = None
    max_new_tokens: int = 40
    nulls: tuple[str, ...] = ()

    def cells(self) -> Iterator[Cell]:
        """Every audit, organism by organism: a pair is loaded once."""
        for organism in dict.fromkeys((*self.organisms, *self.nulls)):
            for mode in self.agents:
                for budget in self.budgets:
                    questions = budget if mode == "adl" else budget * BLACK_BOX_FACTOR
                    if mode != "adl" and not questions:
                        continue
                    for repeat in range(self.repeats):
                        yield Cell(mode, organism, questions, repeat)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the log."""
        return asdict(self)

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> EvaluationPlan:
        """The plan as an evaluation's start records it."""
        names = ("agents", "organisms", "budgets", "nulls")
        lists = {name: tuple(recorded.get(name, ())) for name in names}
        return cls(**{**recorded, **lists})


def make_nulls(organism_id: str) -> tuple[str, ...]:
    """The null pairs of an organism's kind, made on the user's shelf, and the bundled control.

    Raises ``OrganismError``.
    """
    like = named_organism(organism_id)
    bundled = like.folder.parent == BUNDLED_ORGANISMS
    base = EMBEDDED_BASE if bundled else like.base
    shelf = find_locations().organisms
    made = [make_null_pair(kind, like, shelf, base).id for kind in NULL_KINDS]
    return (*made, *(found.id for found in list_organisms() if found.family is Family.CONTROL))


def load_organism(session: Session, organism: str) -> ModelPair:
    """Load a bundled organism's pair as for a person."""
    run(session, LOAD, PairArguments(organism=organism), actor=HUMAN)
    return session.require_pair()


class Evaluation:
    """An evaluation in a log, new or gone on with."""

    def __init__(
        self,
        log: SessionLog,
        session_id: str,
        cache: ArrayCache,
        load_pair: LoadPair = load_organism,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Raises ``EvaluationError`` for a session that is none."""
        self.session = Session(log, session_id, cache)
        started = self.session.state.evaluation
        if started is None:
            raise EvaluationError(
                f"session {session_id} is no evaluation", "`adl-workbench evaluate` starts one."
            )
        self.plan = EvaluationPlan.of(started.body.plan)
        self._log = log
        self._cache = cache
        self._load_pair = load_pair
        self._say = say
        self._pairs: dict[str, ModelPair] = {}

    @classmethod
    def start(
        cls,
        log: SessionLog,
        plan: EvaluationPlan,
        cache: ArrayCache,
        load_pair: LoadPair = load_organism,
        say: Callable[[str], None] = lambda _line: None,
    ) -> Evaluation:
        """Record a plan. Raises ``OrganismError``, ``EvaluationError`` for one without a cell."""
        for organism in (*plan.organisms, *plan.nulls):
            named_organism(organism)
        if not list(plan.cells()):
            raise EvaluationError(
                "there is no audit in this evaluation",
                "Name agents, organisms and budgets; a black box needs a budget above 0.",
            )
        started = Entry(EvaluationStarted(plan=plan.as_dict()), HUMAN)
        session_id = log.start_session("evaluation", actor=HUMAN, then=[started])
        return cls(log, session_id, cache, load_pair, say)

    def go(self, endpoint: Endpoint, judge: Endpoint, should_stop: ShouldStop = never_stop) -> None:
        """Do every cell that is not done.

        Raises ``EndpointError`` and ``Stopped``; then what is done stays done.
        """
        cells = list(self.plan.cells())
        for number, cell in enumerate(cells, start=1):
            known = self.session.state.cells.get(cell.key)
            if known is not None and known.body.status == "done":
                continue
            self._say(f"{number} of {len(cells)}: {cell.key}")
            self._do(cell, known.body.session if known else None, endpoint, judge, should_stop)

    def _do(
        self,
        cell: Cell,
        session_id: str | None,
        endpoint: Endpoint,
        judge: Endpoint,
        should_stop: ShouldStop,
    ) -> None:
        session = self._open(cell, session_id, should_stop)
        agents = session.state.agents
        surroundings = Surroundings(should_stop=should_stop)
        if not agents:
            blinding = seal(session, blind=True, organism=cell.organism)
            plan = AuditPlan(
                model=self.plan.model,
                mode=cell.mode,
                budgets=Budgets(
                    cell.interactions, self.plan.calls, self.plan.tokens, self.plan.seconds
                ),
                seed=cell.repeat,
                context=endpoint.settings.context,
            )
            start_audit(session, endpoint, plan, blinding, surroundings)
        else:
            resume_audit(session, endpoint, surroundings=surroundings)
        grade_report(
            session,
            judge,
            self.plan.judge_model,
            repeats=self.plan.grades,
            organism=cell.organism,
            should_stop=should_stop,
        )
        if cell.organism not in self.plan.nulls:
            grade_guesses(
                session,
                judge,
                self.plan.judge_model,
                repeats=self.plan.grades,
                organism=cell.organism,
                should_stop=should_stop,
            )
        session.record(SessionClosed(outcome="completed"))
        self._mark(cell.key, session.id, "done")

    def _open(self, cell: Cell, session_id: str | None, should_stop: ShouldStop) -> Session:
        """The cell's session with its pair: the one that was begun, or a new one."""
        evidence = self._evidence(cell.organism, should_stop)
        pair = self._pairs[cell.organism]
        if session_id is None:
            bodies: list[EventBody] = [PairLoaded(pair=pair.provenance.as_dict())]
            if cell.mode == "adl":
                found = self._log.events(evidence.id, kinds=FINDINGS)
                bodies += [event.body for event in found]
            # The evidence before the cell: one that has begun has all of it.
            session_id = self._log.start_session(
                cell.key,
                parent=(evidence.id, evidence.state.seq),
                then=[Entry(body) for body in bodies],
            )
            self._mark(cell.key, session_id, "started")
        return Session(self._log, session_id, self._cache, pair)

    def _evidence(self, organism: str, should_stop: ShouldStop) -> Session:
        """The session with an organism's evidence, computed if it is not there, and its pair."""
        key = f"evidence {organism}"
        known = self.session.state.cells.get(key)
        if known is not None and known.body.status == "done":
            session = Session(self._log, known.body.session, self._cache)
            self._load(session, organism)
            return session
        session = Session(
            self._log, self._log.start_session(f"evidence of {organism}"), self._cache
        )
        self._mark(key, session.id, "started")
        self._load(session, organism)
        if "adl" in self.plan.agents:
            self._say(f"computing the evidence of {organism}")
            missing = missing_evidence(
                session.state,
                session.require_pair().provenance.n_layers,
                MeasureArguments(n_texts=self.plan.n_texts),
                n_prompts=self.plan.n_prompts,
                max_new_tokens=self.plan.max_new_tokens,
            )
            compute(missing, partial(run, session, actor=HUMAN, should_stop=should_stop))
        session.record(SessionClosed(outcome="completed"))
        self._mark(key, session.id, "done")
        return session

    def _load(self, session: Session, organism: str) -> None:
        if organism not in self._pairs:
            # One pair at a time: the last one's memory is needed for this one.
            self._pairs.clear()
            self._pairs[organism] = self._load_pair(session, organism)
        session.pair = self._pairs[organism]

    def _mark(self, key: str, session_id: str, status: str) -> None:
        self.session.record(
            EvaluationCell.model_validate({"cell": key, "session": session_id, "status": status})
        )
