"""The palette offers what applies now, with its key, and does it."""

from __future__ import annotations

import pytest

from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import screen_text, until
from workbench.tui.commands import WorkbenchCommands
from workbench.tui.screens.sessions import SessionsScreen


async def offered(app) -> dict[str, str]:
    provider = WorkbenchCommands(app.screen)
    return {str(hit.text): str(hit.help) async for hit in provider.discover()}


@pytest.mark.slow
async def test_everything_of_the_audit_screen_is_offered_with_its_key(workbench):
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
        await until(pilot, lambda: not app.screen._stoppable, "the end on the screen")
        commands = await offered(app)
        for title, key in {
            "Note": "^n",
            "Rename": "f2",
            "Sessions": "^r",
            "Audit": "a",
            "Zoom": "z",
            "Readings": "2",
            "Quit": "^q",
        }.items():
            assert commands[title].split("  ")[0] == key, title
        assert "Stop" not in commands
        system = {command.title for command in app.get_system_commands(app.screen)}
        assert system == {
            "Theme",
            "Write a picture of the screen",
            "Copy the session's id",
            "Read the report",
            "Write a report",
            "Coverage",
        }
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_command_is_found_by_its_words_and_done(workbench):
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await pilot.press("ctrl+p", *"sessions")
        await until(pilot, lambda: "Close the session" in screen_text(app), "the command")
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen) is SessionsScreen, "the sessions")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_picture_of_the_screen_is_written_and_never_over_a_file(workbench, tmp_path):
    app = workbench()
    path = tmp_path / "screen.svg"
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        for _ in range(2):
            app.action_picture()
            await until(pilot, lambda: "Write a picture" in screen_text(app), "the question")
            await pilot.press("ctrl+u", *str(path), "enter")
            await until(pilot, path.exists, "the file")
            written = path.read_text()
        assert written.startswith("<svg")
        assert "Timeline" in written
        await until(
            pilot,
            lambda: any(one.title == "Not written" for one in app._notifications),
            "the refusal",
        )
        assert path.read_text() == written
        await quit_it(pilot)


@pytest.mark.slow
async def test_the_id_is_copied(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        app.action_copy_id()
        assert app.clipboard == app.opened.session.id
        await quit_it(pilot)
