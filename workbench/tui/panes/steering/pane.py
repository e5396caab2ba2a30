"""The steering console: the difference added while a model writes, beside the same without it.

console   slider and settings
results   the steering shown: a strip of strengths if it had several, and its texts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widget import Widget

from adl.paths import expanded
from workbench.operations.amplify import AMPLIFY, AmplifyArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.hypotheses import MARK, UNMARK, MarkArguments, UnmarkArguments
from workbench.operations.jobs import Job
from workbench.private_files import new_text
from workbench.store.state import SessionState
from workbench.tui import keys
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.panes.steering.console import SteeringConsole, focus_first
from workbench.tui.panes.steering.facts import SteeringFacts
from workbench.tui.panes.steering.results import SteeringResults
from workbench.tui.panes.steering.settings import layer_index
from workbench.tui.panes.steering.texts import as_text, evidence_label, excerpt_of, of_null
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.text_columns import SampleList


class SteeringPane(Pane):
    """Settings above, steered and unsteered texts below."""

    TITLE: ClassVar[str] = "Steering"
    SHORT: ClassVar[str] = "Steer"
    HELP: ClassVar[str] = """
Adds the activation difference to every token's residual while a model writes, beside the unsteered
text of the same prompt and seed: the two differ only by the steering.

**Alpha** is the strength, in units of the typical residual norm of the layer: 0.3 adds a vector
0.3 times as long as a residual. On small models 0.3 steers, 0.6 repeats itself, 1.0 is noise.
`▲` marks the strengths chosen by the shift lens. The **vector** may also be a null of the same
length: a random direction, or the base model against itself (split half). An effect that a null
has too does not come from the finetuning.

Other **carriers** make the finetuning stronger without a measured difference: the *logits* (pushed
away from the base model's), the *adapter* (its own scale: 1 is the finetuned model, 0 the base, -1
the opposite), *rank1* (the base with the rank-1 part of each update). Each writes texts of a null
of the same size beside.

A **sweep** writes short texts at several alphas for the first prompts. *Repetition* is the share of
words, and of runs of three words, that occurred earlier in the text. It does not measure sense;
compare it with the unsteered line (alpha 0). `!` marks lines that repeat much more than that.
*Ended* counts the texts that ended before their token limit.

