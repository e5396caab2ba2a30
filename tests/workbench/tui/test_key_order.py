"""Keys act in the order they come, though they come in one read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from textual.keys import key_to_character
from textual.widgets import Input, TextArea

from tests.processes import HANGS
from tests.workbench.tui.terminal import KEYS, Terminal
from tests.workbench.tui.waiting import until
from workbench.tui.keys import BY_ID, is_own
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.panes import PANES

#: None of its letters may be a key of what lies below, or the test would pass for that.
TYPED = "wxyzzy 0.4"


def as_bytes(key: str) -> str:
    """Return the bytes that a terminal sends for a key."""
    if key.startswith("ctrl+"):
        return chr(ord(key[-1]) & 31)
    return KEYS.get(key) or key_to_character(key) or key


def key_of(idea: str) -> str:
    """Return the bytes of the key that stands for an idea."""
    return as_bytes(BY_ID[idea].names[0])


NOTE, NEW = key_of("note"), key_of("new")


def is_typed_in(app) -> bool:
    return isinstance(app.focused, Input | TextArea)


def keys_of(app) -> Iterator[str]:
    """The keys that apply where the focus is, of our own classes."""
    for active in list(app.screen.active_bindings.values()):
        binding = active.binding
        if active.enabled and is_own(active.node, binding) and not binding.system:
            yield binding.key


async def leave(app, pilot, screen: type) -> None:
    """Press Escape until the screen is on top and no field has the focus."""
    for _ in range(4):
        if isinstance(app.screen, screen) and not is_typed_in(app):
            return
        await pilot.press("escape")
    raise AssertionError(f"Escape does not lead back from {app.screen} with {app.focused}")


async def opening_keys(app, pilot, screen: type, among: set[str]) -> set[str]:
    """The keys after which a field has the focus, tried one by one."""
    found: set[str] = set()
    for key in sorted(among):
        await pilot.press(key)
        if is_typed_in(app):
            found.add(key)
        await leave(app, pilot, screen)
    return found


@pytest.fixture
def opened(tmp_path):
    with Terminal(["--demo", "--no-prepare"], home=tmp_path) as terminal:
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
    ],
)
def test_keys_of_one_read_go_where_the_ones_before_lead(opened: Terminal, burst: str, shown: str):
    opened.press(burst)
    opened.shows(shown)


def test_fields_of_a_form_are_gone_through_within_one_read(tmp_path):
    with Terminal([], home=tmp_path) as terminal:
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
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the audit")
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


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_what_is_typed_after_any_key_that_opens_a_field_goes_into_it(workbench, tmp_path):
    """The keys are found by trying each; then each is sent with text in one write."""
    app = workbench(prepare=True)
    found: dict[int, set[str]] = {}
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the audit")
        await until(pilot, lambda: app.opened.state.readings, "the readings")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the reading")
        await pilot.press("2", "m", "5", "o", *"a guess", "ctrl+j")
        await until(pilot, lambda: app.opened.state.hypotheses, "the hypothesis")
        elsewhere = {"ctrl+q", "ctrl+c", "ctrl+r", "ctrl+o", *"1234567"}
        anywhere = {"ctrl+n", "f2"}
        for index in range(len(PANES)):
            await leave(app, pilot, AuditScreen)
            await pilot.press(str(index + 1))
            await leave(app, pilot, AuditScreen)
            own = set(keys_of(app)) - elsewhere - (anywhere if index else set())
            found[index] = await opening_keys(app, pilot, AuditScreen, own)
        await pilot.press("ctrl+q")
    assert sum(map(len, found.values())) > 15, found
    with Terminal(["--session", "last"], home=tmp_path) as terminal:
        terminal.shows("6 Time")
        for index, keys in found.items():
            for key in sorted(keys):
                terminal.press("escape")
                terminal.settle(0.4)
                terminal.press(f"{as_bytes('ctrl+o')}{index + 1}")
                terminal.settle(0.4)
                terminal.press("escape")
                terminal.settle(0.4)
                assert TYPED not in terminal.text
                terminal.press(f"{as_bytes(key)}{as_bytes('ctrl+u')}{TYPED}")
                terminal.shows(TYPED)
                terminal.press("ctrl+u")
                terminal.settle(0.4)
        terminal.press("escape", "ctrl+q")
        assert terminal.ends() == 0
