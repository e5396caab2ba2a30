"""The colours that were chosen are there at the next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench.tui.test_flows import on, quit_it
from tests.workbench.tui.waiting import until
from workbench.tui.remembered import FILE, remember_theme, remembered_theme
from workbench.tui.screens.start import StartScreen


@pytest.mark.slow
async def test_a_theme_is_kept_between_starts(workbench, database: Path):
    app = workbench(pair=None)
    async with app.run_test() as pilot:
        await until(pilot, lambda: on(app, StartScreen), "the start screen")
        first = app.theme
        other = next(name for name in app.available_themes if name != first)
        app.theme = other
        await until(pilot, database.with_name(FILE).exists, "the file")
        await quit_it(pilot)
    again = workbench(pair=None)
    async with again.run_test() as pilot:
        await until(pilot, lambda: on(again, StartScreen), "the start screen")
        assert again.theme == other
        await quit_it(pilot)


def test_what_is_no_theme_is_not_taken(tmp_path: Path):
    config = tmp_path / "a" / "config.toml"
    assert remembered_theme(config, {"nord"}) is None
    remember_theme(config, "nord")
    assert remembered_theme(config, {"nord"}) == "nord"
    assert remembered_theme(config, {"other"}) is None
    config.with_name(FILE).write_bytes(b"\xff\xfe")
    assert remembered_theme(config, {"nord"}) is None
    # A folder in its place is no reason not to start, nor not to go on.
    config.with_name(FILE).unlink()
    config.with_name(FILE).mkdir()
    remember_theme(config, "nord")
    assert remembered_theme(config, {"nord"}) is None
