"""The pair pane says what of the sides does not match."""

from __future__ import annotations

from dataclasses import replace

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import sample_state
from tests.workbench.tui.waiting import screen_text
from workbench.tui.panes.pair.pane import PairPane


async def test_mismatches_and_an_adapter_on_another_checkpoint_are_said():
    state = sample_state()
    pair = dict(state.pair or {})
    pair["finetuned"] = {**pair["finetuned"], "adapter": "me/cakes", "checkpoint": "org/chat"}
    pair["mismatches"] = ["The vocabularies differ: \x1b[2J[red]5 tokens."]
    app = PaneApp(PairPane, replace(state, pair=pair))
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.pause()
        said = screen_text(app)
    assert "me/cakes" in said
    assert "org/chat" in said
    # Text of files goes through the display boundary, and is no markup.
    assert "vocabularies differ: \u241b[2J[red]5 tokens" in said


async def test_what_was_checked_and_what_failed_are_named():
    state = sample_state()
    pair = dict(state.pair or {})
    failed = {
        "name": "logit lens",
        "outcome": "failed",
        "found": "not its own",
        "off": ["logit lens"],
    }
    passed = [
        {"name": name, "outcome": "passed", "found": "as it should"}
        for name in ("finite numbers", "patchscope")
    ]
    pair["checks"] = [*passed, failed, {"name": "shared basis", "outcome": "not applicable"}]
    pair["mismatches"] = ["logit lens: not its own; off: logit lens"]
    app = PaneApp(PairPane, replace(state, pair=pair))
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        said = screen_text(app)
    assert "checked   finite numbers, patchscope" in said
    assert "failed    logit lens" in said
    assert "not its own" in said
    assert "shared basis" not in said


async def test_a_difference_from_an_old_cache_is_in_doubt():
    state = sample_state()
    as_once = {"from_cache": True, "content_hashed": False}
    old = {
        key: replace(one, body=one.body.model_copy(update=as_once))
        for key, one in state.differences.items()
    }
    assert old
    for differences, expected in ((old, True), (state.differences, False)):
        app = PaneApp(PairPane, replace(state, differences=differences))
        async with app.run_test(size=(80, 40)) as pilot:
            await pilot.pause()
            assert ("doubt     This difference came from a cache" in screen_text(app)) is expected


async def test_a_long_value_goes_on_below_itself():
    state = sample_state()
    pair = dict(state.pair or {})
    pair["base"] = {**pair["base"], "checkpoint": "org/a-checkpoint-with-a-name-of-many-letters"}
    pair["checks"] = [
        {"name": name, "outcome": "passed", "found": "as it should"}
        for name in ("adapter off is the base", "finite numbers", "the sides differ", "residuals")
    ]
    app = PaneApp(PairPane, replace(state, pair=pair))
    async with app.run_test(size=(42, 30)) as pilot:
        await pilot.pause()
        narrow = screen_text(app).splitlines()
        await pilot.resize_terminal(120, 30)
        await pilot.pause()
        wide = screen_text(app)
    for value, rest in (("org/a-checkpoint", "of-many-letters"), ("adapter off", "finite numbers")):
        at, column = next((n, line.index(value)) for n, line in enumerate(narrow) if value in line)
        assert narrow[at + 1][:column].strip("│ ") == ""
        assert rest in narrow[at + 1][column:]
    assert "checked   adapter off is the base, finite numbers, the sides differ, residuals" in wide
