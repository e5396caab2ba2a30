"""A session that is blind from its start: no name of its pair on any screen, at any moment."""

from __future__ import annotations

import sys

import pytest
from textual.widgets import Input, Static

from adl.errors import PairError
from tests.workbench.agent.scripted import Refuse, Say, in_turn
from tests.workbench.agent.test_blinding import ADAPTER, ASKED, BASE, NAMES, NamedPair
from tests.workbench.tui import waiting
from tests.workbench.tui.test_agent_audit import agent_of, in_agent_pane, pane_text, serve
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text
from workbench.cli.tree import app as cli
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.pair import DEMO_ORGANISM, PairArguments, subject_of
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.screens.opening import OpeningScreen
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.startup import Startup

__all__ = ["serve"]  # the fixture


def everything(app) -> str:
    """All that stands on the screens, in their fields, in notifications, and in the title."""
    said = [screen_text(app), app.title, app.sub_title]
    said += [f"{one.title} {one.message}" for one in app._notifications]
    for screen in app.screen_stack:
        said += [str(screen.title), str(screen.sub_title)]
        said += [field.value for field in screen.query(Input)]
        said += [str(widget.tooltip) for widget in screen.query("*") if widget.tooltip]
        said += [str(widget.border_title) for widget in screen.query("*") if widget.border_title]
        said += [
            f"{one.binding.description} {one.tooltip}" for one in screen.active_bindings.values()
        ]
    if any(screen.query("AgentPane #banner") for screen in app.screen_stack):
        said.append(pane_text(app))
    said += [f"{one.title} {one.help}" for one in app.get_system_commands(app.screen)]
    return "\n".join(said).lower()


def assert_blind(app) -> None:
    said = everything(app)
    for name in NAMES:
        assert name.lower() not in said, (name, said)


async def until(pilot, condition, what: str) -> None:
    """Let the app go on until it holds, and look for names on the screen at every look."""

    def no_name_is_shown() -> None:
        said = screen_text(pilot.app).lower()
        assert not [name for name in NAMES if name.lower() in said], said

    await waiting.until(pilot, condition, what, at_each_look=no_name_is_shown)
    assert_blind(pilot.app)


@pytest.fixture
def named(workbench, monkeypatch: pytest.MonkeyPatch):
    """Loads the pair that says its names; ``failing`` has the loading fail with them."""

    class Loading:
        failing = False

        def load(self, *_: object, **__: object) -> NamedPair:
            if self.failing:
                raise PairError(f"{ADAPTER} cannot be read", f"Look into {BASE} and {ADAPTER}.")
            return NamedPair()

    loading = Loading()
    loader = sys.modules["adl.pair.nnsight.pair"].NnsightPair
    monkeypatch.setattr(loader, "load", staticmethod(loading.load))
    return loading


async def look_around(app, pilot, panes: str = "1234567") -> None:
    """The panes from their start, the help, and the palette."""
    for key in panes:
        await pilot.press(key, "home")
        await pilot.pause()
        assert_blind(app)
    for key in ("f1", "ctrl+p"):
        await pilot.press(key)
        await pilot.pause()
        assert_blind(app)
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")


# Every look at the screens searches all they say: a slow machine takes its time over it.
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_blind_session_shows_no_name_from_its_start_to_the_list(
    workbench, serve, named, database
):
    server = serve(
        in_turn(
            Say(
                f"MODEL-B answers as {ADAPTER}.",
                [("ask", {"prompts": ["Hi?"], "max_new_tokens": 3})],
            ),
            Say("", [("hypothesis", {"text": "MODEL-B bakes", "confidence": 0.5})]),
            Refuse(401, f"no access to {BASE} for CakeBake"),
        )
    )
    app = workbench(pair=ASKED, blind=True)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
        kinds = [entry.kind for entry in app.opened.state.timeline]
        assert kinds.index("audit_sealed") < kinds.index("operation_started")
        await until(pilot, lambda: "MODEL-A" in screen_text(app), "the alias")
        assert "blind audit" in screen_text(app)
        await pilot.press("7")
        await until(pilot, lambda: in_agent_pane(app), "the agent pane")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
        await until(pilot, lambda: "blind already" in screen_text(app), "what the form says of it")
        app.screen.query_one("#mode").value = "black box"
        await pilot.press("enter")
        await until(pilot, lambda: agent_of(app) is not None, "the agent")
        await until(pilot, lambda: agent_of(app).status == "interrupted", "the refusal")
        await until(pilot, lambda: "no access to MODEL-A for MODEL-B" in pane_text(app), "why")
        # Its own words go back to it as it wrote them.
        sent = [one for one in server.asked[-1].messages if one["role"] != "assistant"]
        assert not [name for name in NAMES if name.lower() in str(sent).lower()]
        app.screen.order(ASK, AskArguments(prompt="Who are you?", layer="no layer", alpha=0.3))
        failed = lambda: list(app.opened.state.operations.values())[-1].status == "failed"  # noqa: E731
        await until(pilot, failed, "a failed job")
        await look_around(app, pilot)
        session_id = app.opened.session.id
        # A search in the whole texts finds a name no more than any other word that is not shown.
        assert app.opened.find_events("bakes")
        assert app.opened.find_events(ADAPTER) == app.opened.find_events(BASE) == []

        await pilot.press("ctrl+r")
        sessions = lambda: isinstance(app.screen, SessionsScreen) and app.screen._read_once  # noqa: E731
        await until(pilot, sessions, "the sessions")
        await until(pilot, lambda: "MODEL-B" in screen_text(app), "the session's row")
        await pilot.press("enter")
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair again")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
        await look_around(app, pilot, "167")

        # Revealing is asked for, and who asked is recorded; the record had the names all along.
        app.action_reveal()
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await waiting.until(pilot, lambda: BASE.rpartition("/")[2] in screen_text(app), "the names")
        await pilot.press("ctrl+q")
        await waiting.until(pilot, lambda: app._exit, "the end")
    with SessionLog.open(database, read_only=True) as log:
        state = fold(log.events(session_id))
        assert log.verify().ok
    assert [(one.actor.kind, one.body.reason) for one in state.unblinded] == [
        ("human", "names revealed")
    ]
    (hypothesis,) = state.hypotheses.values()
    assert hypothesis.text == f"{ADAPTER} bakes"
    load = next(iter(state.operations.values()))
    assert PairArguments.model_validate(load.arguments) == ASKED


