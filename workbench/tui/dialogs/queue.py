"""The queue of running and waiting jobs: inspect, reorder, remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from workbench.display import clean_line
from workbench.operations.jobs import Job
from workbench.operations.running import Operation
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.transport import clock

#: How often the jobs are looked at, in seconds.
LOOK_EVERY = 0.2
_KEYS = "K earlier \u00b7 J later \u00b7 x stop or remove \u00b7 esc close"


class HasJobs(Protocol):
    """The interface to a session's jobs that the queue needs."""

    def jobs(self) -> list[Job]:
        """The jobs that are not over: those that run, then those that wait, in their order."""

    def move(self, job_id: str, step: int) -> bool:
        """Let a waiting job run earlier (-1) or later (1)."""

    def stop(self, job_id: str) -> None:
        """Stop a running job, or remove a waiting one."""


class QueueDialog(Dialog[None]):
    """A row for each job; the cursor stays on its job while others come and go."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "K,shift+up", "shift(-1)", "Earlier", tooltip="Let the job run before the one above"
        ),
        Binding("J,shift+down", "shift(1)", "Later", tooltip="Let the job run after the one below"),
        Binding("x,delete", "remove", "Stop", tooltip="Stop the job, or remove it if it waits"),
        Binding("escape,q,f7", "dismiss", "Close"),
    ]
    DEFAULT_CSS = """
    QueueDialog > Vertical { border-subtitle-color: $text-muted; }
    QueueDialog #detail { height: auto; max-height: 4; color: $foreground-muted; }
    """

    def __init__(
        self,
        opened: HasJobs,
        hiding: Callable[[Operation[Any]], Callable[[str], str]] = lambda _operation: str,
    ) -> None:
        super().__init__(classes="dialog")
        self._opened = opened
        self._hiding = hiding
        self._jobs: Sequence[Job] = ()

    def compose(self) -> ComposeResult:
        """The jobs, and the arguments of the one under the cursor."""
        with Vertical(classes="listing") as frame:
            frame.border_title = "Queue"
            frame.border_subtitle = _KEYS
            yield Rows(self._row)
            yield Clipped(id="detail", classes="if-roomy")

    def on_mount(self) -> None:
        """Show the jobs, and keep them up to date."""
        self._look()
        self.query_one(Rows).focus()
        self.set_interval(LOOK_EVERY, self._look)

    def _look(self) -> None:
        chosen = self._chosen()
        self._jobs = self._opened.jobs()
        rows = self.query_one(Rows)
        rows.set_count(len(self._jobs))
        ids = [job.id for job in self._jobs]
        if chosen is not None and chosen.id in ids:
            rows.cursor = ids.index(chosen.id)
        self._show_detail()

    def _chosen(self) -> Job | None:
        cursor = self.query_one(Rows).cursor
        return self._jobs[cursor] if cursor < len(self._jobs) else None

    def _row(self, index: int, _width: int) -> Text:
        job = self._jobs[index]
        row = Text()
        if job.status == "waiting":
            n_before = sum(each.status == "waiting" for each in self._jobs[:index])
            row.append(f"{n_before + 1:>3}. ", style="dim")
        else:
            row.append("  \u25b6  ", style="bold")
        row.append(clean_line(job.operation.title), style="bold")
        if job.actor.kind == "agent":
            row.append(", for the agent")
        if job.status == "waiting":
            row.append(" \u2013 waiting", style="dim")
        else:
            share = f" {job.done / job.total:.0%}" if job.total else ""
            stage = self._hiding(job.operation)(job.stage) or job.status
            stage = stage if job.status == "running" else job.status
            row.append(f" \u2013 {clean_line(stage)}{share}, {clock(job.seconds)}")
        return row

    def _show_detail(self) -> None:
        job = self._chosen()
        if job is None:
            shown = "Nothing runs and nothing waits."
        else:
            given = job.arguments.model_dump(mode="json", exclude_defaults=True)
            hide = self._hiding(job.operation)
            settings = ", ".join(
                f"{name.replace('_', ' ')} {hide(_written(value))}" for name, value in given.items()
            )
            shown = clean_line(settings) or "default settings"
        self.query_one("#detail", Clipped).update(Text(shown))

    def on_cursor_list_moved(self, event: Rows.Moved) -> None:
        """Show the settings of the job under the cursor."""
        event.stop()
        self._show_detail()

    def action_shift(self, step: int) -> None:
        """Move the job under the cursor among those that wait."""
        job = self._chosen()
        if job is None:
            return
        if job.status != "waiting":
            self.notify(f"{job.operation.title} runs already: x stops it.", markup=False)
        elif not self._opened.move(job.id, step):
            end = "first" if step < 0 else "last"
            self.notify(f"{job.operation.title} is the {end} of those that wait.", markup=False)
        self._look()

    def action_remove(self) -> None:
        """Stop the job under the cursor; one that waits is never begun."""
        job = self._chosen()
        if job is not None:
            self._opened.stop(job.id)
            self._look()


def _written(value: object) -> str:
    """Return a setting as people write it."""
    if isinstance(value, list):
        return "; ".join(map(_written, value))
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
