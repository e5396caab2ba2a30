"""The top line shows the progress of a whole audit, and its lists as they are made."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult

from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.jobs import Job
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.time_left import PlanProgress
from workbench.store.events import HUMAN
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.planned_work import PlannedWork
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.panes import PANES
from workbench.tui.widgets.top_bar import TopBar


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def an_audit(clock: Clock) -> tuple[list[Job], PlannedWork]:
    jobs = [
        Job("m", MEASURE, MeasureArguments(), HUMAN),
        Job("r", READ, ReadArguments(), HUMAN),
    ]
    return jobs, PlannedWork(jobs, lambda planned: PlanProgress(planned, clock))


def changed(job: Job, **changes) -> Job:
    return replace(job, **changes)


def test_the_share_grows_over_all_jobs_and_ends_with_the_last():
    clock = Clock()
    (measure, read), plan = an_audit(clock)
    stage = MEASURE.stages(measure.arguments)[0].name
    shares = [plan.share]
    for done in (1, 2, 3):
        clock.now += 10
        plan.take(changed(measure, status="running", stage=stage, done=done, total=4))
        shares.append(plan.share)
    assert 0 == shares[0] < shares[1] < shares[2] < shares[3] < 1
    assert re.fullmatch(r"\d+%, about .* left", plan.words)
    other = Job("x", MEASURE, MeasureArguments(), HUMAN)
    plan.take(changed(other, status="finished"))  # not of this audit
    assert plan.share == shares[3]
    plan.take(changed(measure, status="finished"))
    assert shares[3] < plan.share < 1
    assert not plan.is_over
    plan.take(changed(read, status="failed"))
    assert plan.is_over


class Bar(App[None]):
    def compose(self) -> ComposeResult:
        yield TopBar([pane.SHORT for pane in PANES])

    CSS = "TopBar { height: 1; } TopBar #running { width: 1fr; text-align: right; padding: 0 1; }"


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (160, "audit ███▋         30%, about 6 min left  measure_difference 50%  +1 waiting"),
        (110, "audit ███▋         30%, about 6 min left"),
        (80, "30%, 6 min left"),
        (66, "30%"),
    ],
)
async def test_as_much_of_it_is_shown_as_there_is_room_for(width, shown):
    class Plan(PlannedWork):
        share, words = 0.3, "30%, about 6 min left"

    measure, read = an_audit(Clock())[0]
    app = Bar()
    async with app.run_test(size=(width, 6)) as pilot:
        app.query_one(TopBar).show_current(0)
        await pilot.pause()
        running = changed(measure, status="running", stage="s", done=1, total=2)
        app.query_one(TopBar).show_jobs([running, read], Plan([]))
        await pilot.pause()
        assert screen_text(app).split("\n")[0].rstrip().endswith(f" {shown}")


@pytest.mark.slow
async def test_a_whole_audit_is_one_bar_and_its_lists_come_while_it_reads(workbench):
    app = workbench(prepare=True)
    shares: list[float] = []
    early: list[int] = []

    def look() -> None:
        if not isinstance(app.screen, AuditScreen):
            return
        plan = app.screen._plan
        if plan is not None:
            shares.append(plan.share)
            pane = app.screen.query_one(ReadingsPane)
            reads = any(job.operation is READ and job.began for job in app.opened.jobs())
            if reads and pane.state.readings:
                early.append(len(pane.state.readings))

    async with app.run_test(size=(160, 48)) as pilot:
        done = lambda: shares and app.screen._plan is None  # noqa: E731
        await until(pilot, done, "the end of the audit", at_each_look=look)
        assert shares == sorted(shares)
        assert len(set(shares)) > 3
        # Lists stood in the pane before all were made.
        assert early
        assert early[0] < len(app.opened.state.readings)
