"""A virtual list of items of different heights: only the visible ones are drawn.

An item that was not seen yet counts a guessed height. When it comes into view it is laid out, and
what was on the screen stays where it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.visual import Visual

from workbench.tui.widgets.cursor_list import CursorList

#: Estimated height of an item that was never drawn, in lines.
GUESS = 8
#: So many items are kept as they were laid out, around those in view.
KEPT = 60
#: So near the end, in lines, the view follows what is added there.
NEAR = 2
_GUTTER = 2
_BETWEEN = " │ "


@dataclass(frozen=True)
class Columns:
    """Two blocks of text side by side."""

    left: Content
    right: Content


Block = Content | Columns
Blocks = Sequence[Block]
DrawItem = Callable[[int, int], Blocks]
"""(index, width) -> the blocks of an item, the same object as long as it looks the same."""


@dataclass(frozen=True)
class _Laid:
    blocks: Blocks
    strips: list[Strip]


class Flow(CursorList, inherit_bindings=False):
    """Items one below the other, with a cursor on one of them."""

    BINDINGS: ClassVar[list[BindingType]] = CursorList.BINDINGS
    COMPONENT_CLASSES: ClassVar[set[str]] = {"flow--cursor", "flow--rule"}
    DEFAULT_CSS = """
    Flow { scrollbar-gutter: stable; }
    Flow > .flow--cursor { color: $foreground-muted; }
    Flow > .flow--rule { color: $panel-lighten-3; }
    Flow:focus > .flow--cursor { color: $accent; text-style: bold; }
    """

    @dataclass
    class Clicked(Message):
        """An item was clicked; ``share`` is the horizontal position, 0 to 1."""

        flow: Flow
        index: int
        share: float

    def __init__(self, draw_item: DrawItem, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._draw_item = draw_item
        self._heights: list[int] = []
        self._laid: dict[int, _Laid] = {}
        self._in_view: range = range(0)
        self._settling = False
        self._width = 0
        self._empty = Content()

    def show_when_empty(self, message: Content) -> None:
        """Set the message of an empty list."""
        self._empty = message
        self.refresh()

    # --- what there is ----------------------------------------------------------------------

    @property
    def width(self) -> int:
        """The width of an item in cells."""
        return max(0, self.scrollable_content_region.width - _GUTTER)

    def set_count(self, count: int, *, follow: bool = False) -> None:
        """Set the number of items, and redraw those that changed.

        The view follows the end if it was near it or with ``follow``; so does the cursor if it was
        on the last item.
        """
        stick = follow or self.is_near_end
        at_last = follow or self.cursor >= self.count - 1
        if count < self.count:
            self._laid.clear()
        del self._heights[count:]
        self._heights += [GUESS] * (count - self.count)
        self._measure()
        self._settle(stick=stick)
        self.cursor = count - 1 if stick and at_last else self.cursor

    @property
    def is_near_end(self) -> bool:
        """True if the end is in view, or nearly."""
        return self.scroll_offset.y >= self._tops[-1] - self._view_height - NEAR

    def go_to(self, index: int) -> None:
        """Put the cursor on an item and as much of it as there is room for in view."""
        index = self.validate_cursor(index)
        upwards = index < self.cursor
        self.cursor = index
        self.scroll_to_cursor(upwards=upwards)

    def go_to_end(self) -> None:
        """Put the cursor on the last item and its end in view, to follow what is added."""
        self.cursor = self.count - 1
        self._settle(stick=True)

    # --- where everything is ----------------------------------------------------------------

    @property
    def _view_height(self) -> int:
        return self.scrollable_content_region.height

    def _measure(self) -> None:
        self._tops = [0, *accumulate(self._heights)]

    def _lay_out(self, index: int) -> int:
        """Lay out an item if it changed; return by how many lines it grew."""
        blocks = self._draw_item(index, self._width)
        laid = self._laid.get(index)
        if laid is not None and laid.blocks is blocks:
            return 0
        strips = [strip for block in blocks for strip in self._strips(block)]
        self._laid[index] = _Laid(blocks, strips)
        more = len(strips) - self._heights[index]
        if more:
            self._heights[index] = len(strips)
            self._measure()
        return more

    def _settle(self, top: int | None = None, *, stick: bool = False) -> None:
        """Lay out what is in view from line ``top`` (the present one if None) and scroll there."""
        if self._settling or self.width <= 0 or self._view_height <= 0:
            return
        self._settling = True
        if self._width != self.width:
            self._width = self.width
            self._laid.clear()
        seen, height = self._in_view, self._view_height
        top = self.scroll_offset.y if top is None else top
        changed = True
        while changed:
            top = max(0, min(top, self._tops[-1] - height))
            top = max(0, self._tops[-1] - height) if stick else top
            first = max(0, bisect_right(self._tops, top) - 1)
            last = bisect_right(self._tops, top + height - 1)
            self._in_view = range(first, min(last, self.count))
            changed = False
            for index in self._in_view:
                start = self._tops[index]
                more = self._lay_out(index)
                if more:
                    # What is below stays where it is, unless the item was in view and grew.
                    top += more if start < top and index not in seen else 0
                    changed = True
                    break
        self._forget_far_ones()
        size = Size(self._width + _GUTTER, self._tops[-1])
        if self.virtual_size != size:
            self.virtual_size = size
        self.scroll_to_line(top)
        self._settling = False
        self.refresh()

    def scroll_to_cursor(self, *, upwards: bool = False) -> None:
        """Bring the item under the cursor into view; of a tall one its end if ``upwards``."""
        index = self.cursor
        # Items around it are laid out on the way and may push it: look again.
        for _ in range(4):
            if not self.count or self.width <= 0 or self._view_height <= 0:
                return
            self._settle()
            self._lay_out(index)
            start, end = self._tops[index], self._tops[index + 1]
            top, height = self.scroll_offset.y, self._view_height
            if end - start >= height:
                wanted = end - height if upwards else start
            elif start < top:
                wanted = start
            else:
                wanted = max(top, end - height)
            if wanted == top:
                return
            self._settle(wanted)

    def _forget_far_ones(self) -> None:
        if len(self._laid) > 2 * KEPT:
            near = range(self._in_view.start - KEPT // 2, self._in_view.stop + KEPT // 2)
            self._laid = {index: laid for index, laid in self._laid.items() if index in near}

    # --- drawing ----------------------------------------------------------------------------

    def _strips(self, block: Block) -> list[Strip]:
        if isinstance(block, Content):
            return self._wrapped(block, self._width)
        room = self._width - len(_BETWEEN)
        widths = (room // 2, room - room // 2)
        left = self._wrapped(block.left, widths[0])
        right = self._wrapped(block.right, widths[1])
        lines = max(len(left), len(right))
        rule = Strip([Segment(_BETWEEN, self.get_component_rich_style("flow--rule", partial=True))])
        return [
            Strip.join([_line(left, index, widths[0]), rule, _line(right, index, widths[1])])
            for index in range(lines)
        ]

    def _wrapped(self, content: Content, width: int) -> list[Strip]:
        return Visual.to_strips(self, content, width, None, self.visual_style, pad=True)

    def render_line(self, y: int) -> Strip:
        """The line that is visible at ``y``."""
        line = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if not self.count:
            empty = self._wrapped(self._empty, self.width)
            strip = Strip.join([Strip([Segment("  ", base)]), _line(empty, y, self.width)])
            return strip.adjust_cell_length(width, base).apply_style(base)
        index = bisect_right(self._tops, line) - 1
        laid = self._laid.get(index)
        if laid is None or not line - self._tops[index] < len(laid.strips):
            return Strip.blank(max(width, 0), base)
        if index == self.cursor:
            gutter = Segment("▌ ", base + self.get_component_rich_style("flow--cursor"))
        else:
            gutter = Segment("  ", base)
        strip = Strip.join([Strip([gutter]), laid.strips[line - self._tops[index]]])
        return strip.adjust_cell_length(width, base).apply_style(base)

    def notify_style_update(self) -> None:
        """Styles are in what was laid out."""
        super().notify_style_update()
        self._laid.clear()
        self.call_later(self._settle)

    # --- keys and mouse ---------------------------------------------------------------------

    def watch_cursor(self) -> None:
        """Post `Moved`; here the cursor follows the view, so the view must not follow the cursor."""
        self.report_cursor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Lay out what came into view; the cursor stays among it."""
        super().watch_scroll_y(old_value, new_value)
        if not self._settling:
            self._settle()
            if self._in_view:
                self.cursor = max(self._in_view.start, min(self.cursor, self._in_view.stop - 1))

    def on_resize(self, event: events.Resize) -> None:
        """Lay out for the new width, with the cursor's item in view."""
        self._in_view = range(0)
        stick = self.cursor >= self.count - 1
        self._settle(stick=stick)
        if not stick:
            self.scroll_to_cursor()

    def action_move(self, step: int) -> None:
        """Go to the next item, or on within one that is taller than the view."""
        if not self.count:
            return
        top, height = self.scroll_offset.y, self._view_height
        start, end = self._tops[self.cursor], self._tops[self.cursor + 1]
        if step > 0 and end > top + height:
            self._settle(min(end - height, top + max(1, height - 2)))
        elif step < 0 and start < top:
            self._settle(max(start, top - max(1, height - 2)))
        else:
            self.go_to(self.cursor + step)

    def action_page(self, step: int) -> None:
        """Scroll by a screenful."""
        self.scroll_to_line(self.scroll_offset.y + step * self.page_size)

    def click_item(self, index: int, event: events.Click) -> None:
        """Move the cursor to the item, and report where it was clicked."""
        self.cursor = index
        self.post_message(self.Clicked(self, index, (event.x - _GUTTER) / max(1, self.width)))


def _line(strips: Sequence[Strip], index: int, width: int) -> Strip:
    return strips[index] if index < len(strips) else Strip.blank(width)
