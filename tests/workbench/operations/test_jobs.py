"""Jobs run in order on threads of their own, end in every way, and none is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from adl.errors import PairError, Stopped
from tests.processes import HANGS
from tests.workbench.operations.conftest import assert_as_recorded, committed
from workbench.operations.jobs import Job, Jobs
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.running import Arguments, Context, Operation, Session, Summary
from workbench.store.events import HUMAN, Actor, NoteWritten

AGENT = Actor(kind="agent", name="a model")
LONG = HANGS


class Named(Arguments):
    """What to call it."""

    name: str = ""


def operation(work: Callable[[Context, Named], Summary], *, models: bool = True) -> Operation:
    return Operation("try", "Try", Named, work, uses_models=models)


class Gate:
    """Work that says when it began and waits to be let through, or to be stopped."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.opened = threading.Event()
        self.operation = operation(self._work)

    def _work(self, context: Context, _arguments: Named) -> Summary:
        self.began.set()
        while not self.opened.wait(0.005):
            context.check_stop()
        return {}

    def wait_until_begun(self) -> None:
        assert self.began.wait(LONG)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)

    def statuses(self, job_id: str) -> list[str]:
        found = [job.status for job in self.jobs if job.id == job_id]
        return [now for now, before in zip(found, [None, *found], strict=False) if now != before]

    def last(self, job_id: str) -> Job:
        return [job for job in self.jobs if job.id == job_id][-1]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def jobs(session: Session, told: Told) -> Iterator[Jobs]:
    jobs = Jobs(session, told)
    yield jobs
    assert jobs.close(LONG)


@pytest.fixture
def order(session: Session) -> tuple[list[str], Operation]:
    """Names in the order in which they were run, and the operation that keeps them."""
    ran: list[str] = []

    def work(_context: Context, arguments: Named) -> Summary:
        ran.append(arguments.name)
        return {"name": arguments.name}

    return ran, operation(work)


def test_a_job_is_told_from_waiting_to_its_end(jobs: Jobs, told: Told, session: Session):
    def work(context: Context, _arguments: Named) -> Summary:
        for done in range(1, 4):
            context.progress("count", done, 3)
        context.progress("write", 1, 1)
        return {"answer": 42}

    job = jobs.submit(operation(work), Named(), AGENT)
    assert (job.status, job.actor) == ("waiting", AGENT)
    assert jobs.wait(job.id, LONG)
    assert told.statuses(job.id) == ["waiting", "running", "finished"]
    seen = [(one.stage, one.done, one.total) for one in told.jobs if one.stage]
    # The first of a stage and its end are always told; those between only now and then.
    assert ("count", 1, 3) in seen
    assert ("count", 3, 3) in seen
    assert seen[-1] == ("write", 1, 1)
    assert told.last(job.id).summary == {"answer": 42}
    assert jobs.current() == []
    (recorded,) = session.state.operations.values()
    assert (recorded.id, recorded.status, recorded.actor) == (job.id, "finished", AGENT)


def test_jobs_run_in_the_order_they_were_asked_for(jobs, order):
    ran, named = order
    gate = Gate()
    jobs.submit(gate.operation, Named(), HUMAN)
    asked = [jobs.submit(named, Named(name=str(number)), HUMAN) for number in range(20)]
    assert [job.id for job in jobs.current()[1:]] == [job.id for job in asked]
    gate.opened.set()
    assert jobs.wait(asked[-1].id, LONG)
    assert ran == [str(number) for number in range(20)]


def test_what_runs_in_the_background_lets_others_go_first(jobs, order):
    ran, named = order
    gate = Gate()
    jobs.submit(gate.operation, Named(), HUMAN)
    last = None
    for name, background in (("b1", True), ("f1", False), ("b2", True), ("f2", False)):
        job = jobs.submit(named, Named(name=name), HUMAN, background=background)
        last = job if name == "b2" else last
    gate.opened.set()
    assert last is not None
    assert jobs.wait(last.id, LONG)
    assert ran == ["f1", "f2", "b1", "b2"]


def test_a_waiting_job_is_moved_among_those_that_wait(jobs, told, order):
    ran, named = order
    gate = Gate()
    running = jobs.submit(gate.operation, Named(), HUMAN)
    gate.wait_until_begun()
    a, b = (jobs.submit(named, Named(name=name), HUMAN) for name in "ab")
    c = jobs.submit(named, Named(name="c"), HUMAN, background=True)
    assert jobs.move(c.id, -1)
    assert jobs.move(a.id, 1)
    assert [job.id for job in jobs.current()] == [running.id, c.id, a.id, b.id]
    assert told.jobs[-1].id == a.id
    # What is asked for after that goes behind what of the foreground waits, as before.
    d = jobs.submit(named, Named(name="d"), HUMAN)
    for job, step in ((c, -1), (d, 1), (running, 1)):
        assert not jobs.move(job.id, step)
    assert not jobs.move("nobody", 1)
    jobs.stop(b.id)
    assert [job.id for job in jobs.current()] == [running.id, c.id, a.id, d.id]
    gate.opened.set()
    assert jobs.wait(d.id, LONG)
    assert ran == ["c", "a", "d"]
    assert not jobs.move(a.id, 1)


