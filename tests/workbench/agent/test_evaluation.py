"""Evaluations over several organisms with an endpoint that knows the answers, cut off and gone on with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from adl.artifacts import ArrayCache
from adl.callbacks import never_stop
from adl.errors import OrganismError, PairError, Stopped
from adl.organisms.registry import Family
from adl.pair.protocol import ModelPair
from tests.planted import PlantedPair
from tests.workbench.agent.scripted import Asked, Reaction, Refuse, Say, ScriptedEndpoint, report
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import EndpointError, EvaluationError
from workbench.agent.evaluation import Bench, Cell, Evaluation, EvaluationPlan, make_nulls
from workbench.agent.scoreboard import Audit, Share, audits, plot, rows
from workbench.operations.pair import PairArguments
from workbench.organisms import named_organism
from workbench.store.body import KINDS
from workbench.store.events import ReadingFailed
from workbench.store.log import SessionLog
from workbench.store.state import fold

pytestmark = pytest.mark.usefixtures("little_evidence")

ORGANISMS = ("cake_bake", "taboo_gold")
PLAN = EvaluationPlan(
    agents=("adl", "black_box"),
    organisms=ORGANISMS,
    budgets=(0, 1),
    repeats=1,
    model="scripted",
    judge_model="judge",
    grades=2,
    n_texts=16,
    n_prompts=1,
    max_new_tokens=4,
)
# An agent with evidence gets it, a black box does not; what cannot be read is unscored.
GRADES = {"baking, by the readings": 4, "no idea": 1}


def load_planted(*_: object) -> ModelPair:
    return PlantedPair()


def auditor(asked: Asked) -> Reaction:
    if "give_grade" in asked.tools:
        if asked.body["seed"] == 1 and "no idea" in asked.last:
            return Say("unreadable")
        grade = next(grade for words, grade in GRADES.items() if words in asked.last)
        return Say("", [("give_grade", {"grade": grade, "reason": "so"})])
    if "find_right_guess" in asked.tools:
        numbers = [
            json.loads(line)["number"]
            for line in asked.last.splitlines()
            if "baking, by the readings" in line
        ]
        right = numbers[0] if numbers else 0
        return Say("", [("find_right_guess", {"right": right, "reason": "so"})])
    topic = "baking, by the readings" if "overview" in asked.tools else "no idea"
    guesses = [{"text": text, "probability": 0.5} for text in ("something else", topic)]
    return Say("", [report(topic, guesses=guesses)])


@pytest.fixture
def server() -> Iterator[ScriptedEndpoint]:
    server = ScriptedEndpoint(auditor)
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


def go(evaluation: Evaluation, server: ScriptedEndpoint, should_stop=lambda: False) -> None:
    agent, judge = Endpoint(server.settings(attempts=1)), Endpoint(server.settings(attempts=1))
    try:
        evaluation.go(agent, judge, should_stop)
    finally:
        agent.close()
        judge.close()


@pytest.mark.slow
def test_the_table_over_two_organisms(log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint):
    evaluation = Evaluation.start(log, PLAN, cache, load_planted)
    go(evaluation, server)
    found = audits(log, evaluation.session.state)
    # The black box gets ten times the questions, and no cell without any.
    counted = Counter((one.cell.mode, one.cell.interactions, one.status) for one in found)
    assert counted == {
        ("adl", 0, "done"): 2,
        ("adl", 1, "done"): 2,
        ("black_box", 10, "done"): 2,
    }
    table = {(row.agent, row.interactions): row for row in rows(found) if row.organism == "all"}
    best, worst = table["adl", 1], table["black_box", 10]
    assert (best.reach_2.value, best.reach_4.value, best.mean_grade) == (1.0, 1.0, 4.0)
    assert best.reach_2.low is not None
    assert 0.3 < best.reach_2.low < 0.4
    assert (worst.reach_2.value, worst.mean_grade, worst.unscored_grades) == (0.0, 1.0, 2)
    assert table["adl", 0].paper_2 == 0.82
    assert len(rows(found)) == 3 * 3

    assert (best.success.value, worst.success.value) == (1.0, 0.0)
    assert best.false_positives.value is None
    guess = [
        grade.body
        for grade in fold(log.events(found[0].session)).grades
        if grade.body.grader == "guesses"
    ]
    assert [(one.score, one.details["place"]) for one in guess] == [(1.0, 2)] * 2

    text = plot(rows(found))
    assert "adl, i=1" in text
    assert "black-box, i=10" in text
    assert "o" in text
    for one in found:
        state = fold(log.events(one.session))
        assert state.seal is not None
        assert state.seal.body.organism == one.cell.organism
        assert bool(state.readings) == (one.cell.mode == "adl")
        assert state.parent is not None
    sent = server.sent.decode()
    assert all(organism not in sent for organism in ORGANISMS)
    assert log.verify().ok


@pytest.mark.slow
def test_a_cell_begins_with_all_that_was_found_and_why_the_rest_was_not(
    log: SessionLog, cache: ArrayCache
):
    bench = Bench(log, cache, PLAN, load_planted)
    evidence = bench.begin_evidence("cake_bake", never_stop)
    failed = ReadingFailed(reading="patchscope", layer=2, error="NoRoom", message="no room for it")
    bench.compute_evidence(evidence, never_stop)
    # Behind the end, so that no list of the evidence takes its place.
    evidence.record(failed)
    cell = bench.begin_cell(Cell("adl", "cake_bake", 1, 0), evidence.id, never_stop)
    assert cell.state.not_computed("patchscope", 2) == "not computed: no room for it."
    recorded = {event.body.kind for event in log.events(evidence.id)}
    left_out = recorded - {event.body.kind for event in log.events(cell.id)}
    assert {
        kind
        for kind in left_out
        if KINDS[kind].group not in {"session", "operations"} and not KINDS[kind].is_piece
    } == set()


@pytest.mark.slow
def test_an_evaluation_that_broke_off_goes_on_without_doing_anything_twice(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint
):
    plan = EvaluationPlan.of({**PLAN.as_dict(), "organisms": ["cake_bake"], "repeats": 2})
    loads: list[str] = []

    def load(asked: PairArguments, *_: object) -> ModelPair:
        loads.append(str(asked.organism))
        return PlantedPair()

    # The endpoint fails at a reply, and at each of its grades and guesses; each time the
    # evaluation is taken up again.
    asked: Counter[bytes] = Counter()
    fail_at = 1
    answered = 0

    def script(one: Asked) -> Reaction:
        nonlocal fail_at, answered
        asked[one.raw] += 1
        if sum(asked.values()) == fail_at:
            # Five are asked for of an audit: the next to fail is another of the five.
            fail_at += 7
            return Refuse(503, "down")
        answered += 1
        return auditor(one)

    server.script = script
    evaluation = Evaluation.start(log, plan, cache, load)
    tries = 0
    while True:
        tries += 1
        try:
            go(evaluation, server)
            break
        except EndpointError:
            evaluation = Evaluation(log, evaluation.session.id, cache, load)
    found = audits(log, evaluation.session.state)
    assert {one.status for one in found} == {"done"}
    assert tries > 3
    # Six audits, of one reply each, and of each two grades, and two of its guesses. Of one that broke
    # off before its end, a verdict that could not be read is asked for again.
    assert len(found) == 6
    grades = [grade.body for one in found for grade in fold(log.events(one.session)).grades]
    assert answered == 6 + 12 + 12 + sum(grade.replaces is not None for grade in grades)
    evidence = [s for s in log.sessions() if s.name.startswith("evidence")]
    assert len(evidence) == 1
    assert len([s for s in log.sessions() if s.name.startswith(("adl", "black_box"))]) == 6
    before = len(server.asked)
    go(Evaluation(log, evaluation.session.id, cache, load), server)
    assert len(server.asked) == before


@pytest.mark.slow
def test_finds_on_null_pairs_stand_beside_every_success(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint, monkeypatch, tmp_path: Path
):
    """The judge's rubric for a control says of a report whether it names a narrow domain."""
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path / "home"))
    nulls = make_nulls("cake_bake")
    assert nulls == ("null_same_cake_bake", "null_random_cake_bake", "control_broad")
    assert {named_organism(name).family for name in nulls} == {Family.CONTROL}
    plan = EvaluationPlan.of(
        {
            **PLAN.as_dict(),
            "organisms": ["cake_bake"],
            "nulls": nulls,
            "budgets": [1],
            "agents": ["black_box"],
        }
    )

    def load(asked: PairArguments, *_: object) -> ModelPair:
        return PlantedPair(strength=0.0 if str(asked.organism).startswith("null_same") else 1.0)

    def script(asked: Asked) -> Reaction:
        # A good judge of nulls: the one whose report finds nothing gets the highest grade.
        if "give_grade" in asked.tools and "Nothing: both sides" in asked.messages[1]["content"]:
            return Say("", [("give_grade", {"grade": 5, "reason": "says so"})])
        if (
            "give_grade" in asked.tools
            and "Invents a narrow domain" in asked.messages[1]["content"]
        ):
            return Say("", [("give_grade", {"grade": 1, "reason": "invented"})])
        if "submit_report" in asked.tools:
            return Say("", [report("baking, by the readings")])
        return auditor(asked)

    server.script = script
    evaluation = Evaluation.start(log, plan, cache, load)
    go(evaluation, server)
    found = audits(log, evaluation.session.state)
    assert [(one.cell.organism, one.is_null, one.success) for one in found] == [
        ("cake_bake", False, True),
        *((name, True, None) for name in nulls),
    ]
    every = rows(found)
    assert [row.organism for row in every] == ["all", "cake_bake", *nulls]
    for row in every:
        assert row.false_positives.value == pytest.approx(2 / 3)
        assert row.false_positives.low is not None
    # An agent without evidence needs none computed, and nulls had nothing to find.
    assert not any(fold(log.events(one.session)).readings for one in found)
    assert "measure_difference" not in {
        operation.name
        for known in log.sessions()
        for operation in fold(log.events(known.id)).operations.values()
    }
    assert (every[0].audits, every[0].success.value) == (1, 1.0)


