"""The lines above the token lists: what is shown, who chose it, and how it stands to its nulls."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from workbench.display import clean_line
from workbench.operations.jobs import Job
from workbench.tui.panes.readings import render as reading_words
from workbench.tui.panes.readings.selection import Selection


class ReadingsHead(Vertical):
    """The readings, the layers, the site, the filter and the scale, the limits, and the nulls."""

    DEFAULT_CSS = """
    ReadingsHead { height: auto; }
    ReadingsHead > .line { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ReadingsHead > #nulls { height: auto; max-height: 2; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def compose(self) -> ComposeResult:
        """Compose the lines, all of them empty."""
        yield Static(id="strip", classes="line")
        yield Static(id="layers", classes="line")
        yield Static(id="site", classes="line")
        yield Static(id="why", classes="line")
        yield Static(id="limits", classes="line")
        yield Static(id="folded", classes="line")
        yield Static(id="nulls")

    def show(self, selection: Selection, width: int, *, recorded: bool, plotted: bool) -> None:
        """Show the selection on so many cells; lines that say nothing about it are left out.

        The line on the filter and the scale also has the progress of a job: see `show_why`.
        """
        index, group, table = selection.index, selection.group, selection.table
        unfolded = selection.choice.beside
        self._line("#strip", reading_words.strip(index, group, width, unfolded=unfolded))
        found = index.by_layer()
        self._line("#layers", reading_words.layers(found, width) if len(found) > 1 else None)
        site = reading_words.site(table, group, width) if group else Content()
        self._line("#site", site)
        self._line("#limits", None if table is None else reading_words.limits(index, table))
        note = ""
        if group is not None:
            note = reading_words.folded_note(index, group, unfolded=unfolded, recorded=recorded)
        self._line("#folded", Content.styled(note, "$foreground-muted") if note else None)
        nulls = None
        if table is not None and not plotted:
            nulls = reading_words.null_lines(
                table, width, unfiltered=selection.choice.unfiltered, recorded=recorded
            )
        self._line("#nulls", nulls)

    def show_why(self, selection: Selection, job: Job | None) -> None:
        """Show the filter, who chose the scale, and the progress of measuring or reading."""
        why = Content()
        if selection.table is not None:
            unfiltered = selection.choice.unfiltered
            why = reading_words.why(selection.index, selection.table, unfiltered=unfiltered)
        if job is not None:
            why = Content.assemble(_progress(job), "  ", why)
        self._line("#why", why)

    def _line(self, selector: str, content: Content | None) -> None:
        line = self.query_one(selector, Static)
        line.set_class(content is None, "-gone")
        if content is not None:
            line.update(content)


def _progress(job: Job) -> Content:
    share = f" {job.done / job.total:.0%}" if job.total else ""
    what = job.stage or job.operation.title
    return Content.styled(clean_line(f"{what}{share}"), "bold $accent")
