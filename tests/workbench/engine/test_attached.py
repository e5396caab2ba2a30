"""A session of an engine on a screen elsewhere: shown from the log, ordered over the socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from adl.errors import AdlError
from tests.processes import HANGS
from tests.workbench.engine.conftest import MEASURE as SETTINGS
from tests.workbench.engine.conftest import served
from workbench.engine import protocol as p
from workbench.engine.agent_request import AuditRequest
from workbench.engine.attached import AttachedSession, screen_name
from workbench.engine.attached_engine import Watching
from workbench.engine.protocol import AgentData, SessionData, StatusData
from workbench.engine.running_engines import (
    RunningEngine,
    UnclearEngine,
    choose_engine,
    running_engines,
)
from workbench.engine.sockets import EngineGone
from workbench.locations import find_locations
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.jobs import Job
from workbench.operations.notes import NOTE, NoteArguments
from workbench.store.events import HUMAN, NoteWritten, SessionClosed
from workbench.store.log import SessionLog

SHORT = MeasureArguments(**SETTINGS)


@dataclass
class Screen:
    """What a screen hears of an attached session."""

    attached: AttachedSession
    heard: SimpleQueue[tuple[str, Any]] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        tell = self.heard.put
        self.attached.listen(
            lambda: tell(("recorded", None)),
            lambda job: tell(("job", job)),
            lambda: tell(("agent", self.attached.agent.status)),
        )
        self.attached.engine.listen(
            lambda: tell(("link", self.attached.engine.link)),
            lambda error: tell(("refused", error)),
        )

    def wait(self, kind: str, which: Callable[[Any], object] = lambda _: True) -> Any:
        while True:
            heard, what = self.heard.get(timeout=HANGS)
            if heard == kind and which(what):
                return what

    def over(self, job: Job) -> Job:
        return self.wait("job", lambda told: told.id == job.id and told.is_over)


@pytest.fixture
def attach(serving) -> Iterator[Callable[..., Any]]:
    @contextmanager
    def attach(wanted: str | None = None) -> Iterator[Screen]:
        with SessionLog.open(serving.engine.log.path) as log:
            attached = AttachedSession.attach(
                serving.path, wanted, find_locations(), lambda path: opened(log, path)
            )
            try:
                yield Screen(attached)
            finally:
                attached.close({})

    return attach


def opened(log: SessionLog, path: Path) -> SessionLog:
    assert path == log.path
    return log


def test_what_is_ordered_is_done_at_the_engine_and_read_in_the_log(attach, serving):
    with attach() as screen:
        attached = screen.attached
        assert attached.session.id == serving.session
        assert attached.has_pair
        job = attached.submit(MEASURE, SHORT)
        assert screen.over(job).status == "finished"
        # Once the end of a job is told, its findings are in the state.
        (measured,) = attached.state.differences.values()
        assert attached.state.operations[job.id].status == "finished"
        assert attached.event(measured.seq).body == measured.body
        assert attached.jobs() == []
        assert attached.session.pair is None


def test_a_detached_screen_stops_nothing_and_finds_all_of_it_again(attach, serving, models):
    models.halt()
    with attach() as screen:
        job = screen.attached.submit(MEASURE, SHORT)
        assert models.came.wait(HANGS)
        screen.attached.close({"current": 4})
    with attach() as again:
        (running,) = again.attached.jobs()
        assert (running.id, running.status, running.arguments) == (job.id, "running", SHORT)
        assert again.attached.state.view == {"current": 4}
        models.go_on()
        assert again.over(running).status == "finished"
        assert again.attached.state.operations[job.id].status == "finished"
    assert not any(isinstance(event.body, SessionClosed) for event in serving.events())
    assert serving.engine.log.verify().ok


def test_a_screen_that_leaves_does_not_take_that_for_the_loss_of_its_engine(attach):
    with attach() as screen:
        screen.attached.close({})
        # The connection is closed by then, and whoever hears of it would ask where to go on.
        assert screen.attached.engine.link.kind == "keys"


def test_an_order_that_was_given_is_sent_before_the_screen_leaves(attach, serving):
    with attach() as screen:
        for number in range(20):
            screen.attached.submit(NOTE, NoteArguments(text=f"note {number}"))
        screen.attached.close({})
        with serving.connect("command"):
            pass
    with attach() as again:
        while again.attached.jobs():
            again.wait("job")
        again.attached.session.catch_up()
        notes = [
            event.body.text for event in serving.events() if isinstance(event.body, NoteWritten)
        ]
    assert notes == [f"note {number}" for number in range(20)]


def test_waiting_jobs_are_moved_and_stopped(attach, models):
    models.halt()
    with attach() as screen:
        attached = screen.attached
        running, first, second, third = (attached.submit(MEASURE, SHORT) for _ in range(4))
        assert models.came.wait(HANGS)
        screen.wait("job", lambda job: job.id == running.id and job.status == "running")

        def order() -> list[str]:
            return [job.id for job in attached.jobs()]

        assert order() == [running.id, first.id, second.id, third.id]
        assert attached.move(second.id, -1)
        assert order() == [running.id, second.id, first.id, third.id]
        assert not attached.move(second.id, -1)
        assert not attached.move(running.id, 1)
        attached.stop(third.id)
        assert screen.over(third).status == "stopped"
        with attach() as other:
            assert [job.id for job in other.attached.jobs()] == [running.id, second.id, first.id]
        models.go_on()
        screen.over(first)
        started = [one for one in attached.state.operations.values() if one.name == MEASURE.name]
        assert [one.id for one in started] == [running.id, second.id, first.id]


def test_a_second_screen_watches_and_gets_the_keys_when_they_are_given(attach):
    with attach() as holder, attach() as watcher:
        assert holder.attached.engine.link.kind == "keys"
        assert watcher.attached.engine.link.kind == "watching"
        for refused in (
            lambda: watcher.attached.submit(NOTE, NoteArguments(text="no")),
            lambda: watcher.attached.rename("no"),
            watcher.attached.agent.person.pause,
            lambda: watcher.attached.session.record(NoteWritten(text="no"), actor=HUMAN),
        ):
            with pytest.raises(Watching, match="you watch this session"):
                refused()
        job = holder.attached.submit(NOTE, NoteArguments(text="yes"))
        for screen in (watcher, holder):
            assert screen.over(job).status == "finished"
        assert watcher.attached.state.seq == holder.attached.state.seq

        assert not watcher.attached.engine.ask_for_keys()
        asked = holder.wait("link", lambda link: link.asked_by)
        assert asked.asked_by == screen_name()
        holder.attached.engine.answer_keys(holder.attached.engine.link.asking, False)
        assert watcher.attached.engine.link.kind == "watching"
        watcher.attached.engine.ask_for_keys()
        holder.wait("link", lambda link: link.asked_by)
        holder.attached.engine.answer_keys(holder.attached.engine.link.asking, True)
        watcher.wait("link", lambda link: link.kind == "keys")
        holder.wait("link", lambda link: link.kind == "watching")
        watcher.over(watcher.attached.submit(NOTE, NoteArguments(text="now")))
        with pytest.raises(Watching):
            holder.attached.submit(NOTE, NoteArguments(text="no"))


def test_two_that_ask_for_the_keys_are_answered_each_by_itself(attach):
    with attach() as holder, attach() as first, attach() as second:
        engine = holder.attached.engine
        first.attached.engine.ask_for_keys()
        one = holder.wait("link", lambda link: link.asking)
        second.attached.engine.ask_for_keys()
        # A round trip: the question came before its answer.
        engine._client.call(p.Status())
        assert engine.link.asking == one.asking
        engine.answer_keys(one.asking, False)
        two = holder.wait("link", lambda link: link.asking not in {0, one.asking})
        second.attached.close({})
        holder.wait("link", lambda link: not link.asking)
        with pytest.raises(AdlError, match="asked for the keys is gone"):
            engine.answer_keys(two.asking, True)
        assert engine.link.kind == "keys"


@pytest.mark.slow
def test_a_session_with_a_long_queue_is_attached_to(attach, models):
    long = "word " * 3000
    with attach() as holder:
        models.halt()
        first = holder.attached.submit(MEASURE, MeasureArguments(n_texts=16))
        assert models.came.wait(HANGS)
        for _ in range(150):
            holder.attached.submit(ASK, AskArguments(prompt=long))
        # Orders are given in turn: with the answer to this one, those before were taken.
        answered = threading.Event()
        holder.attached.engine.order(p.Status(), answered=lambda _answer: answered.set())
        assert answered.wait(HANGS)
        with attach() as other:
            jobs = other.attached.jobs()
            assert len(jobs) >= 150
            assert jobs[0].id == first.id
            models.go_on()
            other.over(first)


def test_the_keys_of_a_screen_that_left_are_the_next_ones(attach):
    with attach() as watcher_after, attach() as watcher:
        watcher_after.attached.close({})
        watcher.wait("link", lambda link: link.holder == "")
        with pytest.raises(Watching, match="nobody has its keys"):
            watcher.attached.submit(NOTE, NoteArguments(text="no"))
        assert watcher.attached.engine.ask_for_keys()
        watcher.wait("link", lambda link: link.kind == "keys")
        watcher.over(watcher.attached.submit(NOTE, NoteArguments(text="yes")))


def test_a_watching_screen_leaves_no_view(attach, serving):
    with attach(), attach() as watcher:
        watcher.attached.close({"current": 3})
    assert all(event.body.kind != "view_saved" for event in serving.events())


def test_what_is_refused_later_is_told(attach):
    with attach() as screen:
        screen.attached.agent.person.pause()
        refused = screen.wait("refused")
        assert "no agent is at work" in str(refused)


def test_a_lost_engine_leaves_what_was_recorded(database, models):
    with SessionLog.open(database) as log:
        with served(database) as serving:
            screen = Screen(
                AttachedSession.attach(serving.path, None, find_locations(), lambda _path: log)
            )
            models.halt()
            job = screen.attached.submit(MEASURE, SHORT)
            assert models.came.wait(HANGS)
            models.go_on()
        attached = screen.attached
        assert screen.wait("link", lambda link: link.kind == "gone").why
        # The last that is told.
        screen.wait("agent")
        assert not attached.jobs()
        with pytest.raises(EngineGone, match="the engine is gone"):
            attached.submit(NOTE, NoteArguments(text="no"))
        with pytest.raises(EngineGone):
            attached.start_agent(AuditRequest("a model"))
        assert attached.state.operations[job.id].status in {"finished", "stopped"}
        attached.close({"current": 5})
        assert log.verify().ok


def test_running_engines_are_found_with_their_sessions(serving):
    (engine,) = running_engines(find_locations())
    assert engine.socket == serving.path
    (session,) = engine.status.sessions
    assert session.id == serving.session


def engine(number: int, *sessions: str) -> RunningEngine:
    told = [
        SessionData(
            id=one,
            name=f"name of {one}",
            has_pair=True,
            busy=0,
            agent=AgentData(),
            screens=0,
            blind=False,
        )
        for one in sessions
    ]
    status = StatusData(
        pid=number,
        program="1",
        database="/d",
        pair="a pair",
        is_loaded=True,
        up_seconds=1,
        idle_seconds=None,
        idle_limit=None,
        clients=(),
        sessions=tuple(told),
    )
    return RunningEngine(Path(f"/run/{number}"), status)


@pytest.mark.parametrize(
    ("engines", "wanted", "chosen"),
    [
        ([engine(1)], None, (Path("/run/1"), None)),
        ([engine(1, "a", "b")], None, (Path("/run/1"), None)),
        ([engine(1), engine(2, "a", "b")], None, (Path("/run/2"), None)),
        ([engine(1, "abc"), engine(2, "bcd")], "bc", (Path("/run/2"), "bcd")),
        ([engine(1, "abc"), engine(2, "bcd")], "name of abc", (Path("/run/1"), "abc")),
        ([engine(1, "abc")], "elsewhere", (Path("/run/1"), "elsewhere")),
    ],
)
def test_what_is_attached_to(engines, wanted, chosen):
    assert choose_engine(engines, wanted) == chosen


@pytest.mark.parametrize(
    ("engines", "wanted", "words"),
    [
        ([], None, "no engine runs"),
        ([engine(1, "a"), engine(2, "b")], None, "there are 2 engines"),
        ([engine(1, "ab"), engine(2, "ac")], "a", "several engines have a session 'a' open"),
        ([engine(1), engine(2)], "a", "no engine has a session 'a' open"),
    ],
)
def test_what_is_not_clear_is_listed(engines, wanted, words):
    with pytest.raises((UnclearEngine, EngineGone), match=words) as refused:
        choose_engine(engines, wanted)
    assert isinstance(refused.value, AdlError)
    assert all(f"process {one.status.pid}" in refused.value.hint for one in engines)
