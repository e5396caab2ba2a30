"""The model pair, the session, and what is running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, ClassVar

import psutil
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.operations.jobs import Job
from workbench.store.state import OperationState, SessionState
from workbench.tui import text
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.facts import facts
from workbench.tui.widgets.pane import Pane

_MEMORY_EVERY = 2.0
#: Cells for the names of the facts, and for a scrollbar, which comes only where they need one.
_NAMES = 10
_SCROLLBAR = 1


class PairPane(Pane):
    """Base and finetuned side, how they are loaded, the session's name, and the jobs."""

    TITLE: ClassVar[str] = "Pair"
    SHORT: ClassVar[str] = "Pair"
    HELP: ClassVar[str] = """
The loaded models with revision, adapter, layers, number format and device; the memory the program
uses; the session's name; and what is running and waiting. `{stop}` stops what is running.
"""
    DEFAULT_CSS = """
    PairPane VerticalScroll { scrollbar-size-vertical: 1; }
    PairPane #jobs { margin-top: 1; }
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._process = psutil.Process()
        self._jobs: Sequence[Job] = ()

    def compose(self) -> ComposeResult:
        """Facts, then jobs."""
        with VerticalScroll():
            yield Static(id="facts")
            yield Static(id="jobs")

    def on_mount(self) -> None:
        """Look at the memory now and then."""
        self.set_interval(_MEMORY_EVERY, self._show_facts)
        self._show_facts()

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw the facts when the pair, the name or the last problem changed."""
        if (
            state.pair is not before.pair
            or state.name != before.name
            or state.operations is not before.operations
        ):
            self._show_facts()
            self._show_jobs()

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Redraw what is running."""
        self._jobs = jobs
        self._show_jobs()

    def reveal(self, seq: int) -> bool:
        """Accept only the event of the loaded pair."""
        if not 0 < seq <= len(self.state.timeline):
            return False
        return self.state.timeline[seq - 1].kind == "pair_loaded"

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the facts to the new width."""
        super().on_resize(event)
        self._show_facts()

    def _show_facts(self) -> None:
        rows = [("session", self.state.name), ("id", self.state.session_id), *self._pair_facts()]
        if not self.recorded:
            rows.append(("memory", f"{self._process.memory_info().rss / 2**30:.1f} GiB"))
        width = self.scrollable_content_region.width - _SCROLLBAR
        self.query_one("#facts", Static).update(facts(rows, _NAMES, width))

    def _pair_facts(self) -> list[tuple[str, str]]:
        pair = self.state.pair
        if pair is None:
            return [("pair", "not loaded")]
        base, finetuned = pair["base"], pair["finetuned"]
        rows = [("base", _side_name(base))]
        if finetuned.get("adapter"):
            rows.append(("adapter", _short(str(finetuned["adapter"]))))
            if finetuned.get("adapter_sha256"):
                rows.append(("", f"sha256 {finetuned['adapter_sha256'][:12]}"))
        if not finetuned.get("adapter") or finetuned["checkpoint"] != base["checkpoint"]:
            rows.append(("finetuned", _side_name(finetuned)))
        rows.append(("layers", f"{pair['n_layers']}, width {pair['width']}"))
        measured = sorted(
            {
                layer
                for difference in self.state.differences.values()
                for layer in difference.body.layers
            }
        )
        if measured:
            noun = "layer" if len(measured) == 1 else "layers"
            rows.append(("measured", f"{noun} {', '.join(map(str, measured))}"))
        rows += [("note", mismatch) for mismatch in pair.get("mismatches", ())]
        doubts = {difference.body.doubt for difference in self.state.differences.values()} - {""}
        rows += [("doubt", doubt) for doubt in sorted(doubts)]
        rows += _check_facts(pair.get("checks", ()))
        rows.append(("dtype", f"{pair['dtype']} on {', '.join(map(str, pair['devices']))}"))
        return rows

    def _show_jobs(self) -> None:
        lines = [
            line for job in self._jobs for line in _job_lines(job, max(10, self.size.width - 8))
        ]
        if self.recorded:
            lines = [
                Content.assemble(
                    text.line(operation.name.replace("_", " "), "bold"), "  was running"
                )
                for operation in self.state.operations.values()
                if operation.status == "running"
            ]
        problem = _last_problem(self.state)
        if not lines:
            nothing = "nothing was running" if self.recorded else "nothing is running"
            lines.append(Content.styled(nothing, "$foreground-muted"))
        if problem is not None:
            lines.append(
                text.problem(f"{problem.name}: {problem.message or problem.error}", "$error")
            )
            if problem.way_out:
                lines.append(text.problem(problem.way_out, ""))
        self.query_one("#jobs", Static).update(Content("\n").join(lines))


def _check_facts(checks: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the names of the passed and the failed self-checks; the notes have the reasons."""
    rows = []
    for outcome, word in (("passed", "checked"), ("failed", "failed")):
        names = [str(check["name"]) for check in checks if check["outcome"] == outcome]
        if names:
            rows.append((word, ", ".join(names)))
    return rows


def _side_name(side: dict[str, Any]) -> str:
    revision = side.get("revision")
    return _short(str(side["checkpoint"])) + (f" @{str(revision)[:8]}" if revision else "")


def _short(name: str) -> str:
    """The last two parts of a path; an id of the hub has no more."""
    return "/".join(PurePath(name).parts[-2:])


def _job_lines(job: Job, width: int) -> list[Content]:
    if job.status == "waiting":
        return [Content.styled(f"{job.operation.title}: waiting", "$foreground-muted")]
    state = "stopping" if job.status == "stopping" else f"{job.seconds:.0f} s"
    lines = [Content.assemble((job.operation.title, "bold"), f"  {state}")]
    if job.total:
        count = f" {job.done}/{job.total}"
        cells = max(4, width - len(count))
        lines.append(text.line(job.stage))
        lines.append(
            Content.assemble((bar(job.done / job.total, cells), "$accent on $panel"), count)
        )
    return lines


def _last_problem(state: SessionState) -> OperationState | None:
    """The newest operation if it failed: an older failure is history, and the timeline has it."""
    newest = next(reversed(list(state.operations.values())), None)
    return newest if newest is not None and newest.status == "failed" else None
