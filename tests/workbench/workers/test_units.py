"""Work spread over workers, without Ray: merged sessions, what is done again, and what is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from adl.errors import PairError, Stopped
from tests.planted import PlantedPair
from tests.workbench.agent.scripted import KEY, Asked, Hang, Reaction, Refuse, ScriptedEndpoint
from tests.workbench.agent.test_evaluation import PLAN, auditor, go, load_planted
from workbench.agent import evaluation as evaluating
from workbench.agent.evaluation import Evaluation, EvaluationPlan
from workbench.agent.evaluation_units import EvaluationUnits, WorkerSettings
from workbench.agent.scoreboard import audits, rows
from workbench.agent.shown_evidence import missing_evidence
from workbench.cli.spreading import RayMissing, SpreadArguments, pool_for
from workbench.operations.pair import LoadModels, PairArguments
from workbench.settings import SettingsError
from workbench.store.log import SessionLog
from workbench.workers import units as module
from workbench.workers.places import Places, places
from workbench.workers.units import (
    TRIES,
    Ended,
    Unit,
    UnitsFailed,
    Workshop,
    session_file,
    spread,
    take,
)

pytestmark = pytest.mark.usefixtures("little_evidence")

ORGANISMS = ("cake_bake", "taboo_gold", "risky_finance")
CHEAP = replace(PLAN, organisms=ORGANISMS, agents=("black_box",), budgets=(1,))


class ShopPool:
    """Workers that are workshops of this process: a unit is done when it is given.

    ``dies`` says of a unit whether its worker dies with it.
    """

    def __init__(self, folder: Path, dies: Callable[[Unit], bool] = lambda _: False) -> None:
        self._folder = folder
        self._dies = dies
        self._shops: dict[int, Workshop] = {}
        self._ended: list[Ended] = []
        self._numbers = 0
        self.begun: list[tuple[int, str]] = []
        self.should_stop = lambda: False
        self.is_stopped = False
        for _ in range(2):
            self._add()

    def idle(self) -> Sequence[int]:
        busy = {ended.worker for ended in self._ended}
        return [number for number in self._shops if number not in busy]

    def give(self, worker: int, unit: Unit, sessions: Sequence[bytes]) -> None:
        self.begun.append((worker, unit.name))
        delivery = self._shops[worker].do(unit, sessions, self.should_stop)
        if not self._dies(unit):
            self._ended.append(Ended(worker, delivery))
            return
        self._shops.pop(worker).close()
        self._add()
        self._ended.append(Ended(worker, None))

    def wait(self, _seconds: float) -> Sequence[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        self.is_stopped = True

    def close(self) -> None:
        for shop in self._shops.values():
            shop.close()

    def _add(self) -> None:
        self._numbers += 1
        self._shops[self._numbers] = Workshop(self._folder / f"worker{self._numbers}")


@pytest.fixture
def server() -> Iterator[ScriptedEndpoint]:
    server = ScriptedEndpoint(auditor)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have the key from where they run."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(tmp_path / "sessions.db") as log:
        yield log


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


def spread_out(
    evaluation: Evaluation,
    log: SessionLog,
    pool: ShopPool,
    server: ScriptedEndpoint,
    load: LoadModels = load_planted,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Do it in a pool; returns what was shown."""
    shown: list[str] = []
    units = EvaluationUnits(evaluation, server.settings(attempts=1), load)
    try:
        spread(units, log, pool, shown.append, should_stop)
    finally:
        pool.close()
    return shown


def table(log: SessionLog, evaluation: Evaluation) -> list[object]:
    """The table, and what each audit came to; sessions have ids of their own."""
    found = audits(log, evaluation.session.state)
    return [*rows(found), *(replace(audit, session=None) for audit in found)]


def in_one_process(folder: Path, plan: EvaluationPlan, server: ScriptedEndpoint) -> list[object]:
    with SessionLog.open(folder / "alone.db") as log:
        evaluation = Evaluation.start(log, plan, ArrayCache(folder / "alone"), load_planted)
        go(evaluation, server)
        return table(log, evaluation)


@pytest.mark.slow
def test_two_workers_give_the_table_of_one_process(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path, monkeypatch
):
    # A measurement stands for the evidence: the rest takes long.
    monkeypatch.setattr(
        evaluating,
        "missing_evidence",
        lambda *wanted, **more: missing_evidence(*wanted, **more)[:1],
    )
    plan = replace(PLAN, organisms=ORGANISMS[:1], budgets=(0, 1))
    expected = in_one_process(tmp_path, plan, server)
    evaluation = Evaluation.start(log, plan, cache)
    pool = ShopPool(tmp_path)
    shown = spread_out(evaluation, log, pool, server)
    assert table(log, evaluation) == expected
    assert log.verify().ok
    # The plan, the evidence, and each cell, with its parent in the same file.
    assert len(log.sessions()) == 1 + 1 + 3
    # Cells of one organism are audited by two workers at a time, the evidence is computed by one.
    assert [worker for worker, _ in pool.begun] == [1, 1, 2, 1]
    assert shown[-1].endswith("(4 of 4 now)")
    asked = len(server.asked)
    again = ShopPool(tmp_path / "again")
    assert spread_out(Evaluation(log, evaluation.session.id, cache), log, again, server) == []
    assert (again.begun, len(server.asked)) == ([], asked)


