"""Results of steering: the chosen operation, the strip of a sweep, and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from workbench.display import clean_line, shorten
from workbench.operations.generation import STEER
from workbench.operations.jobs import Job
from workbench.store.state import OperationState, SessionState, TextState
from workbench.tui import keys, text
from workbench.tui.panes.steering.settings import layer_index
from workbench.tui.panes.steering.sweep import SweepLine, sweep_lines
from workbench.tui.panes.steering.texts import (
    STEERED,
    Pair,
    SteerIndex,
    alphas_of,
    dial,
    how_it_ended,
    made_with,
    pairs,
    strength,
)
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.text_columns import Column, Sample, SampleList

_NOTHING_YET = (
    "Nothing was steered yet: {steer} steers with the settings above, {sweep} sweeps over alpha."
)
_MOST_STRIP = 8
_BAR = 8


class SteeringResults(Vertical):
    """The newest steering, unless an older one was chosen, or two kept samples to compare."""

    DEFAULT_CSS = """
    SteeringResults { height: 1fr; }
    SteeringResults #operation { height: auto; max-height: 4; background: $panel; }
    SteeringResults #strip-head { height: 1; color: $text-muted; display: none; }
    SteeringResults #strip { height: auto; display: none; }
    SteeringResults.-sweep #strip-head, SteeringResults.-sweep #strip { display: block; }
    SteeringResults.-sweep SampleList { margin-top: 1; }
    """

    @dataclass
    class AlphaChosen(Message):
        """The strip's cursor was moved to another alpha."""

        alpha: float

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._state = SessionState()
        self._index = SteerIndex()
        self._jobs: Sequence[Job] = ()
        self._kept: dict[str, str] = {}
        self._chosen: str | None = None
        "The operation that is shown; None follows the newest."
        self._comparing: tuple[str, str] | None = None
        self._texts: list[TextState] = []
        self._pairs: list[Pair] = []
        self._lines: list[SweepLine] = []
        self._alpha: float | None = None
        "In a sweep: the strength whose texts are shown."
        self._wanted = 0.0
        self._suggested: Sequence[float] = ()
        self._drawn: tuple[object, ...] = ()
        self._empty = keys.with_keys(_NOTHING_YET)

    def compose(self) -> ComposeResult:
        """Operation, strip, texts."""
        yield Static(id="operation", markup=False)
        yield Static(id="strip-head", markup=False)
        yield Rows(self._strip_row, id="strip")
        yield SampleList(id="samples")

    def on_mount(self) -> None:
        """Draw the empty results."""
        head = f"    {'alpha':>5}  {'repetition':<{_BAR + 8}}ended  text"
        self.query_one("#strip-head", Static).update(Content(head))
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the operation's line to the width."""
        self._draw_operation()

    # --- input ------------------------------------------------------------------------------

    def take(self, state: SessionState, before: SessionState) -> None:
        """Redraw what changed."""
        self._state = state
        self._index.take(state, before)
        if state.evidence is not before.evidence:
            self._kept = {
                recorded.body.text_id: evidence_id
                for evidence_id, recorded in state.evidence.items()
                if recorded.body.text_id is not None
            }
        if (
            state.texts is not before.texts
            or state.operations is not before.operations
            or state.evidence is not before.evidence
        ):
            self._draw()

    def show_when_empty(self, message: str) -> None:
        """Set the message of an empty list; an empty string keeps the default."""
        if message:
            self._empty = message
            self._draw_samples()

    def take_jobs(self, jobs: Sequence[Job]) -> None:
        """Show the progress of the steering and whether another waits."""
        self._jobs = jobs
        self._draw_operation()

    def tell(self, alpha: float, suggested: Sequence[float]) -> None:
        """Take the slider's alpha and the suggested alphas."""
        self._wanted = alpha
        if suggested != self._suggested:
            self._suggested = suggested
            self.query_one("#strip", Rows).refresh()

    def view(self) -> dict[str, Any]:
        """Return the shown operation and the cursors as plain data."""
        return {
            "operation": self._chosen,
            "alpha": self._alpha,
            "cursor": self.samples.cursor,
            "comparing": list(self._comparing) if self._comparing else None,
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore what still applies."""
        operation = view.get("operation")
        self._chosen = operation if operation in self._index.operations else None
        comparing = view.get("comparing")
        if isinstance(comparing, list) and len(comparing) == 2:
            left, right = (
                text_id if text_id in self.kept_texts() else None for text_id in comparing
            )
            self._comparing = (left, right) if left and right else None
        self._draw()
        alpha = view.get("alpha")
        if isinstance(alpha, int | float):
            self._stand_on(alpha)
        cursor = view.get("cursor")
        if isinstance(cursor, int) and 0 <= cursor < self.samples.count:
            self.samples.cursor = cursor

    # --- what is under the cursor -----------------------------------------------------------

    @property
    def samples(self) -> SampleList:
        """The list of texts."""
        return self.query_one(SampleList)

    @property
    def comparing(self) -> bool:
        """True while two kept samples are compared."""
        return self._comparing is not None

    def pair(self) -> Pair | None:
        """The texts under the cursor; those on the left and on the right, when comparing."""
        if self._comparing:
            left, right = (self._state.texts.get(text_id) for text_id in self._comparing)
            return Pair(left, right)
        place = self.samples.cursor
        return self._pairs[place] if 0 <= place < len(self._pairs) else None

    def evidence_of(self, text_id: str) -> str | None:
        """The mark that keeps a text, by its id."""
        return self._kept.get(text_id)

    def kept_texts(self) -> list[str]:
        """Ids of the steered and unsteered texts that are kept, in the order they were."""
        texts = self._state.texts
        return [
            text_id
            for text_id in self._kept
            if text_id in texts and texts[text_id].start.body.purpose in STEERED
        ]

    # --- choosing ---------------------------------------------------------------------------

    def follow(self) -> None:
        """Show the newest steering, and the next once it begins."""
        self._chosen = self._comparing = None
        self._draw()

    def start_over(self) -> None:
        """Show the newest steering, as at first: its first text, at the alpha nearest to the slider's."""
        self._alpha = None
        self.follow()
        self.samples.cursor = 0

    def browse(self, step: int) -> None:
        """Show an older or a newer steering; comparing, another sample on the left."""
        if self._comparing:
            self._comparing = (self._another(self._comparing[0], step), self._comparing[1])
            self._draw()
            return
        operations, now = self._index.operations, self._operation()
        if now is None:
            return
        place = operations.index(now.id) + step
        if 0 <= place < len(operations):
            self._choose(operations[place])

    def compare(self) -> bool:
        """Compare the two samples kept last, or go back; False where two are not kept."""
        kept = self.kept_texts()
        if self._comparing is None and len(kept) < 2:
            return False
        self._comparing = None if self._comparing else (kept[-2], kept[-1])
        self._draw()
        return True

    def other(self, step: int) -> None:
        """Comparing, take another sample on the right."""
        if self._comparing:
            self._comparing = (self._comparing[0], self._another(self._comparing[1], step))
            self._draw()

    def reveal(self, seq: int) -> bool:
        """Select the steering that recorded the event, and the text that the event names."""
        if not 1 <= seq <= len(self._state.timeline):
            return False
        entry = self._state.timeline[seq - 1]
        if entry.operation_id not in self._index.operations:
            return False
        self._comparing = None
        self._choose(entry.operation_id)
        recorded = self._state.texts.get(entry.text_id or "")
        if recorded is None:
            return True
        if dial(recorded):
            self._stand_on(dial(recorded))
        for place, pair in enumerate(self._pairs):
            if any(recorded is each for each in (pair.steered, pair.unsteered, pair.null)):
                self.samples.cursor = place
        return True

    @on(Rows.Moved, "#strip")
    def _strip_moved(self, event: Rows.Moved) -> None:
        """Show the texts of the strength under the strip's cursor."""
        event.stop()
        place = event.list.cursor
        if self._lines and self._lines[place].alpha != self._alpha:
            self._alpha = self._lines[place].alpha
            self._draw_samples()
            self.post_message(self.AlphaChosen(self._alpha))

    @on(Rows.Chosen, "#strip")
    def _strip_chosen(self, event: Rows.Chosen) -> None:
        """Go from the strip to the texts."""
        event.stop()
        self.samples.focus()

    def _choose(self, operation_id: str) -> None:
        self._chosen = None if operation_id == self._index.operations[-1] else operation_id
        self.samples.cursor = 0
        self._draw()

    def _another(self, text_id: str, step: int) -> str:
        kept = self.kept_texts()
        return kept[(kept.index(text_id) + step) % len(kept)] if text_id in kept else text_id

    def _stand_on(self, alpha: float) -> None:
        """Put the strip's cursor on a strength, without moving the slider."""
        for place, line in enumerate(self._lines):
            if line.alpha == alpha:
                self._alpha = alpha
                self.query_one("#strip", Rows).cursor = place
                self._draw_samples()

    def _operation(self) -> OperationState | None:
        operations = self._index.operations
        if not operations:
            return None
        return self._state.operations.get(self._chosen or operations[-1])

    # --- drawing ----------------------------------------------------------------------------

    def _draw(self) -> None:
        """Draw what is shown, if any of it changed."""
        operation = self._operation()
        self._texts = [] if operation is None else self._index.texts(self._state, operation.id)
        drawn = (operation, self._comparing, self._kept, *map(id, self._texts))
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self._draw_operation()
        self._draw_strip()
        self._draw_samples()

    def _draw_operation(self) -> None:
        widget = self.query_one("#operation", Static)
        if self._comparing:
            title = (
                f"marked samples: {keys.shown('older')} {keys.shown('newer')} change the left,"
                f" {keys.shown('left')} {keys.shown('right')} the right,"
                f" {keys.shown('compare')} goes back"
            )
            widget.update(Content.styled(title, "bold"))
            return
        operation = self._operation()
        lines = [] if operation is None else self._operation_lines(operation)
        if any(job.operation.name in STEERED and job.status == "waiting" for job in self._jobs):
            lines.append(
                Content.styled("a steering waits for what is running before it", "$text-warning")
            )
        widget.update(Content("\n").join(lines))

    def _operation_lines(self, operation: OperationState) -> list[Content]:
        operations, asked = self._index.operations, operation.arguments
        place = f"{operations.index(operation.id) + 1}/{len(operations)}"
        status, style = self._status(operation)
        parts = [
            *self._carried_by(operation),
            f"seed {asked.get('seed')}",
            f"temp {asked.get('temperature')}",
            f"{asked.get('max_new_tokens')} tokens",
        ]
        if operation.actor.kind != "human":
            parts.insert(0, f"by {operation.actor.name or operation.actor.kind}")
        head = Content.assemble(
            (f"{place} ", "bold"),
            (f"#{operation.started_seq} ", "$foreground-muted"),
            (status, style),
        )
        room = self.size.width - len(head.plain) - 3
        rest = shorten(clean_line(" · ".join(parts)), max(0, room))
        lines = [Content.assemble(head, (f" · {rest}" if rest else "", "$foreground-muted"))]
        if operation.status == "failed":
            lines.append(text.problem(operation.message or operation.error))
            if operation.way_out:
                lines.append(text.problem(operation.way_out, ""))
        elif operation.status == "stopped" and operation.reason:
            lines.append(text.line(operation.reason, "$foreground-muted"))
        return lines

    def _carried_by(self, operation: OperationState) -> list[str]:
        """The carrier of the finetuning and its place."""
        asked = operation.arguments
        carrier = str(asked.get("carrier", "difference"))
        place = [f"layer {self._layer_of(operation)} at {asked.get('position')}"]
        if operation.name == STEER.name:
            return [*place, str(asked.get("source")).replace("_", " "), str(asked.get("side"))]
        if carrier != "difference":
            place = [str(asked[name]) for name in ("layer_range", "part") if asked.get(name)]
        return [carrier, *(place if carrier != "logits" else [])]

    def _layer_of(self, operation: OperationState) -> str:
        """The layer as asked for, as a number where it was a share of the depth."""
        asked = str(operation.arguments.get("layer"))
        pair = self._state.pair
        found = None if pair is None else layer_index(asked, int(pair["n_layers"]))
        return asked if found is None else str(found)

    def _status(self, operation: OperationState) -> tuple[str, str]:
        if operation.status != "running":
            styles = {"finished": "$text-success", "failed": "bold $text-error"}
            return operation.status, styles.get(operation.status, "$text-warning")
        job = next((job for job in self._jobs if job.id == operation.id), None)
        if job is not None and job.status == "stopping":
            return "stopping", "$text-warning"
        done = sum(text.status == "finished" for text in self._texts)
        total = job.total if job is not None and job.total else len(self._texts)
        # All texts of a batch grow at once, and none is done for most of the time.
        progress = f"{done} of {total} done" if done else f"{len(self._texts)} of {total} begun"
        return f"writing, {progress}", "bold $text-warning"

    def _draw_strip(self) -> None:
        several = len([alpha for alpha in alphas_of(self._texts) if alpha]) > 1
        self.set_class(several and not self._comparing, "-sweep")
        self._lines = sweep_lines(self._texts) if several else []
        alphas = [line.alpha for line in self._lines]
        strip = self.query_one("#strip", Rows)
        strip.set_count(len(alphas))
        if not alphas:
            return
        if self._alpha not in alphas:
            # The alpha nearest to the slider's.
            steered = [alpha for alpha in alphas if alpha]
            self._alpha = min(steered, key=lambda alpha: abs(alpha - self._wanted))
        strip.styles.height = min(len(alphas), _MOST_STRIP)
        strip.cursor = alphas.index(self._alpha)

    def _draw_samples(self) -> None:
        if self._comparing:
            columns = tuple(
                self._column(
                    text,
                    head=strength(text),
                    notes=(made_with(text), f"on: {text.start.body.prompt}"),
                )
                for text in (self._state.texts[text_id] for text_id in self._comparing)
            )
            self.samples.draw([Sample("", columns)])
            return
        alphas = [alpha for alpha in alphas_of(self._texts) if alpha]
        alpha = self._alpha if self._lines else (alphas or [0.0])[0]
        self._pairs = pairs(self._texts, alpha or 0.0)
        several_seeds = len({text.start.body.seed for text in self._texts}) > 1
        samples = [
            self._sample(number, pair, alpha or 0.0, several_seeds)
            for number, pair in enumerate(self._pairs, 1)
        ]
        self.samples.draw(samples, "" if samples else self._nothing())

    def _sample(self, number: int, pair: Pair, alpha: float, several_seeds: bool) -> Sample:
        operation = self._operation()
        is_running = operation is not None and operation.status == "running"
        missing = "not begun" if is_running else "not computed"
        columns = [self._column(pair.unsteered, missing, head="unsteered")]
        if alpha:
            made = pair.steered or pair.null
            head = f"α {alpha:.4g}" if made is None else strength(made)
            columns.insert(0, self._column(pair.steered, missing, head=head))
            if pair.null is not None:
                columns.append(self._column(pair.null, head=f"null of {alpha:.4g}"))
        seed = f"seed {pair.any.start.body.seed}  " if several_seeds else ""
        return Sample(f"{number}  {seed}{pair.any.start.body.prompt}", tuple(columns))

    def _column(
        self,
        found: TextState | None,
        missing: str = "",
        *,
        head: str,
        notes: tuple[str, ...] = (),
    ) -> Column:
        if found is None:
            return Column(head, missing, None)
        kept = self._kept.get(found.start.body.text_id, "")
        notes = (*notes, *found.start.body.prompting)
        return Column(head, how_it_ended(found), found.text, kept, found.status == "growing", notes)

    def _nothing(self) -> str:
        operation = self._operation()
        if operation is None:
            return self._empty
        return "the texts begin" if operation.status == "running" else "not computed: no text begun"

    def _strip_row(self, index: int, width: int) -> Text:
        line = self._lines[index]
        score = line.repetition
        row = Text()
        row.append("▲ " if line.alpha in self._suggested else "  ", style="bold")
        row.append("▸ " if line.alpha == self._alpha else "  ", style="bold")
        row.append(f"{line.alpha:>5g}  ", style="bold")
        row.append(bar(score or 0.0, _BAR))
        row.append("     – " if score is None else f"  {score:.2f} ")
        row.append("! " if line.circles else "  ", style="bold")
        row.append(f"{line.ended:>2}/{line.begun:<2}  ", style="dim")
        room = max(0, width - row.cell_len)
        row.append(clean_line(shorten(line.beginning.strip(), room)))
        return row