A marked sample is evidence and can be linked to a hypothesis. Tab goes to the strip of a sweep and to
the settings, where the arrow keys choose.
"""
    LOOKS: ClassVar[frozenset[str]] = frozenset(
        {"browse", "other", "compare", "copy", "write", "leave"}
    )
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("steering")
    SHORT_BELOW: ClassVar[int] = 20
    TINY_BELOW: ClassVar[int] = 12
    DEFAULT_CSS = """
    SteeringPane.-short #settings { max-height: 2; }
    SteeringPane.-short #status { max-height: 2; }
    SteeringPane.-short #operation { max-height: 1; }
    SteeringPane.-short #strip { max-height: 3; }
    SteeringPane.-short #samples { margin-top: 0; }
    SteeringPane.-tiny #settings, SteeringPane.-tiny #operation { display: none; }
    SteeringPane.-tiny SteeringResults #strip, SteeringPane.-tiny SteeringResults #strip-head {
        display: none; }
    SteeringPane.-tiny #alpha { height: 1; }
    SteeringPane.-tiny #status { max-height: 1; }
    """

    def __init__(self, *children: Widget, **settings: Any) -> None:
        super().__init__(*children, **settings)
        self._facts = SteeringFacts()
        self._jobs: Sequence[Job] = ()
        self._marking: set[str] = set()

    def compose(self) -> ComposeResult:
        """Compose the settings and the texts."""
        yield SteeringConsole(id="console")
        yield SteeringResults(id="results")

    @property
    def console(self) -> SteeringConsole:
        """The settings."""
        return self.query_one(SteeringConsole)

    @property
    def results(self) -> SteeringResults:
        """The texts."""
        return self.query_one(SteeringResults)

    def on_mount(self) -> None:
        """Hide the settings in a recorded session, where nothing can be steered."""
        for part in ("#alpha", "#settings"):
            self.query_one(part).set_class(self.recorded, "-gone")
        self.console.recorded = self.recorded
        self.results.show_when_empty("Nothing was steered so far." if self.recorded else "")

    def focus_pane(self) -> None:
        """Focus the field being edited, otherwise the texts."""
        focus_first(self.console, self.results.samples)

    # --- the session's state ----------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw what changed."""
        if (
            state.differences is not before.differences
            or state.readings is not before.readings
            or state.pair is not before.pair
        ):
            self._facts = SteeringFacts.of(state)
            self._tell()
        if state.evidence is not before.evidence:
            self._marking.clear()
        self.results.take(state, before)

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Show the progress of the steering and whether another waits."""
        self._jobs = jobs
        if not any(job.operation.name == MARK.name for job in jobs):
            self._marking.clear()
        self._tell()
        self.results.take_jobs(jobs)

    def start_over(self) -> None:
        """Show the newest steering."""
        self.results.start_over()
        super().start_over()

    def reveal(self, seq: int) -> bool:
        """Select the steering operation or the steered text that the event recorded."""
        return self.results.reveal(seq)

    def view(self) -> dict[str, Any]:
        """Return the settings, the text being typed and the selection."""
        return self.console.view() | self.results.view()

    def restore(self, view: dict[str, Any]) -> None:
        """Restore what still applies."""
        self.console.restore(view)
        self.results.restore(view)

    def on_steering_console_changed(self, event: SteeringConsole.Changed) -> None:
        """Update the suggestions and the available keys for the new settings."""
        event.stop()
        self._tell()

    def on_steering_console_left(self, event: SteeringConsole.Left) -> None:
        """Focus the texts."""
        event.stop()
        self.results.samples.focus()

    def on_steering_results_alpha_chosen(self, event: SteeringResults.AlphaChosen) -> None:
        """Set the slider to the alpha of the sweep under the cursor."""
        event.stop()
        if event.alpha and not self.recorded:
            self.console.set_alpha(event.alpha)

    @on(SampleList.Moved, "SampleList")
    def _sample_moved(self, event: SampleList.Moved) -> None:
        """Clear the status, which was about another sample."""
        event.stop()
        self.console.show_status()

    def _tell(self) -> None:
        settings = self.console.settings
        self.console.tell(self._facts, being_measured=self._being_measured())
        self.results.tell(settings.alpha, self._facts.suggestions(settings))
        self.refresh_bindings()

    # --- settings ---------------------------------------------------------------------------

    def action_nudge(self, step: float) -> None:
        """Move alpha."""
        self.console.nudge(step)

    def action_suggestion(self) -> None:
        """Set alpha to the next one that the shift lens suggests."""
        self.console.take_suggestion()

    def action_edit(self, name: str) -> None:
        """Change a setting."""
        self.console.edit(name)

    def action_settings(self) -> None:
        """Go to the settings."""
        self.console.focus_settings()

    def action_leave(self) -> None:
        """Leave the field, the comparison or the focused widget, whichever comes first."""
        if self.console.leave():
            return
        if self.results.comparing:
            self.results.compare()
        self.results.samples.focus()

    # --- operations -------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer measuring only for unmeasured layers, and the right sample only when comparing."""
        if not self.offers(action):
            return False
        parts: tuple[type[Widget], ...] = (SteeringConsole, SteeringResults)
        if not all(self.query(part) for part in parts):
            # One that goes loses its parts before itself, and is asked until the end.
            return True
        if action == "measure":
            return self._facts.is_missing(self.console.settings) and not self._being_measured()
        if action in {"other", "nudge"}:
            # They share the arrows.
            return self.results.comparing == (action == "other")
        return True

    def action_steer(self) -> None:
        """Generate steered and unsteered texts."""
        self._ask(self.console.settings.steering)

    def action_sweep(self) -> None:
        """Generate short texts at every alpha of the sweep."""
        self._ask(self.console.settings.sweeping)

    def action_measure(self) -> None:
        """Measure the difference at the chosen layer."""
        self.submit(MEASURE, MeasureArguments(layers=(self.console.settings.layer,)))
        self.console.show_status()

    def _ask(self, make: Callable[[], SteerArguments | AmplifyArguments]) -> None:
        console = self.console
        refusal = self._facts.refusal(console.settings, being_measured=self._being_measured())
        if refusal:
            console.show_status(refusal)
            return
        try:
            arguments = make()
        except ValueError as exc:
            console.show_status(str(exc))
        else:
            if isinstance(arguments, AmplifyArguments):
                self.submit(AMPLIFY, arguments)
            else:
                self.submit(STEER, arguments)
            console.show_status()
            self.results.follow()

    def _being_measured(self) -> bool:
        """True if a queued job measures the chosen layer before a new steering starts."""
        there = self._facts.n_layers
        layer = self._facts.layer(self.console.settings)
        return layer is not None and any(
            isinstance(job.arguments, MeasureArguments)
            and (job.status == "running" or (job.status == "waiting" and not job.background))
            and any(layer_index(chosen, there) == layer for chosen in job.arguments.layers)
            for job in self._jobs
        )

    # --- samples ----------------------------------------------------------------------------

    def action_browse(self, step: int) -> None:
        """Show an older or newer steering; when comparing, another sample on the left."""
        self.console.show_status()
        self.results.browse(step)

    def action_other(self, step: int) -> None:
        """Show another sample on the right, when two are compared."""
        self.results.other(step)

    def action_compare(self) -> None:
        """Show two marked samples side by side, or go back."""
        compared = self.results.compare()
        self.console.show_status(
            ""
            if compared
            else f"mark two samples to compare: {keys.shown('mark')} the steered one,"
            f" {keys.shown('mark_unsteered')} the unsteered"
        )
        self.refresh_bindings()

    def action_keep(self, steered: bool) -> None:
        """Mark a sample as evidence, or remove its mark."""
        pair = self.results.pair()
        text = None if pair is None else pair.steered if steered else pair.unsteered
        if text is None:
            self.console.show_status("there is no such sample under the cursor")
            return
        text_id = text.start.body.text_id
        evidence_id = self.results.evidence_of(text_id)
        if evidence_id is not None:
            self._take_back(evidence_id)
        elif not text.text:
            self.console.show_status("there is no text yet: mark it when there is")
        elif text_id not in self._marking:
            self._marking.add(text_id)
            self.submit(
                MARK,
                MarkArguments(
                    seq=text.start.seq,
                    excerpt=excerpt_of(text),
                    label=evidence_label(text),
                    text_id=text_id,
                ),
            )
            self.console.show_status(done=f"marked as evidence{of_null(text)}")

    def _take_back(self, evidence_id: str) -> None:
        linked = [
            hypothesis.id
            for hypothesis in self.state.hypotheses.values()
            if evidence_id in hypothesis.evidence
        ]
        if linked:
            self.console.show_status(
                f"{evidence_id} bears on {', '.join(linked)}: unlink it there first"
            )
        else:
            self.submit(UNMARK, UnmarkArguments(evidence=evidence_id))
            self.console.show_status(done=f"{evidence_id} removed")

    def action_copy(self) -> None:
        """Copy the samples under the cursor with their settings."""
        text = self._as_text()
        if text:
            self.app.copy_to_clipboard(text)
            self.console.show_status(done="copied, if the terminal lets programs copy (OSC 52)")

    @work
    async def action_write(self) -> None:
        """Write the samples under the cursor to a new file."""
        text, pair = self._as_text(), self.results.pair()
        if not text or pair is None:
            return
        name = await self.app.push_screen_wait(
            AskLine("Write the samples to a new file", f"steering-{pair.any.start.seq}.txt")
        )
        if name:
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        try:
            path = expanded(name)
            with new_text(path) as file:
                file.write(text)
        except FileExistsError:
            self.console.show_status(
                f"{name} exists already: {keys.shown('write')} asks for another name"
            )
        except (OSError, RuntimeError, ValueError) as exc:
            self.console.show_status(
                f"{name} cannot be written: {getattr(exc, 'strerror', None) or exc}"
            )
        else:
            self.console.show_status(done=f"written to {path}")

    def _as_text(self) -> str:
        pair = self.results.pair()
        if pair is None:
            self.console.show_status("there is no sample under the cursor")
            return ""
        return as_text([text for text in (pair.steered, pair.unsteered) if text is not None])
