"""Every screen, pane and dialog at every size: what has the focus is in sight, and what is cut is marked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from textual.content import Content
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from tests.workbench.tui.every_screen import CATALOGUE, ShownApp, all_screens
from tests.workbench.tui.waiting import until
from workbench.tui.screens.panes import PanesScreen
from workbench.tui.widgets.cursor_list import CursorList
from workbench.tui.widgets.token_table import TokenTable

#: One after the other in the same terminal: growing and shrinking must not lose anything either.
SIZES = [(80, 24), (20, 6), (300, 80)]
#: Marks of a text that goes on beyond what is shown.
MARKS = "…‹›"


def squeezed(text: str) -> str:
    return "".join(text.split())


def in_sight(widget: Widget) -> Region:
    """The part of the widget that is on the screen."""
    geometry = widget.screen.find_widget(widget)
    return geometry.region.intersection(geometry.clip)


def scrolls(widget: Widget) -> bool:
    return any(
        isinstance(node, Widget) and node.styles.overflow_y in {"auto", "scroll"}
        for node in widget.ancestors
    )


def unseen(screen: Screen) -> Iterator[str]:
    """What has the focus, or is a list, and is not in sight."""
    focused = screen.focused
    if focused is not None and not in_sight(focused).height:
        yield f"{focused} has the focus and is not in sight"
    if isinstance(focused, Input | TextArea) and not focused.content_size.area:
        yield f"{focused} has no room for what is typed"
    for items in screen.query(CursorList):
        if not items.is_on_screen and items is not focused:
            continue
        seen = in_sight(items)
        if (
            items.count
            and items.display
            and not items.disabled
            and all(
                isinstance(node, Widget) and node.display
                for node in items.ancestors_with_self
                if isinstance(node, Widget)
            )
        ):
            if not seen.height:
                yield f"{items} lost all its rows"
                continue
            head = items._head_lines if isinstance(items, TokenTable) else 0
            top = items.region.y + items._tops[items.cursor] - round(items.scroll_y) + head
            end = items.region.y + items._tops[items.cursor + 1] - round(items.scroll_y) + head
            if not (top < seen.bottom and end > seen.y + head):
                yield f"{items} does not show its current row"


def cut(screen: Screen) -> Iterator[str]:
    """Texts that are cut without a mark."""
    for widget in screen.query("Static, Label, KeyBar, Transport, Choice"):
        if not widget.is_on_screen or not widget.size.area or not widget.display:
            continue
        shown = "".join(
            "".join(segment.text for segment in widget.render_line(y))
            for y in range(widget.size.height)
        )
        if any(mark in shown for mark in MARKS):
            continue
        visual = widget.visual if type(widget).render is Static.render else widget.render()
        if isinstance(visual, Content) and squeezed(visual.plain) != squeezed(shown):
            yield f"{widget} is cut: {visual.plain!r}"
            continue
        seen = in_sight(widget)
        if seen.height < widget.region.height and not scrolls(widget):
            yield f"{widget} is cut below: {shown.strip()!r}"
        sideways = any(
            isinstance(node, Widget) and node.styles.overflow_x in {"auto", "scroll"}
            for node in widget.ancestors
        )
        lines = [
            "".join(segment.text for segment in widget.render_line(y)).rstrip()
            for y in range(widget.size.height)
        ]
        if seen.width < max(map(len, lines), default=0) and seen.height and not sideways:
            yield f"{widget} is cut at the side: {shown.strip()!r}"


def faults(screen: Screen) -> list[str]:
    return [*unseen(screen), *cut(screen)]


def test_every_screen_and_dialog_is_in_the_catalogue():
    shown = {name.partition(",")[0].partition(" ")[0] for name in CATALOGUE}
    # The screen of a live session is looked at in test_sizes.py and test_flows.py.
    assert all_screens() - shown == {"AuditScreen"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
async def test_what_matters_is_in_sight_and_cuts_are_marked(name):
    app = ShownApp(CATALOGUE[name])
    async with app.run_test(size=SIZES[0]) as pilot:
        await pilot.pause()
        found = {SIZES[0]: await faults_of_all(pilot)}
        for size in SIZES[1:]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            found[size] = await faults_of_all(pilot)
        assert found == {size: [] for size in SIZES}
        for field in app.screen.query("Input, TextArea"):
            if field.is_on_screen and field.focusable:
                # A field may look otherwise with the focus, and it is typed into then.
                field.focus()
                await until(pilot, lambda field=field: app.focused is field, "the focus")
                await pilot.pause()
                assert field.content_size.area, f"{field} has no room for what is typed"


async def faults_of_all(pilot) -> list[str]:
    """The faults of the screen, with each of its panes in front."""
    screen = pilot.app.screen
    if not isinstance(screen, PanesScreen):
        return faults(screen)
    found = []
    for index, pane in enumerate(screen.panes):
        screen.go_to(index)
        in_front = lambda pane=pane: pane.has_class("-current") and pane.size.area  # noqa: E731
        await until(pilot, in_front, "the pane")
        await pilot.pause()
        found += faults(screen)
    return found
