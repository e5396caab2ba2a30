"""The line at the top of the audit screen: the panes with their keys, and what is running."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from workbench.operations.jobs import Job
from workbench.tui.planned_work import PlannedWork
from workbench.tui.widgets.bars import bar

#: Cells of the bar of a whole audit.
_BAR = 12


class Tab(Static):
    """A pane's name and key; a click goes there."""

    @dataclass
    class Clicked(Message):
        """The tab was clicked."""

        index: int

    def __init__(self, index: int, title: str) -> None:
        super().__init__()
        self._index = index
        self._title = title

    def width(self, *, named: bool) -> int:
        """Cells it takes with or without its name."""
        return cell_len(f" {self._index + 1} {self._title}") if named else len(" 1")

    def draw(self, *, current: bool, named: bool, gap: str) -> None:
        """Draw it as the pane in focus, or not; by its key alone unless ``named``."""
        style = "bold $block-cursor-foreground on $block-cursor-background" if current else ""
        name = f" {self._title}{gap}" if named else ""
        self.update(Content.assemble((f" {self._index + 1}", style or "$accent"), (name, style)))

    def on_click(self, event: events.Click) -> None:
        """Go to the pane."""
        event.stop()
        self.post_message(self.Clicked(self._index))


class TopBar(Horizontal):
    """Panes and jobs in one line."""

    DEFAULT_CSS = """
    TopBar Tab { width: auto; }
    TopBar #alert { width: auto; background: $warning; color: $background; text-style: bold; }
    """

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__()
        self._jobs: Sequence[Job] = ()
        self._plan: PlannedWork | None = None
        self._current = 0
        self._alert = ""
        self._tabs = [Tab(index, title) for index, title in enumerate(titles)]

    def compose(self) -> ComposeResult:
        """Tabs, what waits for the person, then the job."""
        yield from self._tabs
        yield Static(id="alert")
        yield Static(id="running")

    def show_current(self, index: int) -> None:
        """Mark the pane in focus."""
        self._current = index
        self._draw_tabs()

    def show_alert(self, message: str) -> None:
        """Show that something waits for the person; an empty message clears it."""
        self._alert = message
        self._draw_tabs()

    def _draw_tabs(self) -> None:
        """Name every pane, or only the one in focus, or list no other, as there is room."""
        tabs, width = self._tabs, self.size.width or sys.maxsize
        current = tabs[self._current]
        one_named = sum(tab.width(named=tab is current) for tab in tabs)
        all_named = sum(tab.width(named=True) + 1 for tab in tabs) + len(self._alert) <= width
        for tab in tabs:
            tab.display = tab is current or one_named <= width
            tab.draw(
                current=tab is current,
                named=tab is current or all_named,
                gap=" " if all_named else "",
            )
        alert = self.query_one("#alert", Static)
        alert.display = one_named + len(self._alert) <= width
        alert.update(Content(self._alert))

    def show_jobs(self, jobs: Sequence[Job], plan: PlannedWork | None = None) -> None:
        """Show what is running and how far it is; with ``plan``, how far the whole audit is."""
        self._jobs, self._plan = jobs, plan
        strip = self.query_one("#running", Static)
        strip.update(_fitting(_progress(jobs, plan), strip.content_size.width))

    def on_resize(self) -> None:
        """Show as much of the names and the progress as there is room for."""
        self._draw_tabs()
        self.call_after_refresh(lambda: self.show_jobs(self._jobs, self._plan))


def _progress(jobs: Sequence[Job], plan: PlannedWork | None) -> list[Content]:
    """Return the running jobs in words, from the longest form to the shortest."""
    running = [job for job in jobs if job.status in {"running", "stopping"}]
    waiting = len(jobs) - len(running)
    parts = [_in_short(job) for job in running] + ([f"+{waiting} waiting"] if waiting else [])
    names = Content("  ".join(parts))
    if plan is None:
        short = [*parts[:1], *([f"+{len(jobs) - 1}"] if len(jobs) > 1 else [])]
        return [names, Content(" ".join(short))]
    whole = Content.assemble(
        "audit ", (bar(plan.share, _BAR), "$accent on $surface"), f" {plan.words}"
    )
    return [
        Content.assemble(whole, "  ", names),
        whole,
        Content(f"audit {plan.words}"),
        Content(plan.words.replace(", about", ",")),
        Content(f"{plan.share:.0%}"),
    ]


def _fitting(forms: Sequence[Content], width: int) -> Content:
    """The longest form that the width holds, or else the shortest."""
    return next((form for form in forms if form.cell_length <= width), forms[-1])


def _in_short(job: Job) -> str:
    if job.status == "stopping":
        return f"{job.operation.name} stopping"
    share = f" {job.done / job.total:.0%}" if job.total else ""
    return f"{job.operation.name}{share}"
