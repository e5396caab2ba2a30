"""One dialog at a time, answered once, however fast its keys come."""

from __future__ import annotations

import importlib
import pkgutil
import threading

import pytest
from textual._context import active_message_pump
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from tests.processes import HANGS
from tests.workbench.tui.waiting import until
from workbench import tui
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.engine_gone import EngineGone
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.widgets.dialog import Dialog


async def the_audit(pilot) -> None:
    """Wait for the screen of the audit."""
    app = pilot.app
    await until(
        pilot, lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted, "the audit"
    )


def all_below(kind: type) -> set[type]:
    return {kind, *(each for below in kind.__subclasses__() for each in all_below(below))}


def test_every_dialog_of_ours_is_one():
    for module in pkgutil.walk_packages(tui.__path__, f"{tui.__name__}."):
        importlib.import_module(module.name)
    ours = {each for each in all_below(ModalScreen) if each.__module__.startswith("workbench.")}
    assert len(ours) > 10
    assert ours <= all_below(Dialog)


def dialogs(app) -> list[Dialog]:
    return [screen for screen in app.screen_stack if isinstance(screen, Dialog)]


@pytest.mark.slow
async def test_an_answer_given_twice_is_taken_once(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        answers: list[str | None] = []
        dialog = AskLine("Once")
        await app.push_screen(dialog, answers.append)
        under = app.screen_stack[-2]
        dialog.dismiss("first")
        dialog.dismiss("second")
        await pilot.pause()
        assert answers == ["first"]
        assert app.screen is under


@pytest.mark.slow
async def test_a_dialog_under_another_does_not_close_that(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        lower, upper = AskLine("Lower"), AskLine("Upper")
        await the_audit(pilot)
        await app.push_screen(lower)
        lower.app.push_screen(upper)
        await pilot.pause()
        assert app.screen is upper
        lower.dismiss("too late")
        await pilot.pause()
        assert app.screen is upper


@pytest.mark.slow
async def test_what_lies_under_a_dialog_opens_no_other(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        under = app.screen
        for _ in range(2):
            # As two presses of the key that are both on their way before the first is handled.
            under.call_next(under.action_note)
        await pilot.pause()
        await pilot.pause()
        assert len(dialogs(app)) == 1
        app.screen.query_one(Input).value = "kept"
        await pilot.press("enter", "u", "escape")
        await pilot.pause()
        assert not dialogs(app)
        assert app.is_running


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [["ctrl+n", "ctrl+n", "enter", "u", "escape"], ["ctrl+n", "escape", "escape"]],
)
async def test_bursts_of_keys_leave_the_program_running(workbench, keys):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        for key in keys:
            app.simulate_key(key)
        await pilot.pause()
        await pilot.press("escape")
        assert app.is_running
        assert len(dialogs(app)) <= 1


@pytest.mark.slow
async def test_a_dialog_that_is_not_opened_counts_as_left(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        under, answers = app.screen, []
        await app.push_screen(AskLine("First"))
        # As from a handler of what lies under the first.
        active_message_pump.set(under)
        app.push_screen(AskLine("Second"), answers.append)
        assert answers == [None]
        assert len(dialogs(app)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dialog", "answer"),
    [
        (lambda: Confirm(Content("Run code of the checkpoint?"), "Run it"), "y"),
        (lambda: EngineGone("it was killed"), "e"),
        (lambda: EngineGone("it was killed"), "a"),
    ],
)
async def test_what_is_typed_when_a_dialog_comes_up_by_itself_does_not_answer_it(
    workbench, monkeypatch, dialog, answer
):
    # Nobody is quick enough to have read it.
    monkeypatch.setattr("workbench.tui.widgets.dialog.UNTOUCHED", HANGS)
    app, asking = workbench(), dialog()
    asking.is_unasked = True
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        answers: list[object] = []
        await pilot.press("4", "enter", "w")
        # A thread found something that a person has to be asked.
        threading.Thread(
            target=app.call_from_thread, args=(app.push_screen, asking, answers.append)
        ).start()
        await until(pilot, lambda: app.screen is asking, "the dialog")
        await pilot.press(*f"h{answer} e{answer}", "enter", "escape")
        assert app.screen is asking
        assert not answers
        assert not asking.query_one(".answers").visible
        # As after a while without a key.
        asking._listen()
        await pilot.pause()
        assert asking.query_one(".answers").visible
        await pilot.press(answer)
        await until(pilot, lambda: answers, "the answer")


@pytest.mark.slow
async def test_a_dialog_that_comes_up_by_itself_listens_once_nobody_types(workbench):
    app, asking = workbench(), EngineGone("it was killed")
    asking.is_unasked = True
    async with app.run_test(size=(120, 40)) as pilot:
        await the_audit(pilot)
        answers: list[object] = []
        app.push_screen(asking, answers.append)
        await until(pilot, lambda: asking._listens, "that it listens")
        await pilot.press("n")
        assert answers == [None]
