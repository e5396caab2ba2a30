"""A text that ends in an ellipsis where there is no room for all of it."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import Static


class Clipped(Static):
    """A static text of limited height, whose last line marks that more was left out."""

    def render_line(self, y: int) -> Strip:
        """The line at ``y``, with a mark if it is the last of a text that goes on."""
        strip = super().render_line(y)
        box = self.content_region.translate(-self.region.offset)
        if y != box.bottom - 1 or not box.width:
            return strip
        if self._render().get_height(self.styles.get_rules(), box.width) <= box.height:
            return strip
        line = strip.crop(box.x, box.right)
        shown = line.text.rstrip()
        at = min(cell_len(shown), box.width - 1)
        kept = set_cell_size(shown, at)
        style = next((segment.style for segment in line if segment.text.strip()), None)
        mark = Strip([Segment("…" + " " * (box.width - cell_len(kept) - 1), style)])
        return Strip.join([strip.crop(0, box.x + at), mark, strip.crop(box.right)])
