"""A key stops what runs, and the screen tells so before it has ended."""

from __future__ import annotations

import threading

import pytest
from textual.widgets import Static

from tests.processes import HANGS
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import until
from workbench.operations.generation import ASK, AskArguments


@pytest.mark.parametrize("key", ["x", "f8"])
async def test_stopping_is_shown_while_the_model_is_still_at_work(workbench, monkeypatch, key):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot,
            lambda: on_audit(app) and app.opened.pair is not None and not app.opened.jobs(),
            "the pair",
        )
        pair = app.opened.pair
        at_work, released, generate = threading.Event(), threading.Event(), pair.generate

        def in_one_long_step(*given, **named):
            at_work.set()
            assert released.wait(HANGS)
            return generate(*given, **named)

        monkeypatch.setattr(pair, "generate", in_one_long_step)
        job = app.opened.submit(ASK, AskArguments(prompt="A long prompt", max_new_tokens=4))
        try:
            await until(pilot, at_work.is_set, "the work")
            await pilot.press(key)
            running = app.screen.query_one("#running", Static)
            await until(pilot, lambda: "ask stopping" in str(running.render()), "the word of it")
            assert [each.id for each in app.opened.jobs()] == [job.id]
        finally:
            released.set()
        await until(pilot, lambda: not app.opened.jobs(), "the end")
        assert app.opened.state.operations[job.id].status == "stopped"
