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
from adl.callbacks import ShouldStop, ignore_stages, never_stop
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
from workbench.operations.beginning import begin_session
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import LoadModels, PairArguments, load_models
from workbench.operations.running import Session, run
from workbench.organisms import named_organism
from workbench.store.agent_events import AgentMode, CellStatus, EvaluationCell, EvaluationStarted
from workbench.store.body import KINDS
from workbench.store.events import HUMAN, EventBody, PairLoaded, SessionClosed
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

#: What a baseline without evidence gets in place of it, as in the paper: questions.
BLACK_BOX_FACTOR = 10
#: Of the evidence, what a cell begins with: all that was found, also what could not be, and the texts.
FINDINGS = tuple(
    kind
    for kind, body in KINDS.items()
    if body.group in {"findings", "texts"} and not body.is_piece
)


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
    """The null pairs of an organism's kind, made in the user's folder of organisms, and the bundled control.

    Raises ``OrganismError``.
    """
    like = named_organism(organism_id)
    bundled = like.folder.parent == BUNDLED_ORGANISMS
    base = EMBEDDED_BASE if bundled else like.base
    organisms = find_locations().organisms
    made = [make_null_pair(kind, like, organisms, base).id for kind in NULL_KINDS]
    return (*made, *(found.id for found in list_organisms() if found.family is Family.CONTROL))


def evidence_key(organism: str) -> str:
    """The name in the log of an organism's evidence."""
    return f"evidence {organism}"


class Bench:
    """Does the parts of an evaluation in a log: the evidence of organisms, and cells.

    Holds one pair at a time: the last one's memory is needed for the next.
    """

    def __init__(
        self,
        log: SessionLog,
        cache: ArrayCache,
        plan: EvaluationPlan,
        load: LoadModels | None = None,
    ) -> None:
        self._log = log
        self._cache = cache
        self._plan = plan
        self._load = load or load_models
        self._pairs: dict[str, ModelPair] = {}

    def begin_evidence(self, organism: str, should_stop: ShouldStop) -> Session:
        """Begin the session of an organism's evidence, with its pair.

        Raises what keeps the pair from being loaded, with no session begun.
        """
        return begin_session(
            self._log,
            self._cache,
            f"evidence of {organism}",
            PairArguments(organism=organism),
            actor=HUMAN,
            should_stop=should_stop,
            load=lambda *_: self._pair(organism, should_stop),
        )

    def compute_evidence(self, session: Session, should_stop: ShouldStop) -> None:
        """Compute what agents with the lens are shown, if there are any, and close the session."""
        if "adl" in self._plan.agents:
            missing = missing_evidence(
                session.state,
                session.require_pair().provenance.n_layers,
                MeasureArguments(n_texts=self._plan.n_texts),
                n_prompts=self._plan.n_prompts,
                max_new_tokens=self._plan.max_new_tokens,
            )
            compute(missing, partial(run, session, actor=HUMAN, should_stop=should_stop))
        session.record(SessionClosed(outcome="completed"))

    def begin_cell(self, cell: Cell, evidence: str, should_stop: ShouldStop) -> Session:
        """Begin a cell's session with its pair and, if the agent may see it, the evidence."""
        pair = self._pair(cell.organism, should_stop)
        bodies: list[EventBody] = [PairLoaded(pair=pair.provenance.as_dict())]
        if cell.mode == "adl":
            bodies += [event.body for event in self._log.events(evidence, kinds=FINDINGS)]
        seq = Session(self._log, evidence, self._cache).state.seq
        # The evidence before the cell: one that has begun has all of it.
        session_id = self._log.start_session(
            cell.key, parent=(evidence, seq), then=[Entry(body) for body in bodies]
        )
        return Session(self._log, session_id, self._cache, pair)

    def open_cell(self, cell: Cell, session_id: str, should_stop: ShouldStop) -> Session:
        """The session of a cell that was begun, with its pair."""
        pair = self._pair(cell.organism, should_stop)
        return Session(self._log, session_id, self._cache, pair)

    def audit(
        self,
        cell: Cell,
        session: Session,
        endpoint: Endpoint,
        judge: Endpoint,
        should_stop: ShouldStop,
    ) -> None:
        """Audit, or go on with it where its log ends; grade, and close the session."""
        surroundings = Surroundings(should_stop=should_stop)
        if not session.state.agents:
            blinding = seal(session, blind=True, organism=cell.organism)
            plan = AuditPlan(
                model=self._plan.model,
                mode=cell.mode,
                budgets=Budgets(
                    cell.interactions, self._plan.calls, self._plan.tokens, self._plan.seconds
                ),
                seed=cell.repeat,
                context=endpoint.settings.context,
            )
            start_audit(session, endpoint, plan, blinding, surroundings)
        else:
            resume_audit(session, endpoint, surroundings=surroundings)
        graders = [grade_report]
        if cell.organism not in self._plan.nulls:
            graders.append(grade_guesses)
        for grade in graders:
            grade(
                session,
                judge,
                self._plan.judge_model,
                repeats=self._plan.grades,
                organism=cell.organism,
                should_stop=should_stop,
            )
        session.record(SessionClosed(outcome="completed"))

    def _pair(self, organism: str, should_stop: ShouldStop) -> ModelPair:
        if organism not in self._pairs:
            self._pairs.clear()
            self._pairs[organism] = self._load(
                PairArguments(organism=organism), ignore_stages, should_stop
            )
        return self._pairs[organism]


