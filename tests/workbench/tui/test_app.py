"""The whole app on the planted pair, driven by keys."""

from __future__ import annotations

import pytest

from tests.workbench.tui.waiting import until
from workbench.store.log import SessionLog
from workbench.tui.screens.audit import AuditScreen


def on_audit(app) -> bool:
    return isinstance(app.screen, AuditScreen) and app.screen.is_mounted


@pytest.mark.slow
async def test_a_pair_is_loaded_prepared_and_left_in_order(workbench, database):
    app = workbench(prepare=True)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.state.readings, "a reading")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the jobs")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")
    with SessionLog.open(database, read_only=True) as log:
        (overview,) = log.sessions()
        assert overview.outcome == "completed"
        assert log.verify().ok
    assert app.return_value == 0