def test_notes_do_not_wait_for_the_models(jobs: Jobs, session: Session):
    gate = Gate()
    jobs.submit(gate.operation, Named(), HUMAN)
    gate.wait_until_begun()
    note = jobs.submit(NOTE, NoteArguments(text="meanwhile"), HUMAN)
    assert jobs.wait(note.id, LONG)
    assert [one.body.text for one in session.state.notes] == ["meanwhile"]
    gate.opened.set()


def test_one_model_job_runs_at_a_time(jobs: Jobs):
    at_once, most = [0], [0]

    def work(_context: Context, _arguments: Named) -> Summary:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        at_once[0] -= 1
        return {}

    for job in [jobs.submit(operation(work), Named(), HUMAN) for _ in range(30)]:
        assert jobs.wait(job.id, LONG)
    assert most == [1]


def test_a_waiting_job_that_is_stopped_never_begins(jobs, told, order, session):
    ran, named = order
    gate = Gate()
    jobs.submit(gate.operation, Named(), HUMAN)
    stopped = jobs.submit(named, Named(name="never"), HUMAN)
    after = jobs.submit(named, Named(name="after"), HUMAN)
    jobs.stop(stopped.id)
    assert jobs.wait(stopped.id, 0)
    assert stopped.id not in {job.id for job in jobs.current()}
    gate.opened.set()
    assert jobs.wait(after.id, LONG)
    assert ran == ["after"]
    assert told.statuses(stopped.id) == ["waiting", "stopped"]
    assert stopped.id not in session.state.operations


def test_a_running_job_that_is_stopped_ends_at_its_next_look(jobs, told, session):
    gate = Gate()
    job = jobs.submit(gate.operation, Named(), HUMAN)
    gate.wait_until_begun()
    jobs.stop(job.id)
    jobs.stop(job.id)
    assert jobs.wait(job.id, LONG)
    assert told.statuses(job.id) == ["waiting", "running", "stopping", "stopped"]
    assert session.state.operations[job.id].status == "stopped"
    assert_as_recorded(session)


def test_stopping_what_is_over_or_was_never_there_does_nothing(jobs, told, order):
    job = jobs.submit(order[1], Named(), HUMAN)
    assert jobs.wait(job.id, LONG)
    before = len(told.jobs)
    jobs.stop(job.id)
    jobs.stop("nobody")
    assert len(told.jobs) == before
    assert jobs.wait("nobody", 0)


def test_a_job_that_ends_before_it_looks_is_finished_after_all(jobs, told):
    began, go_on = threading.Event(), threading.Event()

    def work(_context: Context, _arguments: Named) -> Summary:
        began.set()
        assert go_on.wait(LONG)
        return {}

    job = jobs.submit(operation(work), Named(), HUMAN)
    assert began.wait(LONG)
    jobs.stop(job.id)
    go_on.set()
    assert jobs.wait(job.id, LONG)
    assert told.statuses(job.id) == ["waiting", "running", "stopping", "finished"]