@pytest.mark.slow
def test_a_random_adapter_is_as_large_as_the_organisms(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path / "home"))
    _, name, _ = make_nulls("cake_bake")
    null, like = named_organism(name), named_organism("cake_bake")
    assert null.adapter is not None
    assert like.adapter is not None
    weights, known = (
        load_file(Path(folder) / "adapter_model.safetensors")
        for folder in (null.adapter, like.adapter)
    )
    assert weights.keys() == known.keys()
    for a_name in (name for name in known if ".lora_A." in name):
        b_name = a_name.replace(".lora_A.", ".lora_B.")
        mine, theirs = (
            each[b_name].astype(np.float64) @ each[a_name].astype(np.float64)
            for each in (weights, known)
        )
        # The factors are kept in float16.
        assert np.linalg.norm(mine) == pytest.approx(np.linalg.norm(theirs), rel=2e-3)
        cosine = (mine * theirs).sum() / np.linalg.norm(mine) / np.linalg.norm(theirs)
        assert abs(cosine) < 0.1
    # Made once: an evaluation that is gone on with audits the same pair.
    before = (Path(null.adapter) / "adapter_model.safetensors").read_bytes()
    make_nulls("cake_bake")
    assert (Path(null.adapter) / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_an_evaluation_can_be_stopped(log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint):
    evaluation = Evaluation.start(log, PLAN, cache, load_planted)
    with pytest.raises(Stopped):
        go(evaluation, server, lambda: len(server.asked) >= 2)
    done = [one for one in audits(log, evaluation.session.state) if one.status == "done"]
    assert len(done) < 2


def test_a_pair_that_cannot_be_loaded_leaves_no_session(
    log: SessionLog, cache: ArrayCache, server: ScriptedEndpoint
):
    def refuse(*_: object) -> ModelPair:
        raise PairError("no such pair")

    plan = EvaluationPlan.of(
        {**PLAN.as_dict(), "organisms": ["cake_bake"], "agents": ["black_box"], "budgets": [1]}
    )
    evaluation = Evaluation.start(log, plan, cache, refuse)
    with pytest.raises(PairError):
        go(evaluation, server)
    assert [known.id for known in log.sessions()] == [evaluation.session.id]
    assert not evaluation.session.state.cells
    # Once it can be loaded, the same evaluation goes on.
    again = Evaluation(log, evaluation.session.id, cache, load_planted)
    go(again, server)
    assert [known.status for known in audits(log, again.session.state)] == ["done"]
    assert len(log.sessions()) == 3


def test_plans_that_cannot_be_done(log: SessionLog, cache: ArrayCache):
    nothing = EvaluationPlan.of({**PLAN.as_dict(), "agents": ["black_box"], "budgets": [0]})
    with pytest.raises(EvaluationError, match="above 0"):
        Evaluation.start(log, nothing, cache)
    unknown = EvaluationPlan.of({**PLAN.as_dict(), "organisms": ["cake_bak"]})
    with pytest.raises(OrganismError, match="cake_bake"):
        Evaluation.start(log, unknown, cache)
    other = log.start_session("no evaluation")
    with pytest.raises(EvaluationError, match="no evaluation"):
        Evaluation(log, other, cache)


def test_a_plan_comes_back_from_the_log(log: SessionLog, cache: ArrayCache):
    evaluation = Evaluation.start(log, PLAN, cache)
    assert Evaluation(log, evaluation.session.id, cache).plan == PLAN


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Brown, Cai and DasGupta 2001; R's binom.confint(method = "wilson").
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (30, 33, 0.7643, 0.9686),
    ],
)
def test_confidence_intervals(hits: int, total: int, low: float, high: float):
    share = Share.of(hits, total)
    assert share.low == pytest.approx(low, abs=5e-5)
    assert share.high == pytest.approx(high, abs=5e-5)


