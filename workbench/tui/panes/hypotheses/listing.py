"""The hypotheses by rank, two lines each, the selected one in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.display import clean_line, clean_lines, shorten
from workbench.store.state import HypothesisState
from workbench.tui import keys
from workbench.tui.panes.hypotheses.render import VERDICTS, counts, percent
from workbench.tui.text import actor_name
from workbench.tui.widgets.bars import bar

#: Characters of a hypothesis that are shown here; its history has all of it.
_LONGEST = 1_500
#: Cells from which on there is room for who stated it, on the first line.
_ROOM_FOR_WHO = 52
_BAR_CELLS = 24


class HypothesisList(ScrollView, can_focus=True):
    """Hypotheses with a cursor, two lines each; the selected one is shown in full."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("list"), *keys.bindings("rows")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "hypothesis--cursor",
        "hypothesis--bar",
        "hypothesis--open",
        "hypothesis--confirmed",
        "hypothesis--rejected",
    }
    DEFAULT_CSS = """
    HypothesisList { scrollbar-size-vertical: 1; overflow-x: hidden; scrollbar-gutter: stable; }
    HypothesisList > .hypothesis--cursor { color: $text; text-style: bold; }
    HypothesisList:focus > .hypothesis--cursor { color: $accent; text-style: bold; }
    HypothesisList > .hypothesis--bar { color: $accent; background: $panel; }
    HypothesisList > .hypothesis--open { color: $text-warning; }
    HypothesisList > .hypothesis--confirmed { color: $text-success; text-style: bold; }
    HypothesisList > .hypothesis--rejected { color: $text-error; text-style: bold; }
    """

    @dataclass
    class Moved(Message):
        """The cursor moved to another hypothesis."""

        hypothesis_id: str

    @dataclass
    class Chosen(Message):
        """The hypothesis under the cursor was opened."""

    def __init__(self, *, recorded: bool = False) -> None:
        super().__init__()
        self.recorded = recorded
        self._items: Sequence[HypothesisState] = ()
        self._cursor = 0
        self._draft = ""
        self._selected: tuple[HypothesisState, int] | None = None
        self._lines: list[Text] = []

    # --- what is in it ----------------------------------------------------------------------

    def set_items(
        self, items: Sequence[HypothesisState], selected: str | None, draft: str = ""
    ) -> None:
        """Show these, with the cursor on ``selected``; ``draft`` is one that was not added yet."""
        self._items = items
        self._draft = draft
        self._cursor = next(
            (at for at, hypothesis in enumerate(items) if hypothesis.id == selected), 0
        )
        self._lay_out()

    @property
    def selected(self) -> HypothesisState | None:
        """The hypothesis under the cursor."""
        return self._items[self._cursor] if self._items else None

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the selected hypothesis to the new width."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        hypothesis = self.selected
        if hypothesis is None:
            self._selected, self._lines = None, []
        elif (
            self._selected is None
            or self._selected[0] is not hypothesis
            or self._selected[1] != width
        ):
            self._selected, self._lines = (hypothesis, width), self._in_full(hypothesis, width)
        height = 2 * len(self._items) - (2 if hypothesis else 0) + len(self._lines)
        self.virtual_size = Size(self.size.width, height + (1 if self._draft else 0))
        if hypothesis is not None:
            region = Region(0, 2 * self._cursor, 1, len(self._lines))
            self.scroll_to_region(region, animate=False, force=True, immediate=True)
        self.refresh()

    # --- drawing ----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Make the line that is visible at ``y``."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return Strip.blank(0, self.rich_style)
        text = self._line(y + self.scroll_offset.y, width)
        text.truncate(width, overflow="ellipsis", pad=True)
        text.no_wrap = True
        return Strip(text.render(self.app.console), width).apply_style(self.rich_style).simplify()

    def _line(self, y: int, width: int) -> Text:
        if not self._items:
            return self._empty(y)
        at, line = self._at(y)
        if at == self._cursor:
            return self._lines[line].copy()
        if at < len(self._items):
            hypothesis = self._items[at]
            return (
                self._head(hypothesis, width, "  ") if line == 0 else self._words(hypothesis, width)
            )
        return self._draft_line() if line == 0 and at == len(self._items) else Text()

    def _at(self, y: int) -> tuple[int, int]:
        """Return the place of the hypothesis at line ``y``, and the number of its line there."""
        first, height = 2 * self._cursor, len(self._lines)
        if first <= y < first + height:
            return self._cursor, y - first
        return divmod(y if y < first else y - height + 2, 2)

    def _empty(self, y: int) -> Text:
        if y == 0:
            nothing = f"No hypothesis yet. {keys.shown('new')} adds one."
            return Text("No hypothesis so far." if self.recorded else nothing, style="dim")
        return self._draft_line() if y == 1 else Text()

    def _draft_line(self) -> Text:
        if not self._draft or self.recorded:
            return Text()
        words = " ".join(clean_line(self._draft[:_LONGEST]).split())
        return Text(f"  draft, {keys.shown('new')} goes on with it: {words}", style="dim")

    def _head(self, hypothesis: HypothesisState, width: int, before: str) -> Text:
        """Id, verdict, confidence and the number of pieces of evidence on one line."""
        sign, word = VERDICTS[hypothesis.verdict]
        pro, contra = counts(hypothesis)
        right = f"{f'+{pro}':>4}{f'−{contra}':>4}"
        if width >= _ROOM_FOR_WHO:
            right += f" {shorten(actor_name(hypothesis.actor, short=True), 8):<8}"
        head = Text(before)
        head.append(f"{clean_line(hypothesis.id):<3} ", style="bold")
        head.append(f"{sign} {word:<10}", style=self._style(hypothesis.verdict))
        cells = max(1, min(width - head.cell_len - len(right) - 5, _BAR_CELLS))
        if hypothesis.confidence is None:
            head.append(percent(None).ljust(cells + 5), style="dim")
        else:
            head.append(bar(hypothesis.confidence, cells), style=self._style("bar"))
            head.append(f"{percent(hypothesis.confidence):>5}")
        head.append(right)
        return head

    def _words(self, hypothesis: HypothesisState, width: int) -> Text:
        words = " ".join(clean_line(hypothesis.text[: 4 * width]).split())
        return Text(f"  {words}", style="dim")

    def _in_full(self, hypothesis: HypothesisState, width: int) -> list[Text]:
        """The lines of the selected hypothesis: the head, all its words, and who stated it."""
        cursor = self._style("cursor")
        words = Text(clean_lines(hypothesis.text[:_LONGEST]).strip())
        if len(hypothesis.text) > _LONGEST:
            words.append(f" … {keys.shown('detail')} shows all of it", style="dim")
        wrapped = words.wrap(self.app.console, max(1, width - 2), overflow="fold")
        lines = [
            self._head(hypothesis, width, "▌ "),
            *(Text.assemble("▌ ", line) for line in wrapped),
        ]
        if width < _ROOM_FOR_WHO:
            lines.append(
                Text.assemble(
                    "▌ ", (f"stated by {actor_name(hypothesis.actor, short=True)}", "dim")
                )
            )
        for line in lines:
            line.stylize(cursor, 0, 1)
        return lines

    def _style(self, name: str) -> str:
        """A component style as text of a rich style: only what it sets, not the background."""
        return str(self.get_component_rich_style(f"hypothesis--{name}", partial=True))

    # --- keys -------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Move the cursor by so many hypotheses."""
        self._go(self._cursor + step)

    def action_page(self, step: int) -> None:
        """Move the cursor by a few hypotheses."""
        self._go(self._cursor + 5 * step)

    def action_to(self, at: int) -> None:
        """Move the cursor to one; -1 is the last."""
        self._go(at if at >= 0 else len(self._items) - 1)

    def action_choose(self) -> None:
        """Open the hypothesis under the cursor."""
        if self._items:
            self.post_message(self.Chosen())

    def _go(self, at: int) -> None:
        at = max(0, min(at, len(self._items) - 1))
        if self._items and at != self._cursor:
            self._cursor = at
            self._lay_out()
            self.post_message(self.Moved(self._items[at].id))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the hypothesis; a second click opens it."""
        at = self._at(event.y + self.scroll_offset.y)[0]
        if at < len(self._items):
            self._go(at)
            if event.chain > 1:
                self.action_choose()
