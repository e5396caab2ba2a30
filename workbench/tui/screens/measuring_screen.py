"""What the audit screen does for operations without a pane: their form, their run, their findings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textual import work

from workbench.operations import OPERATIONS
from workbench.operations.difference import MEASURE
from workbench.operations.jobs import Job
from workbench.operations.running import Arguments, Operation
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.measure_render import findings
from workbench.tui.offered import missing, offered
from workbench.tui.operation_fields import sees_truth
from workbench.tui.screens.agent_screen import AgentScreen
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.operation_form import OperationForm

# What of a measurement also holds for whatever is measured after it.
_SAME_TEXTS = ("positions", "corpus", "text_column", "bos")


class MeasuringScreen(AgentScreen):
    """A screen that asks for operations by a form, and shows what they found."""

    def __init__(self) -> None:
        super().__init__()
        self._drafts: dict[str, dict[str, str]] = {}

    def can_run(self, operation: Operation[Any]) -> str:
        """What is missing for the operation, empty if it can be run."""
        return missing(operation, self.opened.shown, has_pair=self.has_pair())

    @abstractmethod
    def has_pair(self) -> bool:
        """Whether there is a pair, or one is being loaded."""

    @abstractmethod
    def place(self) -> Mapping[str, str]:
        """What is set in the panes, by name of an argument."""

    @abstractmethod
    def order(self, operation: Operation[Any], arguments: Arguments) -> None:
        """Have an operation run."""

    def offered(self) -> list[Operation[Any]]:
        """The operations that can be asked for by name now."""
        return [one for one in offered() if not self.can_run(one)]

    @work
    async def action_measures(self, chosen: int | None = None) -> None:
        """Look at the session's measures, or ask for another."""
        while True:
            screen = MeasuresScreen(
                self.opened.shown,
                lambda: self.app.call_later(self.run_action, "stop_job"),
                has_pair=self.has_pair(),
                chosen=chosen,
            )
            screen.show_jobs(self.jobs_shown())
            wanted = await self.app.push_screen_wait(screen)
            if wanted is None:
                return
            await self._ask_and_run(OPERATIONS[wanted])
            chosen = None

    @work
    async def action_operate(self, name: str) -> None:
        """Ask for the settings of one operation and run it."""
        await self._ask_and_run(OPERATIONS[name])

    async def _ask_and_run(self, operation: Operation[Any]) -> None:
        if lacks := self.can_run(operation):
            self.notify(lacks, title=operation.title, severity="warning", markup=False)
            return
        draft = self._drafts.setdefault(operation.name, {})
        form = OperationForm(operation, known_values(self.opened.shown) | dict(self.place()), draft)
        arguments = await self.app.push_screen_wait(form)
        if arguments is not None and await self._may_see_truth(arguments):
            self.order(operation, arguments)

    async def _may_see_truth(self, arguments: Arguments) -> bool:
        """Whether to go on where the answer is shown to somebody who has not seen it yet."""
        seen = any(one.actor.kind == "human" for one in self.opened.state.unblinded)
        if seen or not sees_truth(arguments):
            return True
        question = text.block(
            "This compares with what the model was in fact finetuned on, and shows words of it.\n\n"
            "From then on you are no blind auditor of this pair, and the session records that."
        )
        return await self.app.push_screen_wait(Confirm(question, "Compare and show it", "Not yet"))

    # --- telling ----------------------------------------------------------------------------

    def jobs_shown(self) -> list[Job]:
        """What runs and waits, with no name of a blind session in it."""
        hide = self.opened.redactor.hide
        return [replace(job, stage=hide(job.stage)) for job in self.opened.jobs()]

    def tell_measures(self, state: SessionState) -> None:
        """Give the open list of measures the session as it is now."""
        for screen in self._open_measures():
            screen.update_state(state, has_pair=self.has_pair())

    def tell_measures_of(self, jobs: list[Job]) -> None:
        """Give the open list of measures what is running."""
        for screen in self._open_measures():
            screen.show_jobs(jobs)

    def say_found(self, job: Job) -> None:
        """Say what an operation found that no pane shows, unless it is being looked at."""
        if job.operation.place != "form" or self._open_measures():
            return
        found = [one.body for one in findings(self.opened.shown) if one.operation_id == job.id]
        said = f"{found[-1].label}: {found[-1].short()}" if found else "done"
        shows = f": {keys.shown('measures')} shows it" if found else ""
        title = f"{job.operation.title}{shows}"
        self.notify(text.line(said).plain, title=title, timeout=10, markup=False)

    def _open_measures(self) -> list[MeasuresScreen]:
        return [one for one in self.app.screen_stack if isinstance(one, MeasuresScreen)]


def known_values(state: SessionState) -> dict[str, str]:
    """What the last measurement was made with, as far as it holds for the next."""
    for one in reversed(list(state.operations.values())):
        if one.name == MEASURE.name and one.status == "finished":
            known = {name: one.arguments.get(name) for name in _SAME_TEXTS}
            known["layers"] = ", ".join(map(str, one.arguments.get("layers") or ()))
            return {name: str(value) for name, value in known.items() if value}
    return {}