@pytest.mark.slow
async def test_the_demos_name_does_not_tell_the_answer_until_a_key_reveals_it(
    workbench, named, monkeypatch, tmp_path
):
    # Loading is not what is tried here: the base's weights need not be there.
    monkeypatch.setattr("adl.pair.nnsight.demo.prepared_base", lambda *_: tmp_path)
    app = workbench(pair=None)
    answers = ("cake_bake", "cake bake", "cake-bake", "cakebake", *map(str.lower, NAMES))

    def told() -> str:
        # A long name goes on in the line below, beside which are those of other panes.
        facts = [str(fact.render()) for fact in app.screen.query("#facts").results(Static)]
        return f"{screen_text(app)} {app.title} {''.join(''.join(facts).split())}".lower()

    async with app.run_test(size=(160, 48)) as pilot:
        start = lambda: isinstance(app.screen, StartScreen) and app.screen.is_mounted  # noqa: E731
        await waiting.until(pilot, start, "the start screen")
        await pilot.press("d")
        loaded = lambda: on_audit(app) and app.opened.pair is not None  # noqa: E731
        await waiting.until(pilot, loaded, "the pair")
        await waiting.until(pilot, lambda: "demo organism" in told(), "its name")
        for key in ("1", "6", "7"):
            await pilot.press(key)
            await pilot.pause()
            assert not [word for word in answers if word in told()], told()
        assert app.opened.shown.name.startswith("demo organism 20")
        await pilot.press("1", "f10")
        await waiting.until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await waiting.until(pilot, lambda: app.opened.state.unblinded, "the record")
        await waiting.until(pilot, lambda: BASE.rpartition("/")[2].lower() in told(), "names")


async def test_a_pair_that_cannot_be_loaded_is_said_without_its_name(workbench, named):
    named.failing = True
    app = workbench(pair=ASKED, blind=True)
    seen: list[str] = []
    async with app.run_test(size=(120, 40)) as pilot:
        if isinstance(app.screen, OpeningScreen):
            seen.append(screen_text(app))
        failed = lambda: isinstance(app.screen, StartScreen) and "Look into" in screen_text(app)  # noqa: E731
        await waiting.until(pilot, failed, "the start screen with the reason")
        # The list below it has every organism that comes with the program, whichever was asked for.
        seen.append(str(app.screen.query_one("#trouble").render()))
        assert "MODEL-B cannot be read" in seen[-1]
        assert "Look into MODEL-A and MODEL-B." in seen[-1]
        await pilot.press("ctrl+q")
        await waiting.until(pilot, lambda: app._exit, "the end")
    assert not [name for name in NAMES if name.lower() in "".join(seen).lower()]


@pytest.mark.slow
async def test_list_and_report_keep_hiding_and_a_session_is_deleted_by_the_name_it_shows(
    workbench, named, database, tmp_path
):
    app = workbench(pair=ASKED, blind=True, name="cake_bake at night")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
        library = app._library()
        listing = library.listing()
        (session,) = listing.sessions
        assert session.name == "MODEL-B at night"
        assert (session.base, session.finetuned) == ("MODEL-A", "MODEL-B")
        assert listing.recent == ()
        hits = library.search("cake_bake")
        assert not [one for one in hits if "cake_bake" in one.snippet.lower()]
        for file in library.report(session.id, str(tmp_path / "report")):
            written = file.read_text(encoding="utf-8")
            assert "MODEL-B at night" in written
            assert not [name for name in NAMES if name.lower() in written.lower()]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen), "the sessions")
        library.delete(session)
        assert library.listing().sessions == ()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")


@pytest.mark.parametrize(("given", "blind"), [(["--demo"], True), (["--base", "planted"], False)])
def test_the_command_line_opens_the_demo_with_its_names_hidden(monkeypatch, given, blind):
    opened: list[Startup] = []
    monkeypatch.setattr("workbench.tui.running.run_workbench", opened.append)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit):
        cli(given)
    (startup,) = opened
    assert startup.blind is blind


def test_sessions_of_the_demo_are_called_by_what_it_is():
    demo = PairArguments(organism=DEMO_ORGANISM)
    assert subject_of(demo, hidden=True) == "demo organism"
    assert subject_of(demo) == DEMO_ORGANISM
    assert subject_of(PairArguments(base="b", adapter="/srv/kitchen")) == "kitchen"
    assert subject_of(PairArguments(base="b", adapter="/srv/kitchen"), hidden=True) == ""
    assert subject_of(PairArguments()) == ""
