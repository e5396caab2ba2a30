"""The line at the top of the audit screen: the panes with their keys, and what is running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from workbench.operations.jobs import Job
from workbench.tui.audit_plan import AuditPlan
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

    def draw(self, *, current: bool) -> None:
        """Draw it as the pane in focus, or not."""
        style = "bold $block-cursor-foreground on $block-cursor-background" if current else ""
        self.update(
            Content.assemble(
                (f" {self._index + 1} ", style or "$accent"), (f"{self._title} ", style)
            )
        )

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
        self._plan: AuditPlan | None = None
        self._tabs = [Tab(index, title) for index, title in enumerate(titles)]

    def compose(self) -> ComposeResult:
        """Tabs, what waits for the person, then the job."""
        yield from self._tabs
        yield Static(id="alert")
        yield Static(id="running")

    def show_current(self, index: int) -> None:
        """Mark the pane in focus."""
        for place, tab in enumerate(self._tabs):
            tab.draw(current=place == index)

    def show_alert(self, message: str) -> None:
        """Show that something waits for the person; an empty message clears it."""
        self.query_one("#alert", Static).update(Content(message))

    def show_jobs(self, jobs: Sequence[Job], plan: AuditPlan | None = None) -> None:
        """Show what is running and how far it is; with ``plan``, how far the whole audit is."""
        self._jobs, self._plan = jobs, plan
        strip = self.query_one("#running", Static)
        strip.update(_fitting(_progress(jobs, plan), strip.content_size.width))

    def on_resize(self) -> None:
        """Show as much of the progress as there is room for."""
        self.call_after_refresh(lambda: self.show_jobs(self._jobs, self._plan))


def _progress(jobs: Sequence[Job], plan: AuditPlan | None) -> list[Content]:
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
