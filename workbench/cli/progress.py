"""Progress on stderr: bars on a terminal; elsewhere a line per stage and one each half minute.

work.run(MEASURE, ...)                    a bar per stage, of this operation alone
with work.as_one("audit", planned):       one bar for all of them, with the time left
    work.run(MEASURE, ...)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from adl.callbacks import STAGE_DETAIL, stage_name
from workbench.cli.output import say, stderr
from workbench.display import clean_line
from workbench.operations.time_left import PlanProgress

#: Seconds between two lines where stderr is no terminal.
SECONDS_BETWEEN_LINES = 30.0
#: Where stderr is no terminal, a detail such as a loss is shown so often in a stage.
DETAILS_SHOWN = 10

Hide = Callable[[str], str]


class Display(Protocol):
    """Shows how far operations are."""

    def report(self, operation: str, stage: str, done: int, total: int) -> None:
        """Show a report of an operation's progress."""

    def finish(self, operation: str) -> None:
        """Show that an operation is over."""


@contextmanager
def displayed(plan: PlanProgress, title: str, hide: Hide) -> Iterator[Display]:
    """Show the progress of ``plan`` on stderr; with a ``title`` all of it is one bar.

    What is shown goes through ``hide`` first, since a bar may be too narrow for a whole name.
    """
    if not stderr.is_terminal:
        lines = Lines(plan, title, hide)
        with lines.beating(SECONDS_BETWEEN_LINES):
            yield lines
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[counted]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr) as drawn:
        yield _OneBar(drawn, plan, title, hide) if title else _Bars(drawn, hide)


class Lines:
    """A line for each stage and, each half minute, one that tells how far the work is."""

    def __init__(self, plan: PlanProgress, title: str, hide: Hide) -> None:
        self._plan = plan
        self._title = title
        self._hide = hide
        self._stage = ""
        self._counted = ""
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def report(self, operation: str, stage: str, done: int, total: int) -> None:
        """Tell of a stage that is new, and now and then of its details."""
        name, _, detail = self._hide(stage).partition(STAGE_DETAIL)
        with self._lock:
            self._plan.report(operation, stage, done, total)
            self._stage, self._counted = name, f" {done} of {total}" if total > 1 else ""
        if name not in self._seen:
            self._seen.add(name)
            say(f"{name} ...")
        if detail and (done == total or done % max(1, total // DETAILS_SHOWN) == 0):
            say(f"{name}: {done} of {total}, {detail}")

    def finish(self, operation: str) -> None:
        """Take in that an operation is over."""
        with self._lock:
            self._plan.finish(operation)

    @property
    def line(self) -> str:
        """The progress in one line: ``audit: 42%, about 6 min left (patchscope 12 of 40)``."""
        with self._lock:
            stage = f"{self._stage}{self._counted}"
            share = self._plan.words or "under way"
            return f"{self._title or 'progress'}: {share}" + (f" ({stage})" if stage else "")

    @contextmanager
    def beating(self, seconds: float) -> Iterator[None]:
        """Write `line` every so many seconds meanwhile, also while a batch takes longer."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(seconds):
                say(self.line)

        thread = threading.Thread(target=beat, daemon=True, name="progress lines")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class _Bars:
    """A bar for each stage."""

    def __init__(self, drawn: Progress, hide: Hide) -> None:
        self._drawn = drawn
        self._hide = hide
        self._tasks: dict[str, TaskID] = {}

    def report(self, _operation: str, stage: str, done: int, total: int) -> None:
        stage = self._hide(stage)
        name = stage_name(stage)
        if name not in self._tasks:
            self._tasks[name] = self._drawn.add_task("", total=max(total, 1), counted="")
        self._drawn.update(
            self._tasks[name],
            description=clean_line(stage),
            completed=done,
            total=max(total, 1),
            counted=f"{done}/{total}",
        )

    def finish(self, _operation: str) -> None:
        """A bar stays as it is."""


class _OneBar:
    """One bar for everything, and below it the stage that is under way."""

    def __init__(self, drawn: Progress, plan: PlanProgress, title: str, hide: Hide) -> None:
        self._drawn = drawn
        self._plan = plan
        self._hide = hide
        self._all = drawn.add_task(clean_line(title), total=1.0, counted="")
        self._stage = drawn.add_task("", total=1, counted="")

    def report(self, operation: str, stage: str, done: int, total: int) -> None:
        self._plan.report(operation, stage, done, total)
        self._drawn.update(
            self._stage,
            description=clean_line(f"  {self._hide(stage)}"),
            completed=done,
            total=max(total, 1),
            counted=f"{done}/{total}",
        )
        self._draw()

    def finish(self, operation: str) -> None:
        self._plan.finish(operation)
        self._draw()

    def _draw(self) -> None:
        self._drawn.update(self._all, completed=self._plan.share, counted=self._plan.words)
