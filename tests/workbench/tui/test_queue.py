"""The queue shows the jobs that run and wait, and its keys reorder and remove them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from textual.app import App

from tests.processes import HANGS
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.every_screen import CATALOGUE, ShownApp
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text
from workbench.operations.jobs import Jobs
from workbench.operations.running import Arguments, Operation
from workbench.store.events import HUMAN, Actor
from workbench.tui.dialogs.queue import QueueDialog
from workbench.tui.widgets.rows import Rows

LONG = HANGS
AGENT = Actor(kind="agent", name="a model")


class Named(Arguments):
    """Its name."""

    name: str = ""


class Session:
    """Jobs of a session whose first one runs until it is let through."""

    def __init__(self, session) -> None:
        self.through, self.began = threading.Event(), threading.Event()
        self.ran: list[str] = []
        self._jobs = Jobs(session, lambda _job: None)
        self.jobs, self.move, self.stop = self._jobs.current, self._jobs.move, self._jobs.stop
        self.close = self._jobs.close
        hold = Operation("hold", "Hold everything up", Named, self._hold)
        work = Operation("work", "Work", Named, self._work)
        self._jobs.submit(hold, Named(), HUMAN)
        assert self.began.wait(LONG)
        self.waiting = [
            self._jobs.submit(work, Named(name=name), actor)
            for name, actor in (("one", HUMAN), ("two", AGENT), ("three", HUMAN))
        ]

    def _hold(self, context, _arguments):
        context.progress("read [/b] texts", 43, 100)
        self.began.set()
        while not self.through.wait(0.005):
            context.check_stop()
        return {}

    def _work(self, _context, arguments):
        self.ran.append(arguments.name)
        return {}


@pytest.fixture
def at_work(tmp_path) -> Iterator[Session]:
    from adl.artifacts import ArrayCache
    from workbench.operations.running import Session as Recording
    from workbench.store.log import SessionLog

    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("queue", {}, HUMAN)
        opened = Session(Recording(log, session_id, ArrayCache(tmp_path / "arrays")))
        yield opened
        assert opened.close(LONG)


class QueueApp(App[None]):
    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, opened: Session) -> None:
        super().__init__()
        self.opened = opened

    def on_mount(self) -> None:
        self.push_screen(QueueDialog(self.opened))


def names(opened: Session) -> list[str]:
    return [job.arguments.name for job in opened.jobs() if job.status == "waiting"]


async def test_what_runs_and_waits_is_listed_with_its_settings(at_work):
    app = QueueApp(at_work)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        said = screen_text(app)
        assert "Hold everything up – read [/b] texts 43%" in said
        assert " 1. Work – waiting" in said
        assert " 2. Work, for the agent – waiting" in said
        await pilot.press("down", "down")
        await pilot.pause()
        assert "name two" in screen_text(app)


async def test_settings_are_written_as_people_write_them():
    app = ShownApp(CATALOGUE["QueueDialog"])
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        said = screen_text(app)
        assert "prompts How was your day?; A sentence" in said
        assert "[" not in said.partition("prompts")[2]


async def test_keys_move_and_remove_what_waits_and_the_cursor_stays_on_its_job(at_work):
    app = QueueApp(at_work)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down", "down", "K", "K")
        assert names(at_work) == ["three", "one", "two"]
        assert app.screen.query_one(Rows).cursor == 1
        await pilot.press("K")
        assert any("is the first of those that wait" in one.message for one in app._notifications)
        await pilot.press("shift+down")
        assert names(at_work) == ["one", "three", "two"]
        await pilot.press("down", "x")
        assert names(at_work) == ["one", "three"]
        await pilot.press("home", "J")
        assert any("runs already" in one.message for one in app._notifications)
        at_work.through.set()
        for job in at_work.waiting:
            at_work._jobs.wait(job.id, LONG)
        assert at_work.ran == ["one", "three"]
        app.screen._look()
        await pilot.press("x", "K", "J")
        await pilot.pause()
        assert "Nothing runs and nothing waits." in screen_text(app)
        await pilot.press("escape")
        assert not isinstance(app.screen, QueueDialog)


@pytest.mark.slow
async def test_f7_opens_the_queue_of_the_session(workbench):
    from tests.workbench.tui.waiting import until

    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        loaded = lambda: on_audit(app) and app.opened.pair is not None  # noqa: E731
        await until(pilot, loaded, "the pair")
        await pilot.press("f7")
        assert isinstance(app.screen, QueueDialog)
