"""The share that is done of several operations, and the time left, on a clock of the test's own."""

from __future__ import annotations

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation, Session, Stage, run
from workbench.operations.time_left import PlanProgress, in_words
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog


class Nothing(Arguments):
    """No argument."""


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def operation(name: str, *stages: tuple[str, float]) -> Operation[Nothing]:
    found = tuple(Stage(*stage) for stage in stages)
    return Operation(name, name, Nothing, lambda *_: {}, stages=lambda _: found)


def test_time_left_follows_the_speed_that_is_seen():
    clock = Clock()
    first, second = operation("first", ("a", 10), ("b", 30)), operation("second", ("c", 60))
    plan = PlanProgress([(first, Nothing()), (second, Nothing())], clock)
    assert (plan.share, plan.seconds_left) == (0, None)
    plan.report("first", "a", 0, 4)
    clock.now += 10  # half of what takes 10: this machine is half as fast
    plan.report("first", "a", 2, 4)
    assert plan.share == pytest.approx(0.05)
    assert plan.seconds_left == pytest.approx(190)
    clock.now += 30  # a long batch: time goes on without a report
    assert plan.seconds_left == pytest.approx(160)
    clock.now += 40
    plan.report("first", "b · loss 2.1", 3, 6)
    assert plan.share == pytest.approx(0.25)
    assert plan.seconds_left == pytest.approx(75 * 80 / 25)
    plan.finish("first")
    assert plan.share == pytest.approx(0.4)
    plan.finish("second")
    assert (plan.share, plan.seconds_left) == (1, 0)


def test_what_the_cache_holds_does_not_look_like_speed():
    clock = Clock()
    cached, slow = operation("cached", ("a", 1000)), operation("slow", ("b", 100))
    plan = PlanProgress([(cached, Nothing()), (slow, Nothing())], clock)
    clock.now += 1
    plan.finish("cached")
    plan.report("slow", "b", 0, 10)
    assert plan.seconds_left is None
    clock.now += 20
    plan.report("slow", "b", 1, 10)
    assert plan.seconds_left == pytest.approx(180)


def test_loading_says_nothing_of_the_speed():
    clock = Clock()
    plan = PlanProgress([(LOAD, PairArguments()), (operation("x", ("b", 10)), Nothing())], clock)
    for done in range(5):
        clock.now += 600
        plan.report(LOAD.name, "hash the files", done, 5)
    assert plan.seconds_left is None


def test_a_stage_may_come_again_and_an_unknown_one_changes_nothing():
    plan = PlanProgress([(operation("x", ("a", 1), ("b", 1), ("a", 2)), Nothing())], Clock())
    shares = []
    for stage, done in (("a", 1), ("b", 1), ("a", 0), ("nonesuch", 1), ("a", 1), ("b", 0)):
        plan.report("x", stage, done, 2)
        shares.append(plan.share)
    assert shares == pytest.approx([0.125, 0.375, 0.5, 0.5, 0.75, 0.75])


def test_an_operation_that_does_not_say_how_long_it_takes_has_no_time_left():
    clock = Clock()
    silent: Operation[Nothing] = Operation("silent", "silent", Nothing, lambda *_: {})
    plan = PlanProgress([(silent, Nothing())], clock)
    plan.report("silent", "anything", 0, 10)
    clock.now += 20
    plan.report("silent", "anything", 2, 10)
    assert not plan.is_known
    # Its report is of one stage, and nobody knows how many there are.
    assert plan.words == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (43, "45 s"), (91, "2 min"), (380, "6 min"), (9000, "2.5 h")],
)
def test_a_time_is_not_more_exact_than_an_estimate(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.slow
def test_the_stages_of_an_audit_are_those_that_are_planned(tmp_path):
    """Every stage that is reported moves the plan on: a new or renamed one has to be added."""
    read, steer = ReadArguments(n_texts=16), SteerArguments(n_prompts=2, max_new_tokens=4)
    planned = [(MEASURE, MeasureArguments(n_texts=16)), (READ, read), (STEER, steer)]
    plan = PlanProgress(planned)
    still: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        before = plan.share
        plan.report(current, stage, done, total)
        if done == total and plan.share <= before:
            still.append(f"{current}: {stage}")

    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = Session(log, log.start_session("t"), ArrayCache(tmp_path), PlantedPair())
        for each, arguments in planned:
            current = each.name
            run(session, each, arguments, actor=HUMAN, progress=progress)
            unreported = plan.share
            plan.finish(current)
            assert plan.share - unreported < 0.02, f"{current} did not report all of its stages"
    assert still == []
    assert plan.share == pytest.approx(1)
