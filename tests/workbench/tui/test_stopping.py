"""A key stops what runs, and the screen tells so before it has ended."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from textual.widgets import Static

from tests.processes import HANGS
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import until
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.pair import PairArguments
from workbench.tui.app import WorkbenchApp
from workbench.tui.startup import Startup


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_x_stops_the_real_pair_within_a_prompt_of_5000_tokens(
    workbench_home, default_base, capsys
):
    from torch.nn.modules.module import register_module_forward_pre_hook

    begun: list[float] = []

    def count(module, _given) -> None:
        if type(module).__name__ == "LlamaDecoderLayer":
            begun.append(time.monotonic())

    pair = PairArguments(organism="cake_bake")
    app = WorkbenchApp(Startup(workbench_home / "sessions.db", pair=pair, prepare=False))
    async with app.run_test(size=(120, 40)) as pilot:
        loaded = lambda: on_audit(app) and app.opened.pair is not None and not app.opened.jobs()  # noqa: E731
        await until(pilot, loaded, "the pair", within=900)
        layers = app.opened.pair.provenance.n_layers
        counting = register_module_forward_pre_hook(count)
        try:
            long = AskArguments(prompt=" word" * 5_000, max_new_tokens=4)
            job = app.opened.submit(ASK, long)
            await until(pilot, lambda: len(begun) > 2, "the pass over the prompt", within=900)
            pressed = time.monotonic()
            await pilot.press("x")
            await until(pilot, lambda: not app.opened.jobs(), "the end", within=900)
            over = time.monotonic()
        finally:
            counting.remove()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end", within=900)
        assert app.opened.state.operations[job.id].status == "stopped"
        # Not even the first model's pass over the prompt came to its end.
        assert len(begun) < layers
        assert not [text for text in app.opened.state.texts.values() if text.text]
    with capsys.disabled():
        sys.stdout.write(
            f"\nx: stopped after {over - pressed:.2f} s, of a layer of "
            f"{begun[2] - begun[1]:.2f} s and {layers} layers\n"
        )