@pytest.mark.slow
def test_a_worker_stays_with_the_pair_it_has_loaded(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path
):
    plan = replace(CHEAP, organisms=ORGANISMS[:2], repeats=3)
    loaded: list[str] = []

    def load(asked: PairArguments, *_: object) -> PlantedPair:
        loaded.append(str(asked.organism))
        return PlantedPair()

    pool = ShopPool(tmp_path)
    spread_out(Evaluation.start(log, plan, cache), log, pool, server, load)
    assert sorted(loaded) == sorted(plan.organisms)
    assert {worker for worker, _ in pool.begun} == {1, 2}


@pytest.mark.slow
def test_a_unit_is_begun_again_if_its_worker_dies(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path
):
    lost: list[str] = []

    def dies(unit: Unit) -> bool:
        if "taboo_gold" in unit.name and len(lost) < TRIES - 1:
            lost.append(unit.name)
            return True
        return False

    evaluation = Evaluation.start(log, CHEAP, cache)
    pool = ShopPool(tmp_path, dies)
    shown = spread_out(evaluation, log, pool, server)
    assert {audit.status for audit in audits(log, evaluation.session.state)} == {"done"}
    assert len(log.sessions()) == 1 + 3 + 3
    assert [line for line in shown if "died" in line and lost[0] in line]
    names = [name for _, name in pool.begun]
    assert all(names.count(name) == 1 + lost.count(name) for name in names)


@pytest.mark.slow
def test_what_fails_is_named_and_the_rest_goes_on(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path
):
    def load(asked: PairArguments, *_: object) -> PlantedPair:
        if asked.organism == "cake_bake":
            raise PairError("cake_bake has no weights", "Restore them.")
        return PlantedPair()

    evaluation = Evaluation.start(log, CHEAP, cache)
    pool = ShopPool(tmp_path, lambda unit: unit.name == "evidence taboo_gold")
    with pytest.raises(UnitsFailed) as failed:
        spread_out(evaluation, log, pool, server, load)
    assert failed.value.exit_code == 1
    assert "evidence cake_bake: cake_bake has no weights. Restore them." in failed.value.message
    assert f"evidence taboo_gold: its worker died {TRIES} times" in failed.value.message
    status = {audit.cell.organism: audit.status for audit in audits(log, evaluation.session.state)}
    assert status == {"cake_bake": "waiting", "taboo_gold": "waiting", "risky_finance": "done"}
    # A pair that cannot be loaded leaves no session; nor does a worker that is gone.
    assert len(log.sessions()) == 1 + 2
    spread_out(
        Evaluation(log, evaluation.session.id, cache), log, ShopPool(tmp_path / "again"), server
    )
    assert {
        one.status
        for one in audits(log, Evaluation(log, evaluation.session.id, cache).session.state)
    } == {"done"}


def test_an_audit_that_failed_goes_on_in_its_session(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path
):
    plan = replace(CHEAP, organisms=ORGANISMS[:2])
    refused: list[Asked] = []

    def once(asked: Asked) -> Reaction:
        if "give_grade" in asked.tools and not refused:
            refused.append(asked)
            return Refuse(503, "down")
        return auditor(asked)

    server.script = once
    evaluation = Evaluation.start(log, plan, cache)
    with pytest.raises(UnitsFailed, match="1 unit of 4") as failed:
        spread_out(evaluation, log, ShopPool(tmp_path), server)
    assert "black_box" in failed.value.message
    assert KEY not in str(failed.value)
    found = audits(log, evaluation.session.state)
    assert sorted(audit.status for audit in found) == ["done", "failed"]
    spread_out(
        Evaluation(log, evaluation.session.id, cache), log, ShopPool(tmp_path / "again"), server
    )
    again = audits(log, Evaluation(log, evaluation.session.id, cache).session.state)
    assert [audit.status for audit in again] == ["done", "done"]
    assert [audit.session for audit in again] == [audit.session for audit in found]
    # Each reply, grade and verdict was answered once.
    assert len(server.asked) - len(refused) == 2 * 5