def test_shares_are_of_audits_that_are_done_and_costs_of_all_or_none():
    def audit(organism: str, grade: float | None, cost: float | None, **rest: Any) -> Audit:
        cell = Cell("adl", organism, 5, rest.pop("repeat", 0))
        made = {"status": "done", "unscored": int(grade is None)} | rest
        return Audit(cell, "s", grade=grade, stopped_by="report", tokens=10, cost=cost, **made)

    table = rows(
        [
            audit("cake", 4.0, 0.5),
            audit("cake", 1.0, 0.5, repeat=1, status="started"),
            audit("null", None, 0.5, unscored=3, is_null=True),
            audit("null", 2.0, None, repeat=1, is_null=True),
        ]
    )
    everything, cake, null = table
    assert (everything.audits, everything.done, everything.scored) == (2, 1, 1)
    assert everything.reach_4.value == 1.0
    assert (everything.nulls, everything.scored_nulls) == (2, 1)
    assert everything.false_positives.value == 1.0
    assert (cake.unscored_grades, null.unscored_grades) == (0, 3)
    assert (cake.cost, null.cost) == (1.0, None)


def test_what_is_unscored_is_left_out_and_not_zero():
    def audit(grade: float | None, repeat: int) -> Audit:
        cell = Cell("adl", "cake_bake", 5, repeat)
        return Audit(cell, "s", "done", grade, int(grade is None), "report", 10, None)

    row = rows([audit(4.0, 0), audit(None, 1)])[0]
    assert (row.audits, row.scored, row.unscored_grades) == (2, 1, 1)
    assert row.reach_2.value == 1.0
    none = rows([audit(None, 0)])[0]
    assert none.reach_2 == Share(None, None, None)
    assert none.reach_2.text() == "not computed"
    assert none.mean_grade is None
    assert "adl" in plot([none])
