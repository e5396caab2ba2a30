"""The audit screen over a session of an engine: detaching, the keys, and an engine that is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workbench.agent.test_blinding import NAMES, NamedPair
from tests.workbench.engine.conftest import Models, Serving, models, served
from tests.workbench.tui.conftest import PLANTED
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text, until, until_asked
from workbench.engine.attached import AttachedSession
from workbench.engine.live_session import LiveSession
from workbench.locations import find_locations
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.store.events import NoteWritten, SessionClosed
from workbench.store.log import SessionLog
from workbench.tui.app import WorkbenchApp
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.engine_gone import EngineGone
from workbench.tui.messages import AttachSession
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.startup import Startup
from workbench.tui.widgets.menu import Menu

__all__ = ["models"]  # the fixture

SIZE = (160, 48)
SHORT = MeasureArguments(n_texts=16)


@pytest.fixture
def serving(database: Path, models: Models) -> Iterator[Serving]:
    with served(database) as serving:
        yield serving
        models.go_on()


@pytest.fixture
def screen(database: Path) -> Iterator[Callable[[Serving], WorkbenchApp]]:
    """Makes an app that attaches."""
    made: list[WorkbenchApp] = []

    def make(serving: Serving) -> WorkbenchApp:
        attach = AttachSession(serving.path)
        made.append(WorkbenchApp(Startup(database=database, attach=attach)))
        return made[-1]

    yield make
    for app in made:
        if app.opened is not None:
            app.opened.close({})


@pytest.fixture
def other(database: Path, serving: Serving) -> Iterator[AttachedSession]:
    """Another screen, which attached first."""
    with SessionLog.open(database) as log:
        attached = AttachedSession.attach(serving.path, None, find_locations(), lambda _path: log)
        yield attached
        attached.close({})


def told(app: WorkbenchApp, words: str) -> bool:
    return any(words in notification.message for notification in app._notifications)


@pytest.mark.slow
async def test_leaving_detaches_and_the_next_screen_is_as_it_was_left(screen, serving, models):
    app = screen(serving)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        models.halt()
        app.screen.order(MEASURE, SHORT)
        await until(pilot, models.came.is_set, "the job")
        await pilot.press("4")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")
    assert app.return_value == 0
    assert [job.operation.name for job in serving.engine._held.find(serving.session).live.jobs()]
    again = screen(serving)
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: on_audit(again), "the audit screen")
        assert again.screen.view()["current"] == 3
        await until(
            pilot, lambda: "measure_difference" in screen_text(again), "the job on the top line"
        )
        models.go_on()
        await until(pilot, lambda: again.opened.state.differences, "the difference")
        await until(pilot, lambda: not again.screen._jobs, "the end of the job")
    assert not any(isinstance(event.body, SessionClosed) for event in serving.events())


@pytest.mark.slow
async def test_a_screen_watches_until_it_gets_the_keys(screen, serving, other):
    app = screen(serving)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await until(pilot, lambda: " watching " in screen_text(app), "that it watches")
        await pilot.press("a")
        await until(pilot, lambda: told(app, "you watch this session"), "the refusal")
        assert not other.jobs()
        await pilot.press("ctrl+g")
        await until(pilot, lambda: other.engine.link.asked_by, "the question")
        other.engine.answer_keys(other.engine.link.asking, True)
        await until(pilot, lambda: app.opened.engine.link.kind == "keys", "the keys")
        await until(pilot, lambda: " watching " not in screen_text(app), "that it has them")
        # Now it is asked itself.
        assert not other.engine.ask_for_keys()
        await until_asked(pilot, Confirm, "the question")
        assert app.screen.is_unasked
        await pilot.press("y")
        await until(pilot, lambda: other.engine.link.kind == "keys", "the keys")
        await until(pilot, lambda: " watching " in screen_text(app), "that it watches again")


@pytest.mark.slow
async def test_an_engine_that_ends_leaves_the_screen_to_look_or_go_on(
    screen, database, models, planted_models
):
    with served(database, pair=PLANTED) as serving:
        app = screen(serving)
        session = serving.session
        test = app.run_test(size=SIZE)
        pilot = await test.__aenter__()
        await until(pilot, lambda: on_audit(app), "the audit screen")
        serving.engine.log.append(session, NoteWritten(text="the last words"))
        serving.engine.end()
    try:
        await until_asked(pilot, EngineGone, "that the engine is gone")
        assert app.screen.is_unasked
        await pilot.press("n")
        await until(pilot, lambda: " engine gone " in screen_text(app), "that it is gone")
        app.screen.order(MEASURE, SHORT)
        await until(pilot, lambda: told(app, "the engine is gone:"), "the refusal")
        await pilot.press("6")
        await until(pilot, lambda: "the last words" in screen_text(app), "what was recorded")
        await pilot.press("ctrl+g")
        await until_asked(pilot, EngineGone, "the question")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.opened, LiveSession) and on_audit(app), "it here")
        assert app.opened.session.id == session
        await until(pilot, lambda: app.opened.pair is not None, "the pair")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")
    finally:
        await test.__aexit__(None, None, None)


@pytest.mark.slow
async def test_a_session_of_an_engine_is_attached_to_from_the_list(screen, serving, database):
    app = WorkbenchApp(Startup(database=database, session=serving.session))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        assert isinstance(app.opened, AttachedSession)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")


@pytest.mark.slow
async def test_an_engine_is_stopped_only_on_purpose(screen, serving):
    app = screen(serving)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        app.action_stop_engine()
        await until_asked(pilot, Confirm, "the question")
        await pilot.press("n")
        await until(pilot, lambda: on_audit(app), "the audit screen again")
        assert app.opened.engine.link.kind == "keys"
        app.action_stop_engine()
        await until_asked(pilot, Confirm, "the question")
        await pilot.press("y")
        await until(pilot, lambda: app.opened is None, "the end of the session")
        await until(pilot, lambda: serving.events()[-1].body.kind == "session_closed", "its end")


@pytest.mark.slow
async def test_the_demo_of_an_engine_tells_its_name_on_no_screen_until_a_key_reveals_it(
    screen, database, models, monkeypatch
):
    monkeypatch.setattr("workbench.engine.shared_pair.load_models", lambda *_: NamedPair())
    # What it loads, the engine's `serve --demo`, and `adl-workbench attach`.
    with served(database, is_demo=True, blind=True) as serving:
        app = screen(serving)

        def names_shown() -> list[str]:
            told = f"{screen_text(app)} {app.title}".lower()
            return [name for name in ("cake_bake", *NAMES) if name.lower() in told]

        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: on_audit(app) and app.opened.has_pair, "the pair")
            for key in ("1", "6", "7", "f1", "escape"):
                await pilot.press(key)
                await pilot.pause()
                assert not names_shown(), key
            # The list of sessions, where the engine still has it open, and the start screen.
            await pilot.press("ctrl+r")
            await until(pilot, lambda: isinstance(app.screen, SessionsScreen), "the sessions")
            await until(pilot, lambda: "a session" in screen_text(app), "the session")
            assert not names_shown()
            await pilot.press("escape")
            await until(pilot, lambda: "demo organism" in screen_text(app), "the engine")
            listed = app.screen.query_one(Menu)
            assert listed.entries[listed.cursor].key.startswith("engine")
            # The organisms that come with the program are listed there, whichever is the demo.
            assert names_shown() == ["cake_bake", "cake_bake"]
            assert [engine.status.pair for engine in app.opener.engines()] == ["demo organism"]
            await pilot.press("enter")
            await until(pilot, lambda: on_audit(app) and app.opened.has_pair, "the pair")
            await pilot.press("1", "f10")
            await until_asked(pilot, Confirm, "the question")
            await pilot.press("y")
            await until(pilot, names_shown, "the names")
