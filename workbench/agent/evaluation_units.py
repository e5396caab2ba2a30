"""An evaluation as units of work for several workers: the evidence of organisms, then cells."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adl.callbacks import ShouldStop
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import EvaluationError
from workbench.agent.evaluation import Bench, Cell, Evaluation, EvaluationPlan, evidence_key
from workbench.operations.pair import LoadModels
from workbench.settings import Settings, SettingsError, load_settings
from workbench.workers.units import Delivery, Unit, Workshop

#: Settings that stay where they are: keys, and what only concerns a screen or a machine.
_OWN = {"api_key", "base_url", "keys", "private_files"}


@dataclass(frozen=True)
class WorkerSettings:
    """Settings as a worker gets them: without keys, which it has from its own surroundings."""

    given: Mapping[str, Any]
    address: str
    has_key: bool

    @classmethod
    def of(cls, settings: Settings) -> WorkerSettings:
        """The settings that may travel; an address with a password or key in it does not."""
        given = settings.model_dump(exclude=_OWN)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        if not set(settings.secrets()) - {key}:
            given["base_url"] = settings.base_url
        return cls(given, settings.address, settings.api_key is not None)

    def load(self) -> Settings:
        """The settings in the worker. Raises ``SettingsError`` where it lacks the key."""
        settings = load_settings(**self.given)
        if settings.address != self.address:
            raise SettingsError(
                f"the worker on {platform.node()} does not know the endpoint {self.address}, whose "
                "address has a password or a key in it",
                "Set OPENAI_BASE_URL where the worker runs: secrets do not pass through Ray.",
            )
        if self.has_key and settings.api_key is None:
            raise SettingsError(
                f"the worker on {platform.node()} has no key for {self.address}",
                "Set OPENAI_API_KEY where the worker runs: keys do not pass through Ray.",
            )
        return settings


@dataclass(frozen=True)
class EvidenceUnit:
    """The evidence of an organism."""

    plan: EvaluationPlan
    organism: str
    load: LoadModels | None = None
    rests_on: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in the log."""
        return evidence_key(self.organism)

    @property
    def name(self) -> str:
        """Its name, as shown."""
        return self.key

    @property
    def near(self) -> str:
        """The pair that it takes."""
        return self.organism

    def do(self, shop: Workshop, should_stop: ShouldStop) -> None:
        """Load the pair, and compute it."""
        bench = _bench(shop, self.plan, self.load)
        session = bench.begin_evidence(self.organism, should_stop)
        shop.begun(session.id)
        bench.compute_evidence(session, should_stop)


@dataclass(frozen=True)
class CellUnit:
    """A cell: a new audit, or one that was cut off in a session that it ``rests_on``, too."""

    plan: EvaluationPlan
    cell: Cell
    evidence: str
    session: str | None
    settings: WorkerSettings
    load: LoadModels | None = None

    @property
    def key(self) -> str:
        """Its name in the log."""
        return self.cell.key

    @property
    def name(self) -> str:
        """Its name, as shown."""
        return self.key

    @property
    def near(self) -> str:
        """The pair that it takes."""
        return self.cell.organism

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The evidence, and the session to go on with."""
        return (self.evidence, *([self.session] if self.session else []))

    def do(self, shop: Workshop, should_stop: ShouldStop) -> None:
        """Audit, and have it graded."""
        settings = self.settings.load()
        endpoint = shop.keep("endpoint", lambda: Endpoint(settings), Endpoint.close)
        judge = shop.keep("judge", lambda: Endpoint(settings), Endpoint.close)
        bench = _bench(shop, self.plan, self.load)
        if self.session is None:
            session = bench.begin_cell(self.cell, self.evidence, should_stop)
        else:
            session = bench.open_cell(self.cell, self.session, should_stop)
        shop.begun(session.id)
        bench.audit(self.cell, session, endpoint, judge, should_stop)


class EvaluationUnits:
    """The units of an evaluation, and its record of them."""

    def __init__(
        self, evaluation: Evaluation, settings: Settings, load: LoadModels | None = None
    ) -> None:
        self._evaluation = evaluation
        self._settings = WorkerSettings.of(settings)
        self._load = load
        self._cells = list(evaluation.plan.cells())

    @property
    def total(self) -> int:
        """Cells, and the evidence of each organism."""
        return len(self._cells) + len({cell.organism for cell in self._cells})

    def left(self) -> list[Unit]:
        """Cells whose evidence is there, and the evidence of the others."""
        return list({unit.name: unit for unit in self._left()}.values())

    def took(self, unit: Unit, delivery: Delivery) -> None:
        """Record how far the unit has come."""
        if not isinstance(unit, EvidenceUnit | CellUnit):
            raise EvaluationError(f"{unit.name} is no unit of an evaluation")
        if delivery.session is not None:
            ended: Literal["started", "failed"] = "failed" if delivery.problem else "started"
            status = "done" if delivery.is_done else ended
            self._evaluation.mark(unit.key, delivery.session, status, delivery.problem)

    def _left(self) -> Iterator[Unit]:
        done, plan = self._evaluation.is_done, self._evaluation.plan
        for cell in self._cells:
            if done(cell.key):
                continue
            key = evidence_key(cell.organism)
            evidence = self._evaluation.session_of(key)
            if evidence is None or not done(key):
                yield EvidenceUnit(plan, cell.organism, self._load)
            else:
                session = self._evaluation.session_of(cell.key)
                yield CellUnit(plan, cell, evidence, session, self._settings, self._load)


def _bench(shop: Workshop, plan: EvaluationPlan, load: LoadModels | None) -> Bench:
    return shop.keep(f"bench {plan}", lambda: Bench(shop.log, shop.cache, plan, load))