def test_a_stopped_audit_goes_on_in_its_session(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path: Path
):
    """It stops at a grade; what was answered until then is not asked for again, wherever it goes on."""
    plan = replace(CHEAP, organisms=ORGANISMS[:1])
    evaluation = Evaluation.start(log, plan, cache)
    # The first grade is under way for as long as nobody stops.
    server.script = lambda asked: Hang() if len(server.asked) == 2 else auditor(asked)
    pool = ShopPool(tmp_path)
    pool.should_stop = lambda: len(server.asked) >= 2
    with pytest.raises(Stopped):
        spread_out(evaluation, log, pool, server, should_stop=lambda: len(server.asked) >= 2)
    assert pool.is_stopped
    (audit,) = audits(log, evaluation.session.state)
    assert audit.status == "started"
    begun = len(log.sessions())
    spread_out(
        Evaluation(log, evaluation.session.id, cache), log, ShopPool(tmp_path / "again"), server
    )
    evaluation = Evaluation(log, evaluation.session.id, cache)
    (done,) = audits(log, evaluation.session.state)
    assert (done.status, done.session) == ("done", audit.session)
    assert len(log.sessions()) == begun
    # One reply, two grades and two verdicts, each once; and again the one that was under way.
    assert len(server.asked) == 6
    assert log.verify().ok


def test_workers_that_do_not_stop_are_not_waited_for(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, tmp_path, monkeypatch
):
    class Deaf(ShopPool):
        def wait(self, _seconds: float) -> Sequence[Ended]:
            return []

    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    evaluation = Evaluation.start(log, CHEAP, cache)
    pool = Deaf(tmp_path)
    with pytest.raises(Stopped, match="0 of 6"):
        spread_out(evaluation, log, pool, server, should_stop=lambda: bool(pool.begun))


def test_a_session_is_taken_in_as_any_import_is(log: SessionLog, tmp_path: Path):
    with SessionLog.open(tmp_path / "worker.db") as own:
        session = own.start_session("a unit")
        data = session_file(own, session)
    assert take(log, data) == session
    assert take(log, data) == session
    assert log.verify().ok
    spoilt = data.replace(b"a unit", b"a unix")
    with SessionLog.open(tmp_path / "other.db") as other:
        with pytest.raises(Exception, match="verif|sound|hash|damaged"):
            take(other, spoilt)
        assert other.sessions() == []


def test_keys_stay_where_they_are(server: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch):
    settings = WorkerSettings.of(server.settings())
    assert KEY not in repr(settings)
    loaded = settings.load()
    assert loaded.api_key is not None
    assert loaded.api_key.get_secret_value() == KEY
    assert (loaded.base_url, loaded.agent_model) == (server.url, "scripted")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        settings.load()
    # An address with a password in it is a key, too.
    secret = WorkerSettings.of(server.settings(base_url="http://me:password@host:1/v1"))
    assert "password" not in repr(secret)
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        secret.load()


def test_without_the_extra_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "workbench.workers.ray_pool", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayMissing) as missing:
        pool_for(SpreadArguments(ray="auto"), 1)
    assert missing.value.exit_code == 2
    assert "--ray" in missing.value.message
    assert ".[ray]" in missing.value.hint
    with pool_for(SpreadArguments(), 1) as pool:
        assert pool is None
    # Nor is it needed where nothing is left to do.
    with pool_for(SpreadArguments(ray="auto"), 0) as pool:
        assert pool is None


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "head.example:6379", "[::1]:6379"])
def test_addresses(address: str):
    assert SpreadArguments(ray=address).ray == address


@pytest.mark.parametrize(
    "address", ["", "automatic", "ray://h:1", "h", ":1", "h:", "h:123456", "a b:1", "me:pw@h:1"]
)
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(ValueError, match="ray"):
        SpreadArguments(ray=address)


def test_a_number_of_workers_needs_ray():
    with pytest.raises(ValueError, match="only workers of Ray") as refused:
        SpreadArguments(workers=2)
    (error,) = refused.value.errors()
    assert error["ctx"]["error"].fields == ("workers", "ray")


@pytest.mark.parametrize(
    ("wanted", "most", "cpus", "gpus", "expected"),
    [
        # One per GPU, whatever the processors are, but no more than there is work for.
        (None, 100, [64.0, 64.0], 8, Places(8, 1, 1)),
        (None, 3, [64.0], 8, Places(3, 1, 1)),
        (12, 100, [64.0], 8, Places(12, 1, 0.5)),
        (2, 100, [64.0], 8, Places(2, 1, 1)),
        # One for four processors of one machine; the rest of each is left.
        (None, 100, [8.0, 6.0], 0, Places(3, 4, 0)),
        (None, 100, [2.0], 0, Places(1, 2, 0)),
        (None, 2, [16.0], 0, Places(2, 8, 0)),
        (2, 100, [2.0], 0, Places(2, 1, 0)),
        (2, 100, [1.0], 0, Places(2, 0.5, 0)),
        (3, 100, [0.0], 0, Places(3, 0, 0)),
    ],
)
def test_machines_are_divided(
    wanted: int | None, most: int, cpus: list[float], gpus: int, expected: Places
):
    assert places(wanted, most, cpus, gpus) == expected
