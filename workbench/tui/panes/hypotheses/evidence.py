"""The marks under headings: for a hypothesis, against it, and not linked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text

from workbench.display import clean_line, shorten
from workbench.tui.panes.hypotheses.render import BEARINGS, EvidenceLine, Heading, excerpt
from workbench.tui.widgets.rows import Rows


class EvidenceList(Rows):
    """Rows of evidence; the cursor passes over headings."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"evidence--for", "evidence--against"}
    DEFAULT_CSS = """
    EvidenceList > .evidence--for { color: $text-success; text-style: bold; }
    EvidenceList > .evidence--against { color: $text-error; text-style: bold; }
    """

    def __init__(self) -> None:
        super().__init__(self._draw)
        self._lines: Sequence[Heading | EvidenceLine] = ()

    def set_lines(self, lines: Sequence[Heading | EvidenceLine], selected: str | None) -> None:
        """Show these, with the cursor on the evidence ``selected``; None is the first.

        Evidence that is not there any more leaves the cursor where it was.
        """
        self._lines = lines
        self.set_count(len(lines))
        place = next(
            (
                at
                for at, line in enumerate(lines)
                if isinstance(line, EvidenceLine) and line.id == selected
            ),
            0 if selected is None else self.cursor,
        )
        self.cursor = place

    @property
    def selected(self) -> EvidenceLine | None:
        """The evidence under the cursor."""
        if self.cursor < len(self._lines):
            line = self._lines[self.cursor]
            return line if isinstance(line, EvidenceLine) else None
        return None

    def validate_cursor(self, index: int) -> int:
        """Keep the cursor on a row that is no heading, if there is one."""
        index = super().validate_cursor(index)
        if not self._lines:
            return index
        step = -1 if index < self.cursor else 1
        place: int
        for place in (*self._from(index, step), *self._from(index, -step)):
            if isinstance(self._lines[place], EvidenceLine):
                return place
        return index

    def scroll_to_cursor(self) -> None:
        """Show the heading above the first row under it, too, where there are two lines."""
        super().scroll_to_cursor()
        above = self.cursor - 1
        if (
            self.size.height > 1
            and 0 <= above < len(self._lines)
            and isinstance(self._lines[above], Heading)
        ):
            self.scroll_to_line(min(self.scroll_offset.y, above))

    def _from(self, index: int, step: int) -> range:
        return range(index, len(self._lines) if step > 0 else -1, step)

    def _draw(self, index: int, width: int) -> Text:
        line = self._lines[index]
        if isinstance(line, Heading):
            heading = Text(f"── {line.text} ", style="dim")
            heading.append("─" * max(0, width - heading.cell_len))
            return heading
        here = "▌" if index == self.cursor else " "
        row = Text(here)
        sign = BEARINGS.get(line.bearing or "", "·")
        style = "dim"
        if line.bearing is not None:
            style = str(self.get_component_rich_style(f"evidence--{line.bearing}", partial=True))
        row.append(f"{sign} ", style=style)
        row.append(f"{clean_line(line.id):<3} ", style="dim")
        body = line.mark.body
        label = " ".join(part for part in (line.elsewhere, clean_line(body.label)) if part)
        room = width - row.cell_len
        words = excerpt(body, max(8, room if not label else room * 3 // 5))
        row.append(words, style="bold")
        if label:
            row.append(f"  {shorten(label, max(1, room))}", style="dim")
        return row