@pytest.mark.parametrize(
    ("error", "status", "in_log"),
    [
        (PairError("no such pair", "Name another."), "failed", "failed"),
        (ZeroDivisionError("by nought"), "failed", "failed"),
        (MemoryError(), "failed", "failed"),
        (SystemExit(3), "failed", "stopped"),
        (Stopped("after 3 of 4"), "stopped", "stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failing_job_is_told_once_and_the_next_one_runs(
    jobs, told, order, session, error, status, in_log
):
    def work(_context: Context, _arguments: Named) -> Summary:
        raise error

    job = jobs.submit(operation(work), Named(), HUMAN)
    after = jobs.submit(order[1], Named(name="after"), HUMAN)
    assert jobs.wait(after.id, LONG)
    ends = [one for one in told.jobs if one.id == job.id and one.is_over]
    assert [one.status for one in ends] == [status]
    assert ends[0].error is (error if status == "failed" else None)
    assert order[0] == ["after"]
    assert session.state.operations[job.id].status == in_log


def test_a_listener_that_raises_harms_no_job(session, order):
    def raising(_job: Job) -> None:
        raise ValueError("a screen that is gone")

    jobs = Jobs(session, raising)
    asked = [jobs.submit(order[1], Named(name=str(number)), HUMAN) for number in range(5)]
    for job in asked:
        assert jobs.wait(job.id, LONG)
    assert order[0] == list("01234")
    assert jobs.close(LONG)


def test_a_listener_may_ask_for_more_and_stop_and_close(session, order):
    ran, named = order
    closed, asked = threading.Event(), []

    def listen(job: Job) -> None:
        if job.status != "finished":
            return
        if job.arguments == Named(name="first"):
            asked.append(jobs.submit(named, Named(name="second"), HUMAN))
        else:
            jobs.stop(job.id)
            assert jobs.close(LONG)
            closed.set()

    jobs = Jobs(session, listen)
    jobs.submit(named, Named(name="first"), HUMAN)
    assert closed.wait(LONG)
    assert ran == ["first", "second"]


def test_closing_stops_what_runs_and_what_waits(session, told, order):
    jobs = Jobs(session, told)
    gate = Gate()
    running = jobs.submit(gate.operation, Named(), HUMAN)
    gate.wait_until_begun()
    waiting = [jobs.submit(order[1], Named(name="never"), HUMAN) for _ in range(3)]
    waiting.append(jobs.submit(order[1], Named(name="never"), HUMAN, background=True))
    assert jobs.close(LONG)
    assert jobs.close(LONG)
    assert [told.last(job.id).status for job in (running, *waiting)] == ["stopped"] * 5
    assert order[0] == []
    assert jobs.current() == []
    with pytest.raises(RuntimeError, match="being closed"):
        jobs.submit(order[1], Named(), HUMAN)
    assert session.state.operations[running.id].status == "stopped"
    assert_as_recorded(session)


def test_closing_does_not_wait_for_ever(session, told):
    jobs = Jobs(session, told)
    began, go_on = threading.Event(), threading.Event()

    def deaf(_context: Context, _arguments: Named) -> Summary:
        began.set()
        assert go_on.wait(LONG)
        return {}

    job = jobs.submit(operation(deaf), Named(), HUMAN)
    assert began.wait(LONG)
    assert not jobs.close(0.02)
    assert told.last(job.id).status == "stopping"
    go_on.set()
    assert jobs.wait(job.id, LONG)
    assert jobs.close(LONG)


def test_no_job_is_lost_or_run_twice_under_many_threads(session: Session, told: Told):
    """Eight threads ask for notes and model work and stop some; every job ends exactly once."""
    jobs = Jobs(session, told)
    ran: Counter[str] = Counter()
    counting = threading.Lock()

    def work(context: Context, arguments: Named) -> Summary:
        with counting:
            ran[arguments.name] += 1
        context.record(NoteWritten(text=arguments.name))
        return {}

    kinds = (operation(work), operation(work, models=False))
    asked: list[Job] = []

    def ask(thread: int) -> None:
        for number in range(15):
            name = f"{thread}-{number}"
            job = jobs.submit(
                kinds[number % 2], Named(name=name), HUMAN, background=number % 3 == 0
            )
            with counting:
                asked.append(job)
            if number % 5 == 0:
                jobs.stop(job.id)
            assert len({one.id for one in jobs.current()}) <= 120

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    for job in asked:
        assert jobs.wait(job.id, LONG)
    assert jobs.close(LONG)

    assert len(asked) == 120
    ends = Counter(job.id for job in told.jobs if job.is_over)
    assert ends == Counter({job.id: 1 for job in asked})
    by_id = {job.id: told.last(job.id) for job in asked}
    assert all(job.is_over for job in by_id.values())
    assert set(ran.values()) <= {1}
    # A stop that comes too late leaves a finished job; no job ends any other way.
    finished = {job.arguments.name for job in by_id.values() if job.status == "finished"}
    stopped = {job.arguments.name for job in by_id.values() if job.status == "stopped"}
    assert finished | stopped == {job.arguments.name for job in asked}
    assert finished <= set(ran)
    assert sorted(note.body.text for note in session.state.notes) == sorted(ran)
    seqs = [event.seq for event in committed(session)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert_as_recorded(session)


def test_the_end_is_the_last_that_is_told_whoever_is_slow(session: Session):
    """A stop on one thread and the end on another: the listener never hears of a job after its end."""
    told: list[str] = []
    in_stopping, ended = threading.Event(), threading.Event()
    gate = Gate()

    def slow(job: Job) -> None:
        if job.status == "stopping":
            in_stopping.set()
            assert not ended.wait(0.05)
        told.append(job.status)
        if job.is_over:
            ended.set()

    jobs = Jobs(session, slow)
    job = jobs.submit(gate.operation, Named(), HUMAN)
    gate.wait_until_begun()
    stopping = threading.Thread(target=jobs.stop, args=(job.id,))
    stopping.start()
    assert in_stopping.wait(LONG)
    gate.opened.set()
    assert jobs.wait(job.id, LONG)
    stopping.join(LONG)
    assert told[-1] in {"stopped", "finished"}
    assert told.count(told[-1]) == 1
    assert jobs.close(LONG)
