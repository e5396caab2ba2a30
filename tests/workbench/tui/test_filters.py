"""The net below the display boundary: controls, and terminals without UTF-8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from tests.workbench.tui.listings import ScreenApp
from tests.workbench.tui.waiting import screen_text, until
from workbench.tui.app import WorkbenchApp
from workbench.tui.dialogs.pane_help import KeyHelp
from workbench.tui.filters import AsciiFilter, ControlFilter, in_ascii, speaks_utf8
from workbench.tui.screens.new_pair import empty_pair
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.startup import Startup

BLACK = Color(0, 0, 0)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_ascii_takes_as_many_cells(text):
    said = in_ascii(text)
    assert said.isascii()
    assert said.isprintable()
    assert len(said) == cell_len(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("╭─ Chat ─╮", "+- Chat -+"),
        ("café", "cafe"),
        ("cafe\u0301", "cafe"),
        ("蛋糕", "????"),
        ("🎂!", "??!"),
        ("▸ 40…", "> 40~"),
    ],
)
def test_ascii_looks_alike(text, said):
    assert in_ascii(text) == said


def test_controls_and_escapes_become_a_mark():
    (segment,) = ControlFilter().apply([Segment("a\x1b[2J\x9b\u202eb")], BLACK)
    assert segment.text == "a¿[2J¿¿b"


def drawn(app):
    return screen_text(app).split("\n")


@pytest.mark.slow
async def test_a_screen_without_utf_8_is_ascii_and_keeps_its_widths():
    pages = []
    for filters in ([], [AsciiFilter()]):
        app = ScreenApp(StartScreen, draft=empty_pair())
        app._filters.extend(filters)
        async with app.run_test(size=(160, 48)) as pilot:
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(pilot.app.screen, KeyHelp), "the help")
            await pilot.pause()
            pages.append(drawn(app))
    plain, ascii_page = pages
    assert not all(line.isascii() for line in plain)
    assert all(line.isascii() for line in ascii_page)
    assert [cell_len(line) for line in plain] == [len(line) for line in ascii_page]


@pytest.mark.parametrize(
    ("environment", "speaks"),
    [
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ({"LC_CTYPE": "POSIX", "LANG": "C.UTF-8"}, False),
        ({"LC_ALL": "", "LANG": "en_GB.UTF-8"}, True),
    ],
)
def test_the_locale_decides(monkeypatch, environment, speaks):
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert speaks_utf8() is speaks


def test_the_app_takes_the_filter_by_the_locale(monkeypatch, database):
    monkeypatch.setenv("LC_ALL", "C")
    app = WorkbenchApp(Startup(database))
    assert any(isinstance(one, AsciiFilter) for one in app._filters)


async def test_without_colours_the_cursor_is_a_mark(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = ScreenApp(SessionsScreen)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down")
        await until(
            pilot,
            lambda: any("▸" in line for line in drawn(app)),
            "the cursor",
        )
        strips = app.screen._compositor.render_strips()
        lines = drawn(app)
        (marked,) = [line for line in lines if "▸" in line]
        assert "kitchen adapter 2026" in marked
        for strip in strips:
            for segment in strip:
                colours = [segment.style.color, segment.style.bgcolor] if segment.style else []
                for colour in filter(None, colours):
                    red, green, blue = colour.triplet or (0, 0, 0)
                    assert red == green == blue