class Evaluation:
    """An evaluation in a log, new or gone on with."""

    def __init__(
        self,
        log: SessionLog,
        session_id: str,
        cache: ArrayCache,
        load: LoadModels | None = None,
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
        self._bench = Bench(log, cache, self.plan, load)
        self._say = say

    @classmethod
    def start(
        cls,
        log: SessionLog,
        plan: EvaluationPlan,
        cache: ArrayCache,
        load: LoadModels | None = None,
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
        return cls(log, session_id, cache, load, say)

    def go(self, endpoint: Endpoint, judge: Endpoint, should_stop: ShouldStop = never_stop) -> None:
        """Do every cell that is not done.

        Raises ``EndpointError`` and ``Stopped``; then what is done stays done.
        """
        cells = list(self.plan.cells())
        for number, cell in enumerate(cells, start=1):
            if self.is_done(cell.key):
                continue
            self._say(f"{number} of {len(cells)}: {cell.key}")
            evidence = self._evidence(cell.organism, should_stop)
            session_id = self.session_of(cell.key)
            if session_id is None:
                session = self._bench.begin_cell(cell, evidence, should_stop)
                self.mark(cell.key, session.id, "started")
            else:
                session = self._bench.open_cell(cell, session_id, should_stop)
            self._bench.audit(cell, session, endpoint, judge, should_stop)
            self.mark(cell.key, session.id, "done")

    def is_done(self, key: str) -> bool:
        """True for a cell, or an organism's evidence, that nothing is left to do of."""
        known = self.session.state.cells.get(key)
        return known is not None and known.body.status == "done"

    def session_of(self, key: str) -> str | None:
        """The session of a cell or of evidence; None before it is begun."""
        known = self.session.state.cells.get(key)
        return known.body.session if known else None

    def mark(
        self,
        key: str,
        session_id: str,
        status: CellStatus,
        detail: str = "",
    ) -> None:
        """Record how far a cell or an organism's evidence has come."""
        self.session.record(
            EvaluationCell(cell=key, session=session_id, status=status, detail=detail)
        )

    def _evidence(self, organism: str, should_stop: ShouldStop) -> str:
        """The session with an organism's evidence, which is computed if it is not there."""
        key = evidence_key(organism)
        known = self.session_of(key)
        if known is not None and self.is_done(key):
            return known
        session = self._bench.begin_evidence(organism, should_stop)
        self.mark(key, session.id, "started")
        if "adl" in self.plan.agents:
            self._say(f"computing the evidence of {organism}")
        self._bench.compute_evidence(session, should_stop)
        self.mark(key, session.id, "done")
        return session.id
