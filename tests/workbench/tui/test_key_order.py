"""Keys act in the order they come, though they come in one read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.keys import _character_to_key
from textual.widgets import Input

from tests.processes import HANGS
from tests.workbench.tui.terminal import KEYS, Terminal
from tests.workbench.tui.waiting import until
from workbench.tui.key_table import BY_ID
from workbench.tui.keys import is_own
from workbench.tui.screens import agent_screen
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.screens.audit import AuditScreen

pytestmark = pytest.mark.slow

#: None of its letters may be a key of what lies below, or the test would pass for that.
TYPED = "wxyzzy 0.4"


#: What a terminal sends for each key, the shortest where there are several.
SENT = {
    keys[0].value: sequence
    for sequence, keys in sorted(ANSI_SEQUENCES_KEYS.items(), key=lambda pair: -len(pair[0]))
    if isinstance(keys, tuple) and len(keys) == 1
} | {_character_to_key(chr(code)): chr(code) for code in range(32, 127)}


def as_bytes(key: str) -> str:
    """Return the bytes that a terminal sends for a key."""
    return KEYS.get(key) or SENT[key]


def key_of(idea: str) -> str:
    """Return the bytes of the key that stands for an idea."""
    return as_bytes(BY_ID[idea].names[0])


NOTE, NEW = key_of("note"), key_of("new")


def keys_of(app) -> Iterator[str]:
    """The keys that apply where the focus is, of our own classes."""
    for active in list(app.screen.active_bindings.values()):
        binding = active.binding
        if active.enabled and is_own(active.node, binding) and not binding.system:
            yield binding.key


@pytest.fixture
def opened(tmp_path):
    with Terminal(["--demo", "--no-prepare"], home=tmp_path, forked=True) as terminal:
        terminal.shows("pair loaded")
        yield terminal
        terminal.press("ctrl+q")
        assert terminal.ends() == 0


@pytest.mark.parametrize(
    ("burst", "shown"),
    [
        ("3=0.4", "alpha, in residual norms: 0.4"),
        ("3X12\r", "tokens 12"),
        ("3=\x150.25\r", "\u03b1 0.25"),
        (f"{NOTE}{TYPED}", TYPED),
        (f"5o{TYPED}", TYPED),
        (f"4\r{TYPED}", TYPED),
        (f"6/{TYPED}", TYPED),
        (f"\x0f5o{TYPED}\tzebra", "zebra"),
        (f"{NOTE}first\r{NOTE}{TYPED}", TYPED),
        # The next key is for the hypothesis that was just added, as soon as it is recorded.
        ("5oabout cakes\n%", "Test a hypothesis"),
        ("5oabout cakes\nonot about them\ny", "Confirm H2"),
    ],
)
def test_keys_of_one_read_go_where_the_ones_before_lead(opened: Terminal, burst: str, shown: str):
    opened.press(burst)
    opened.shows(shown)


def test_fields_of_a_form_are_gone_through_within_one_read(tmp_path):
    with Terminal([], home=tmp_path, forked=True) as terminal:
        terminal.shows("Type a new pair")
        terminal.press(f"{NEW}base-model{KEYS['down']}an/adapter{KEYS['down']}a/checkpoint")
        terminal.shows("a/checkpoint")
        rows = [line.split() for line in terminal.text.splitlines()]
        assert ["Base", "base-model"] in rows
        assert ["Adapter", "an/adapter"] in rows
        assert ["or", "finetuned", "a/checkpoint"] in rows
        terminal.press("ctrl+q")
        assert terminal.ends() == 0


async def test_a_widget_that_hangs_does_not_keep_ctrl_q_from_acting(workbench, monkeypatch):
    monkeypatch.setattr("workbench.tui.key_order._PATIENCE", 0.2)
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot,
            lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted,
            "the audit",
        )
        released, asked = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(app.leaving, "begin", lambda *_ending: asked.set())
        app.screen.call_later(released.wait)
        app.screen.call_later(lambda: None)
        app.simulate_key("z")
        app.simulate_key("ctrl+q")
        try:
            # Not by the pilot, which waits for the widget that hangs.
            await asyncio.wait_for(asked.wait(), HANGS)
        finally:
            released.set()
        await pilot.pause()


async def test_keys_wait_for_a_dialog_that_something_is_read_for_on_a_thread(
    workbench, monkeypatch
):
    look_up = agent_screen.look_up_endpoint

    def look_up_slowly():
        # Long enough for the keys to pass by, were they not waiting for it.
        threading.Event().wait(1.0)
        return look_up()

    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot,
            lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted,
            "the audit",
        )
        await pilot.press("7")
        monkeypatch.setattr(agent_screen, "look_up_endpoint", look_up_slowly)
        app.simulate_key("o")
        app.simulate_key("down")
        for character in TYPED:
            app.post_message(events.Key(_character_to_key(character), character))
        typed = lambda: [field.value for field in app.screen.query(Input)]  # noqa: E731
        await until(pilot, lambda: any(TYPED in value for value in typed()), "the text", within=30)
        assert isinstance(app.screen, AgentForm)


async def test_what_was_typed_for_a_dialog_that_does_not_come_is_no_order(workbench, monkeypatch):
    monkeypatch.setattr("workbench.tui.key_order._PATIENCE", 0.2)
    look_up, released = agent_screen.look_up_endpoint, threading.Event()

    def look_up_for_long():
        assert released.wait(HANGS)
        return look_up()

    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot,
            lambda: (
                isinstance(app.screen, AuditScreen) and app.opened.pair and not app.opened.jobs()
            ),
            "the pair",
        )
        ordered = []
        monkeypatch.setattr(app.screen, "order", lambda *order, **_: ordered.append(order))
        await pilot.press("7")
        monkeypatch.setattr(agent_screen, "look_up_endpoint", look_up_for_long)
        try:
            # All in one read: `a` measures and reads, for whom it reaches.
            for key in ("o", "a", "enter"):
                app.post_message(events.Key(key, key if len(key) == 1 else None))
            there = lambda: app._settling is None and not app._unread  # noqa: E731
            await until(pilot, lambda: any(map(app._may_ask, app.workers)), "the reading")
            await until(pilot, there, "the end of the keys")
            assert not ordered
        finally:
            released.set()
        await until(pilot, lambda: isinstance(app.screen, AgentForm), "the form")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the pane")
        await pilot.press("a")
        await until(pilot, lambda: ordered, "the order, now that it is one")


async def test_a_pane_takes_the_focus_once(workbench):
    """A second time would be after keys that follow, and take it from the field that they opened."""
    app = workbench()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(
            pilot,
            lambda: (
                isinstance(app.screen, AuditScreen) and app.focused and app.screen._going is None
            ),
            "the audit",
        )
        focused = []
        for pane in app.screen.panes:
            pane.focus_pane = lambda pane=pane, focus=pane.focus_pane: (
                focused.append(pane),
                focus(),
            )
        for n, number in enumerate("65321", start=1):
            await pilot.press(number)
            there = lambda n=n: len(focused) >= n and app.screen._going is None  # noqa: E731
            await until(pilot, there, "the pane")
        panes = app.screen.panes
        assert focused == [panes[5], panes[4], panes[2], panes[1], panes[0]]
