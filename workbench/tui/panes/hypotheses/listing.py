"""The hypotheses by rank, two lines each, the selected one in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.strip import Strip

from workbench.display import clean_line, clean_lines, shorten
from workbench.store.state import HypothesisState
from workbench.tui import keys
from workbench.tui.panes.hypotheses.render import VERDICTS, counts, percent
from workbench.tui.text import actor_name
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.cursor_list import CursorList

#: Characters of a hypothesis that are shown here; its history has all of it.
_LONGEST = 1_500
#: Cells from which on there is room for who stated it, on the first line.
_ROOM_FOR_WHO = 52
_BAR_CELLS = 24


class HypothesisList(CursorList):
    """Hypotheses with a cursor, two lines each; the selected one is shown in full."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("rows")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "hypothesis--cursor",
        "hypothesis--bar",
        "hypothesis--open",
        "hypothesis--confirmed",
        "hypothesis--rejected",
    }
    DEFAULT_CSS = """
    HypothesisList { scrollbar-gutter: stable; }
    HypothesisList > .hypothesis--cursor { color: $text; text-style: bold; }
    HypothesisList:focus > .hypothesis--cursor { color: $accent; text-style: bold; }
    HypothesisList > .hypothesis--bar { color: $accent; background: $panel; }
    HypothesisList > .hypothesis--open { color: $text-warning; }
    HypothesisList > .hypothesis--confirmed { color: $text-success; text-style: bold; }
    HypothesisList > .hypothesis--rejected { color: $text-error; text-style: bold; }
    """

    @dataclass
    class Moved(CursorList.Moved):
        """The cursor moved to another hypothesis; a rank may change before this is handled, an id not."""

        hypothesis_id: str

    def __init__(self, *, recorded: bool = False) -> None:
        super().__init__()
        self.recorded = recorded
        self._items: Sequence[HypothesisState] = ()
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
        place = next((at for at, hypothesis in enumerate(items) if hypothesis.id == selected), 0)
        # Not by the watcher: the pane moves the cursor here, and needs no report of it.
        self.set_reactive(HypothesisList.cursor, place)
        self._lay_out()

    @property
    def selected(self) -> HypothesisState | None:
        """The hypothesis under the cursor."""
        return self._items[self.cursor] if self._items else None

    @property
    def page_size(self) -> int:
        """Hypotheses that Page up and Page down pass: a few."""
        return 5

    def watch_cursor(self) -> None:
        """Show the hypothesis under the cursor in full, and report it."""
        self._lay_out()
        self.report_cursor()

    def report_cursor(self) -> None:
        """Draw the cursor where it is now, and post `Moved` with the id."""
        self.refresh()
        if self.selected is not None:
            self.post_message(self.Moved(self, self.cursor, self.selected.id))

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
        heights = [2] * len(self._items)
        if hypothesis is not None:
            heights[self.cursor] = len(self._lines)
        self._tops = [0, *accumulate(heights)]
        self.virtual_size = Size(self.size.width, self._tops[-1] + (1 if self._draft else 0))
        self.scroll_to_cursor()
        self.refresh()

    # --- drawing ----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Make the line that is visible at ``y``."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return Strip.blank(0, self.rich_style)
        text = self._line(y, width)
        text.truncate(width, overflow="ellipsis", pad=True)
        text.no_wrap = True
        return Strip(text.render(self.app.console), width).apply_style(self.rich_style).simplify()

    def _line(self, y: int, width: int) -> Text:
        if not self._items:
            return self._empty(y + self.scroll_offset.y)
        at, line = self.item_at(y), y + self.scroll_offset.y
        if at is None:
            return self._draft_line() if line == self._tops[-1] else Text()
        line -= self._tops[at]
        if at == self.cursor:
            return self._lines[line].copy()
        hypothesis = self._items[at]
        return self._head(hypothesis, width, "  ") if line == 0 else self._words(hypothesis, width)

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
        """The lines of the selected hypothesis: all its words, and what its verdict rests on."""
        cursor = self._style("cursor")
        words = Text(clean_lines(hypothesis.text[:_LONGEST]).strip())
        if len(hypothesis.text) > _LONGEST:
            words.append(f" … {keys.shown('detail')} shows all of it", style="dim")
        wrapped = words.wrap(self.app.console, max(1, width - 2), overflow="fold")
        lines = [
            self._head(hypothesis, width, "▌ "),
            *(Text.assemble("▌ ", line) for line in wrapped),
        ]
        facts = []
        if width < _ROOM_FOR_WHO:
            facts.append(f"stated by {actor_name(hypothesis.actor, short=True)}")
        if hypothesis.verdict != "open" and hypothesis.grounds:
            facts.append(hypothesis.status)
        for fact in facts:
            said = Text(clean_line(fact), style="dim")
            part = said.wrap(self.app.console, max(1, width - 2), overflow="fold")
            lines += [Text.assemble("▌ ", line) for line in part]
        for line in lines:
            line.stylize(cursor, 0, 1)
        return lines

    def _style(self, name: str) -> str:
        """A component style as text of a rich style: only what it sets, not the background."""
        return str(self.get_component_rich_style(f"hypothesis--{name}", partial=True))
