"""Panes and screens that are gone, or going, may still be called back."""

from __future__ import annotations

import pytest

from tests.workbench.tui.conftest import PaneApp
from workbench.tui import keys
from workbench.tui.screens.panes import PANES


@pytest.mark.parametrize("pane", PANES)
async def test_a_pane_that_goes_may_be_asked_for_its_keys(pane: type):
    app = PaneApp(pane)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        # A pane that is taken down loses what is in it before itself.
        await app.pane.remove_children()
        for binding in keys.bindings(pane.__name__.removesuffix("Pane").lower()):
            action, _, given = binding.action.partition("(")
            parameters = tuple(part.strip("'") for part in given.rstrip(")").split(",") if part)
            app.pane.check_action(action, parameters)
